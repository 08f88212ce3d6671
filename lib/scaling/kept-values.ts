/**
 * Something that is known of each cluster: one value in the store, and the same in memory beside it. What is written goes with
 * other writes in one transaction, so it is taken over when that is committed, and never before.
 */
import type { Json, Store, Write } from '../store/store.ts'

export class KeptValues<T> {
  readonly #prefix: string
  readonly #held = new Map<string, T>()

  /** `prefix`: of its keys; the cluster's id follows. */
  constructor(prefix: string) {
    this.#prefix = prefix
  }

  async load(store: Store, clusters: readonly string[]): Promise<void> {
    const values = await Promise.all(clusters.map(cluster => store.value(`${this.#prefix}${cluster}`)))
    for (const [index, cluster] of clusters.entries())
      if (values[index] !== null) this.#held.set(cluster, values[index] as T)
  }

  /** After the store has taken the batch. */
  committed(batch: readonly Write[]): void {
    for (const write of batch)
      if ('put' in write && write.put === 'value' && write.key.startsWith(this.#prefix))
        this.#held.set(write.key.slice(this.#prefix.length), write.value as T)
  }

  /** Undefined: nothing was ever kept. */
  get(cluster: string): T | undefined {
    return this.#held.get(cluster)
  }

  all(): ReadonlyMap<string, T> {
    return this.#held
  }

  write(cluster: string, value: T): Write {
    return { put: 'value', key: `${this.#prefix}${cluster}`, value: value as unknown as Json }
  }
}
