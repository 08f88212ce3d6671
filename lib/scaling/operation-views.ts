/** Operations as they are shown: what the store has of them, also of those whose journal cannot be believed. */
import { TidegateError } from '../errors.ts'
import type { OperationFilter, OperationRecord } from '../store/store.ts'
import { limits } from './limits.ts'
import type { OperationView } from './operation.ts'
import type { Quarantine } from './recovery/quarantine.ts'
import type { World } from './world.ts'

export class OperationViews {
  readonly #store: World['store']
  readonly #quarantine: Quarantine

  constructor({ store }: World, quarantine: Quarantine) {
    this.#store = store
    this.#quarantine = quarantine
  }

  /** Throws `unknown_operation`. */
  async one(id: string): Promise<OperationView> {
    const record = await this.#store.operation(id)
    if (!record) throw new TidegateError('unknown_operation', `there is no operation ${id}`)
    return this.#shown(record)
  }

  async list(filter: OperationFilter): Promise<readonly OperationView[]> {
    const records = await this.#store.operations(filter)
    return Promise.all(records.map(record => this.#shown(record)))
  }

  async #shown(record: OperationRecord): Promise<OperationView> {
    const { cluster, type } = record
    const parts =
      type === 'rolling_replace' ? await this.#store.operations({ cluster, limit: limits.partsMax }) : []
    return this.#quarantine.view(record, await this.#store.journal(record.id), parts)
  }
}
