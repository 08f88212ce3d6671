/**
 * Instances that died or left and whose clients may come back with a cookie that names them. What is kept of each is what it takes to
 * find who has most of its memory; it goes to the threads with the generation that takes the instance out, and survives a restart.
 * Bounded in number and in time: a cookie that names it ends its life by then.
 */
import type { LostMember } from '../cluster/table.ts'
import type { AncestorRecord, InstanceRecord, Json, Store, Write } from '../store/store.ts'
import type { World } from './world.ts'

/** A cluster's. Of more the oldest are forgotten: their clients are balanced like new ones. */
export const lostMax = 64

type Lost = {
  readonly id: string
  readonly incarnation: string
  readonly lineage: readonly AncestorRecord[]
  /** Wall clock. */
  readonly until_ms: number
}

const prefix = 'lost:'

/** Kept in the store as one value a cluster, and in memory beside it: every committed write passes through here. */
export class Losses {
  readonly #lost = new Map<string, readonly Lost[]>()
  /** The same object as long as it says the same. */
  readonly #shown = new Map<string, readonly LostMember[]>()

  async load(store: Store, clusters: readonly string[]): Promise<void> {
    for (const cluster of clusters) {
      const value = await store.value(`${prefix}${cluster}`)
      if (value) this.#hold(cluster, value)
    }
  }

  /** After the store has taken the batch, never before. */
  committed(batch: readonly Write[]): void {
    for (const write of batch)
      if ('put' in write && write.put === 'value' && write.key.startsWith(prefix))
        this.#hold(write.key.slice(prefix.length), write.value)
  }

  of(cluster: string): readonly LostMember[] {
    return this.#shown.get(cluster) ?? []
  }

  all(): ReadonlyMap<string, readonly LostMember[]> {
    return this.#shown
  }

  /** With these added, and without those whose time is over. */
  with(
    cluster: string,
    records: readonly InstanceRecord[],
    { nowMs, lifeMs }: { readonly nowMs: number; readonly lifeMs: number },
  ): Write {
    const gone = new Set(records.map(({ id }) => id))
    const before = (this.#lost.get(cluster) ?? []).filter(
      ({ id, until_ms }) => until_ms > nowMs && !gone.has(id),
    )
    const added = records.map(
      ({ id, incarnation, lineage = [] }): Lost => ({ id, incarnation, lineage, until_ms: nowMs + lifeMs }),
    )
    return { put: 'value', key: `${prefix}${cluster}`, value: [...before, ...added].slice(-lostMax) }
  }

  #hold(cluster: string, value: Json): void {
    const lost = value as unknown as readonly Lost[]
    this.#lost.set(cluster, lost)
    this.#shown.set(
      cluster,
      lost.map(({ id, incarnation, lineage }) => ({
        id,
        incarnation,
        lineage: lineage.filter(ancestor => ancestor.incarnation !== null),
      })),
    )
  }
}

/** What takes instances out of the store: them, their marks, and a note of them for clients whose cookie names them. */
export function removalOf(world: World, cluster: string, ids: readonly string[]): readonly Write[] {
  const removals = ids.flatMap((id): Write[] => [
    { delete: 'instance', id },
    { delete: 'mark', cluster, backend: id },
  ])
  const affinity = world.clusters.has(cluster) ? world.clusters.config(cluster).affinity : null
  const records = ids.flatMap(id => world.members.get(id) ?? [])
  if (affinity?.method !== 'cookie' || records.length === 0) return removals
  const when = { nowMs: world.clock.now(), lifeMs: affinity.ttlSeconds * 1000 }
  return [...removals, world.losses.with(cluster, records, when)]
}
