/**
 * Operations that are parts of another one. The whole says in its own journal what it is about to have done; what came of it is read
 * from the records of the parts, so that a whole that was interrupted finds them again and begins nothing twice.
 */
import { type ErrorCode, errorTable, TidegateError, toTidegateError } from '../../errors.ts'
import type { OperationRecord } from '../../store/store.ts'
import { either } from '../deadline.ts'
import type { AllocateData } from '../facts.ts'
import { errorOf, type OperationFault } from '../failure.ts'
import { limits } from '../limits.ts'
import { type OperationRequest, type PartOf, partOf } from '../operation.ts'
import type { World } from '../world.ts'

/** What it needs of operations; the hands of `Scaling`. */
export interface Hands {
  readonly begin: (cluster: string, request: OperationRequest, actor: string) => Promise<unknown>
  readonly cancel: (operation: string) => Promise<unknown>
  /** Resolves when this process has no more to do on it; null: nobody works on it here. */
  readonly driven: (operation: string) => Promise<void> | null
}

type PartRequest = Extract<OperationRequest, { type: 'replace' }>

export class Parts {
  readonly #world: Omit<World, 'parts'>
  readonly #hands: Hands

  constructor(world: Omit<World, 'parts'>, hands: Hands) {
    this.#world = world
    this.#hands = hands
  }

  /** Of one batch and direction, the newest first. */
  async of({ operation, batch, back }: PartOf, cluster: string): Promise<readonly OperationRecord[]> {
    const records = await this.#world.store.operations({ cluster, limit: limits.partsMax })
    return records.filter(({ request }) => {
      const part = partOf(request)
      return part?.operation === operation && part.batch === batch && part.back === back
    })
  }

  /** When it has ended, however. */
  async ended(record: OperationRecord, signal: AbortSignal): Promise<OperationRecord> {
    for (;;) {
      const now = await this.#world.store.operation(record.id)
      if (now === null || now.outcome !== null) return now ?? record
      const waited = either([signal])
      const pause = this.#world.clock.sleep(limits.partPollMs, waited.signal)
      pause.catch(() => {})
      try {
        await Promise.race([this.#hands.driven(record.id) ?? pause, pause])
      } finally {
        waited.release()
        waited.abort(new DOMException('no longer waited for', 'AbortError'))
      }
    }
  }

  async cancelAll(records: readonly OperationRecord[]): Promise<void> {
    // Past its point of no return it ends as it would have.
    for (const { id, outcome } of records) if (outcome === null) await this.#hands.cancel(id).catch(() => {})
  }

  /** What one of its steps left; null: it was not carried out. */
  async dataOf<T>({ id }: OperationRecord, step: string): Promise<T | null> {
    const journal = await this.#world.store.journal(id)
    const entry = journal.findLast(entry => entry.step === step && entry.kind === 'done')
    return (entry?.data as T | undefined) ?? null
  }

  /** The names of what a part that ended well made; none of another. */
  async madeBy(record: OperationRecord): Promise<readonly string[]> {
    if (record.outcome !== 'completed') return []
    const made = await this.dataOf<AllocateData>(record, 'allocate')
    return made?.items.map(({ name }) => name) ?? []
  }

  /**
   * Sees to it that a part is carried out: waits for the one that is under way, takes one that ended well as it is, and begins another
   * where a restart broke one off. What takes back is begun as long as `wanted` asks for something. Null: there was nothing to do.
   * Throws what made it fail, with its id in the details.
   */
  async carryOut(
    whole: OperationRecord,
    part: PartOf,
    wanted: () => PartRequest | null,
    signal: AbortSignal,
  ): Promise<OperationRecord | null> {
    for (let begun = false; ; begun = true) {
      const parts = await this.of(part, whole.cluster)
      const last = parts[0] ? await this.ended(parts[0], signal) : null
      if (last?.outcome === 'completed' && !part.back) return last
      if (last && last.outcome !== 'completed') {
        const fault = errorOf(last, await this.#world.store.journal(last.id))
        const again = fault?.code === 'operation_interrupted' && parts.length < limits.partAttemptsMax
        if (!again && (begun || !part.back)) throw failed(last, fault)
      }
      const request = wanted()
      if (request === null) return last
      await this.#begin(whole, { ...request, part_of: part }, signal)
    }
  }

  /** A repair may be under way in the cluster: it is waited for. */
  async #begin(whole: OperationRecord, request: PartRequest, signal: AbortSignal): Promise<void> {
    for (;;) {
      try {
        await this.#hands.begin(whole.cluster, request, whole.actor)
        return
      } catch (error) {
        if (toTidegateError(error).code !== 'operation_running') throw error
        await this.#world.clock.sleep(limits.partPollMs, signal)
      }
    }
  }
}

function failed({ id, outcome }: OperationRecord, fault: OperationFault | null): TidegateError {
  const { code = 'operation_failed', message = `it was ${outcome}`, details = {} } = fault ?? {}
  const known = code in errorTable ? (code as ErrorCode) : 'operation_failed'
  const own = typeof details === 'object' && details !== null && !Array.isArray(details) ? details : {}
  return new TidegateError(known, `replace ${id}: ${message}`, { details: { ...own, operation_id: id } })
}
