/**
 * Instances that died or left and whose clients may come back with a cookie that names them. What is kept of each is what it takes to
 * find who has most of its memory; it goes to the threads with the generation that takes the instance out, and survives a restart.
 * Bounded in number and in time: a cookie that names it ends its life by then.
 */
import type { LostMember } from '../../cluster/table.ts'
import type { AncestorRecord, InstanceRecord, Store, Write } from '../../store/store.ts'
import { KeptValues } from '../kept-values.ts'
import type { World } from '../world.ts'

/** A cluster's. Of more the oldest are forgotten: their clients are balanced like new ones. */
export const lostMax = 64

type Lost = {
  readonly id: string
  readonly incarnation: string
  readonly lineage: readonly AncestorRecord[]
  /** Wall clock. */
  readonly until_ms: number
}

export class Losses {
  readonly #kept = new KeptValues<readonly Lost[]>('lost:')
  /** The same object as long as it says the same. */
  readonly #shown = new WeakMap<readonly Lost[], readonly LostMember[]>()

  load(store: Store, clusters: readonly string[]): Promise<void> {
    return this.#kept.load(store, clusters)
  }

  /** After the store has taken the batch, never before. */
  committed(batch: readonly Write[]): void {
    this.#kept.committed(batch)
  }

  of(cluster: string): readonly LostMember[] {
    const lost = this.#kept.get(cluster)
    return lost ? this.#show(lost) : []
  }

  all(): ReadonlyMap<string, readonly LostMember[]> {
    return new Map([...this.#kept.all()].map(([cluster, lost]) => [cluster, this.#show(lost)]))
  }

  /** With these added, and without those whose time is over. */
  with(
    cluster: string,
    records: readonly InstanceRecord[],
    { nowMs, lifeMs }: { readonly nowMs: number; readonly lifeMs: number },
  ): Write {
    const gone = new Set(records.map(({ id }) => id))
    const before = (this.#kept.get(cluster) ?? []).filter(
      ({ id, until_ms }) => until_ms > nowMs && !gone.has(id),
    )
    const added = records.map(
      ({ id, incarnation, lineage = [] }): Lost => ({ id, incarnation, lineage, until_ms: nowMs + lifeMs }),
    )
    return this.#kept.write(cluster, [...before, ...added].slice(-lostMax))
  }

  #show(lost: readonly Lost[]): readonly LostMember[] {
    const known = this.#shown.get(lost)
    if (known) return known
    const shown = lost.map(({ id, incarnation, lineage }) => ({
      id,
      incarnation,
      lineage: lineage.filter(ancestor => ancestor.incarnation !== null),
    }))
    this.#shown.set(lost, shown)
    return shown
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
