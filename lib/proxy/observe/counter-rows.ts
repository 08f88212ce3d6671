/**
 * Which row of the counters counts for which cluster. Control's: a cluster keeps its row for as long as it is configured, whatever
 * comes and goes around it, so that a count never moves to another name.
 */
import { rowsMax } from './counters.ts'

/** Cluster id → row. Plain data, for the threads. */
export type Rows = ReadonlyMap<string, number>

export class CounterRows {
  readonly #rows = new Map<string, number>()
  /** Of clusters that left, longest gone first: they keep their counts until their row is needed. */
  readonly #gone = new Map<string, number>()
  readonly #clear: (row: number) => void
  #next = 1

  /** `clear` empties a row that passes to another cluster. */
  constructor(clear: (row: number) => void) {
    this.#clear = clear
  }

  /** Rows for exactly these clusters. Those beyond the last row share row 0. */
  assign(ids: readonly string[]): Rows {
    const wanted = new Set(ids)
    for (const [id, row] of this.#rows) {
      if (wanted.has(id)) continue
      this.#rows.delete(id)
      this.#gone.set(id, row)
    }
    const rows = new Map<string, number>()
    for (const id of ids) {
      const row = this.#rows.get(id) ?? this.#take(id)
      if (row > 0) this.#rows.set(id, row)
      rows.set(id, row)
    }
    return rows
  }

  current(): ReadonlyMap<string, number> {
    return this.#rows
  }

  #take(id: string): number {
    const own = this.#gone.get(id)
    if (own !== undefined) {
      this.#gone.delete(id)
      return own
    }
    if (this.#next < rowsMax) return this.#next++
    for (const [other, row] of this.#gone) {
      this.#gone.delete(other)
      this.#clear(row)
      return row
    }
    return 0
  }
}
