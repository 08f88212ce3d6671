/** The instances that the store says are members, kept in memory beside it: every committed write passes through here. */
import type { InstanceRecord, Write } from '../store/store.ts'

export class Members {
  readonly #records = new Map<string, InstanceRecord>()

  load(records: readonly InstanceRecord[]): void {
    this.#records.clear()
    for (const record of records) this.#records.set(record.id, record)
  }

  /** One cluster's, as the store has them. */
  reload(cluster: string, records: readonly InstanceRecord[]): void {
    for (const { id } of this.of(cluster)) this.#records.delete(id)
    for (const record of records) if (record.cluster === cluster) this.#records.set(record.id, record)
  }

  /** After the store has taken the batch, never before. */
  committed(batch: readonly Write[]): void {
    for (const write of batch) {
      if ('put' in write && write.put === 'instance') this.#records.set(write.record.id, write.record)
      if ('delete' in write && write.delete === 'instance') this.#records.delete(write.id)
    }
  }

  of(cluster: string): readonly InstanceRecord[] {
    return [...this.#records.values()].filter(record => record.cluster === cluster)
  }

  get(id: string): InstanceRecord | null {
    return this.#records.get(id) ?? null
  }

  all(): readonly InstanceRecord[] {
    return [...this.#records.values()]
  }
}
