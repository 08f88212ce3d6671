/** The application's state: named values and visit counts, in memory and nowhere else. Bounded: the oldest go first. */
import { randomUUID } from 'node:crypto'

const entriesMax = 100_000

/** Plain JSON, as it travels to a clone. */
export interface SavedSessions {
  readonly values: readonly (readonly [string, string])[]
  readonly visits: readonly (readonly [string, number])[]
}

export class Sessions {
  #values = new Map<string, string>()
  #visits = new Map<string, number>()

  get count(): number {
    return this.#values.size
  }

  get(id: string): string | undefined {
    return this.#values.get(id)
  }

  put(id: string, value: string): void {
    keep(this.#values, id, value)
  }

  /** Counts one more visit of `sid`, or the first of a new one. */
  visit(known: string | undefined): { sid: string; visits: number } {
    const sid = known ?? randomUUID()
    const visits = (this.#visits.get(sid) ?? 0) + 1
    keep(this.#visits, sid, visits)
    return { sid, visits }
  }

  save(): SavedSessions {
    return { values: [...this.#values], visits: [...this.#visits] }
  }

  restore(saved: SavedSessions): void {
    this.#values = new Map(saved.values)
    this.#visits = new Map(saved.visits)
  }
}

function keep<V>(map: Map<string, V>, key: string, value: V): void {
  map.delete(key)
  map.set(key, value)
  if (map.size > entriesMax) for (const oldest of map.keys()) return void map.delete(oldest)
}
