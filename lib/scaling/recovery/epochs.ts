/**
 * The lives of Tidegate over one store, numbered: each start is the next epoch, and what it makes carries it in its tag. A tag of
 * an epoch that this store never had was made after the copy was taken from which the store was put back: its journal is lost, and
 * nobody here can say that it is not wanted.
 *
 *   epochs of the store   1 … 6 │ a copy is taken              7, 8, 9 are lived, and lost with the disk
 *   after it is put back        └ 7 is next, but 9 is seen:    7 … 9 become a gap, and this life is 10
 */
import type { Held, Owner } from '../../hypervisor/driver.ts'
import type { Json, Store } from '../../store/store.ts'

const key = 'epochs'

type Kept = { readonly current: number; readonly gaps: readonly (readonly [number, number])[] }

export class Epochs {
  #kept: Kept = { current: 0, gaps: [] }

  /** This life's. 0 before `begin`. */
  get current(): number {
    return this.#kept.current
  }

  /** Begins the next one; in the store before anything is made in it. Harmless to call twice. */
  async begin(store: Store, installation: string, held: ReadonlyMap<string, Held | null>): Promise<void> {
    if (this.#kept.current > 0) return
    const { current, gaps } = ((await store.value(key)) as Kept | null) ?? { current: 0, gaps: [] }
    const owners = [...held.values()].flatMap(answer =>
      [...(answer?.instances ?? []), ...(answer?.snapshots ?? [])].map(({ owner }) => owner),
    )
    const seen = owners.filter(owner => owner.installation === installation).map(owner => owner.epoch ?? 0)
    const highest = Math.max(current, ...seen)
    const kept: Kept = {
      current: highest + 1,
      gaps: highest > current ? [...gaps, [current + 1, highest]] : gaps,
    }
    await store.write([{ put: 'value', key, value: kept as unknown as Json }])
    this.#kept = kept
  }

  /** Tags of former versions have none: they are from before there were epochs. */
  knows({ epoch = 0 }: Owner): boolean {
    const { current, gaps } = this.#kept
    return epoch <= current && !gaps.some(([from, to]) => epoch >= from && epoch <= to)
  }
}
