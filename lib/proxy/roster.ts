/**
 * Those that are here now, and that come and go all the time. Each knows its place, so that leaving takes no search. @pure
 *
 * Not a `Set`: one that is added to and deleted from for ever makes a new table each time its old one is full of holes, and in V8 the
 * old table keeps the new one, and all that was in either, alive until the next full collection. Where an entry lives for a
 * millisecond, a quarter of all garbage was found to be carried into the old generation that way.
 */
export interface Listed {
  /** -1: not in a roster. One thing is in one roster. */
  listedAt: number
}

export class Roster<T extends Listed> implements Iterable<T> {
  readonly #all: T[] = []

  get size(): number {
    return this.#all.length
  }

  /** Not in the order of their coming. Whoever leaves or comes meanwhile is harmless. */
  [Symbol.iterator](): Iterator<T> {
    return [...this.#all][Symbol.iterator]()
  }

  add(entry: T): void {
    entry.listedAt = this.#all.push(entry) - 1
  }

  /** False: it was not here. */
  remove(entry: T): boolean {
    const at = entry.listedAt
    if (at === -1) return false
    entry.listedAt = -1
    const last = this.#all.pop()!
    if (last === entry) return true
    this.#all[at] = last
    last.listedAt = at
    return true
  }
}
