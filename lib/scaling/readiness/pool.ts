/**
 * The warm pools: clones of the golden snapshot that were made in advance and belong to nobody yet. What is in a pool is in the store
 * before it exists and until somebody has taken it, so that neither a crash nor the collector of orphans loses or ends it.
 *
 *   claimed (`making`) ── cloned, paused if so configured ──► kept ── an operation takes it ──► the operation's
 *        │ failed, or found after a restart                    │ another golden snapshot, dead, or too many
 *        ▼                                                     ▼
 *      destroyed ◄─────────────────────────────────────────────┘
 */
import type { Resources } from '../../config/config.ts'
import type { Write } from '../../store/store.ts'
import type { PlanData } from '../facts.ts'
import type { World } from '../world.ts'

export type PoolItem = {
  readonly name: string
  readonly node: string
  readonly state: 'making' | 'kept'
  readonly snapshot: string
  readonly made_at_ms: number
  /** A standby clone of that instance, as of then. Absent: of the warm pool. */
  readonly of?: string
  readonly as_of_ms?: number
  /** What it takes, where that is not what its cluster says: its instance was resized before it was saved. */
  readonly resources?: { readonly [K in keyof Resources]: number }
}

type PoolValue = { readonly items: readonly PoolItem[] }

export const poolKey = (cluster: string) => `pool:${cluster}`

/** As the store has it. */
export async function pooled({ store }: Pick<World, 'store'>, cluster: string): Promise<readonly PoolItem[]> {
  const value = (await store.value(poolKey(cluster))) as PoolValue | null
  return value?.items ?? []
}

/** How many of what a plan adds are there already. */
export function readyFor(
  world: Pick<World, 'pools' | 'nodeMarks'>,
  cluster: string,
  { mode, sources, add }: Pick<PlanData, 'mode' | 'sources' | 'add'>,
): number {
  const [source] = sources
  if (mode !== 'golden' || !source?.snapshot || world.nodeMarks.closed(source.node) !== null) return 0
  return Math.min(add, world.pools.ready(cluster, source.snapshot))
}

export class Pools {
  readonly #items = new Map<string, readonly PoolItem[]>()
  #turn: Promise<unknown> = Promise.resolve()

  /** What a former process left, as it stands in the store. */
  async load(world: Pick<World, 'store'>, cluster: string): Promise<void> {
    this.#items.set(cluster, await pooled(world, cluster))
  }

  of(cluster: string): readonly PoolItem[] {
    return this.#items.get(cluster) ?? []
  }

  /** Those of the warm pool. */
  warm(cluster: string): readonly PoolItem[] {
    return this.of(cluster).filter(item => item.of === undefined)
  }

  /** Those that stand by for an instance, or are being made for that. */
  clones(cluster: string): readonly PoolItem[] {
    return this.of(cluster).filter(item => item.of !== undefined)
  }

  /** The one that would take this instance's place: the freshest. */
  standbyOf(cluster: string, instance: string): PoolItem | null {
    const kept = this.clones(cluster).filter(({ of, state }) => of === instance && state === 'kept')
    return kept.toSorted((a, b) => (b.as_of_ms ?? 0) - (a.as_of_ms ?? 0))[0] ?? null
  }

  /** Null: what its cluster says, or it is not in the pool. */
  sizeOf(cluster: string, name: string): Resources | null {
    return this.of(cluster).find(item => item.name === name)?.resources ?? null
  }

  /** The write that makes these somebody else's. `forget` follows it. */
  without(cluster: string, names: readonly string[]): Write {
    return writeOf(cluster, this.#but(cluster, names))
  }

  /** After the store has taken that write, never before. */
  forget(cluster: string, names: readonly string[]): void {
    this.#items.set(cluster, this.#but(cluster, names))
  }

  #but(cluster: string, names: readonly string[]): readonly PoolItem[] {
    return this.of(cluster).filter(({ name }) => !names.includes(name))
  }

  /** How many could be taken now that are clones of `snapshot`. */
  ready(cluster: string, snapshot: string): number {
    return this.of(cluster).filter(item => fits(item, snapshot)).length
  }

  /** Up to `count` that are clones of `snapshot`, the oldest first, and the write that makes them the caller's: they are its from now on. */
  take(
    cluster: string,
    snapshot: string,
    count: number,
  ): { readonly taken: readonly PoolItem[]; readonly writes: readonly Write[] } {
    const items = this.of(cluster)
    const taken = items.filter(item => fits(item, snapshot)).slice(0, count)
    if (taken.length === 0) return { taken, writes: [] }
    const left = items.filter(item => !taken.includes(item))
    this.#items.set(cluster, left)
    return { taken, writes: [writeOf(cluster, left)] }
  }

  /** From now on nobody takes it; false: somebody has. It is dropped when it is gone. */
  retire(cluster: string, name: string): boolean {
    const items = this.of(cluster)
    if (!items.some(item => item.name === name)) return false
    this.#items.set(
      cluster,
      items.map(item => (item.name === name ? { ...item, state: 'making' } : item)),
    )
    return true
  }

  /** Puts one in, or in another state. In the store first. */
  put(world: Pick<World, 'store'>, cluster: string, item: PoolItem): Promise<void> {
    return this.#change(world, cluster, items => [...items.filter(({ name }) => name !== item.name), item])
  }

  /** Forgets one that is gone. */
  drop(world: Pick<World, 'store'>, cluster: string, name: string): Promise<void> {
    return this.#change(world, cluster, items => items.filter(item => item.name !== name))
  }

  /** One change after another, each on what the memory holds then: what was taken meanwhile does not come back. */
  #change(
    { store }: Pick<World, 'store'>,
    cluster: string,
    change: (items: readonly PoolItem[]) => readonly PoolItem[],
  ): Promise<void> {
    const act = async () => {
      const before = this.of(cluster)
      const after = change(before)
      this.#items.set(cluster, after)
      try {
        await store.write([writeOf(cluster, after)])
      } catch (error) {
        if (this.of(cluster) === after) this.#items.set(cluster, before)
        throw error
      }
    }
    const mine = this.#turn.then(act, act)
    this.#turn = mine.catch(() => {})
    return mine
  }
}

const fits = (item: PoolItem, snapshot: string) =>
  item.of === undefined && item.state === 'kept' && item.snapshot === snapshot

const writeOf = (cluster: string, items: readonly PoolItem[]): Write => ({
  put: 'value',
  key: poolKey(cluster),
  value: { items: [...items] },
})
