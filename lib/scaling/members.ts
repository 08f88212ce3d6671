/**
 * The instances that the store says are members, kept in memory beside it: every committed write passes through here. By cluster too, for
 * whoever decides about one of many asks for its own again and again.
 */
import type { InstanceRecord, Write } from '../store/store.ts'

export class Members {
  readonly #records = new Map<string, InstanceRecord>()
  readonly #clusters = new Map<string, Map<string, InstanceRecord>>()

  load(records: readonly InstanceRecord[]): void {
    this.#records.clear()
    this.#clusters.clear()
    for (const record of records) this.#put(record)
  }

  /** One cluster's, as the store has them. */
  reload(cluster: string, records: readonly InstanceRecord[]): void {
    for (const { id } of this.of(cluster)) this.#drop(id)
    for (const record of records) if (record.cluster === cluster) this.#put(record)
  }

  /** After the store has taken the batch, never before. */
  committed(batch: readonly Write[]): void {
    for (const write of batch) {
      if ('put' in write && write.put === 'instance') this.#put(write.record)
      if ('delete' in write && write.delete === 'instance') this.#drop(write.id)
    }
  }

  of(cluster: string): readonly InstanceRecord[] {
    return [...(this.#clusters.get(cluster)?.values() ?? [])]
  }

  get(id: string): InstanceRecord | null {
    return this.#records.get(id) ?? null
  }

  count(cluster: string): number {
    return this.#clusters.get(cluster)?.size ?? 0
  }

  all(): readonly InstanceRecord[] {
    return [...this.#records.values()]
  }

  #put(record: InstanceRecord): void {
    const { id, cluster } = record
    if (this.#records.get(id)?.cluster !== cluster) this.#drop(id)
    this.#records.set(id, record)
    const own = this.#clusters.get(cluster) ?? new Map<string, InstanceRecord>()
    this.#clusters.set(cluster, own.set(id, record))
  }

  #drop(id: string): void {
    const record = this.#records.get(id)
    if (!record) return
    this.#records.delete(id)
    this.#clusters.get(record.cluster)?.delete(id)
  }
}
