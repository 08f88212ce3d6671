/**
 * The shared memory behind circuit limits: for each cluster and event loop, what is inside and who waits.
 *
 * As on the board of members (`cluster/board`) each loop writes its own column only, so a loop that died is wiped without touching
 * the others. A loop counts itself in *first* and adds all columns up *second*: two that come for the last place at the same
 * moment see each other, and the limit is never passed. Should both step back, their next look finds one of them alone.
 *
 * Deliberately absent: limits, queues, time. It knows places and numbers.
 */
import { strict as assert } from 'node:assert'

/** `requests`, `tunnels` and `pending` are gauges. `since`: when the loop's first waiter came, 0 for nobody. */
export type CircuitCount = 'requests' | 'tunnels' | 'pending' | 'since'
const countIndex: Record<CircuitCount, number> = { requests: 0, tunnels: 1, pending: 2, since: 3 }
const countsPerCell = 4

/** More than a config names, since a cluster that left keeps its place for a while. */
export const circuitsMax = 1_100
const threadsMax = 64

export interface CircuitBuffer {
  readonly sab: SharedArrayBuffer
}

export class CircuitBoard {
  readonly buffer: CircuitBuffer
  /** The first words are the loops' bells, the last one says how many columns are in use. */
  readonly words: Int32Array

  constructor(buffer: CircuitBuffer) {
    this.buffer = buffer
    this.words = new Int32Array(buffer.sab)
  }

  /** With `threads` columns in use and room for `most`. */
  static create(threads: number, most: number = threads): CircuitBoard {
    const columns = Math.max(1, threads, most)
    assert(columns <= threadsMax, `at most ${threadsMax} threads`)
    const words = threadsMax + columns * circuitsMax * countsPerCell + 1
    const board = new CircuitBoard({ sab: new SharedArrayBuffer(words * 4) })
    board.widen(Math.max(1, threads))
    return board
  }

  /** Columns in use. A loop that finds itself alone has counted itself in before: whoever comes after it was let in later, and sees it. */
  get threads(): number {
    return Atomics.load(this.words, this.words.length - 1)
  }

  /** Control, before a loop counts in a new column. */
  widen(columns: number): void {
    assert(this.#cell(columns, 0) < this.words.length, 'no room for so many threads')
    Atomics.store(this.words, this.words.length - 1, Math.max(columns, this.threads))
  }

  add(thread: number, circuit: number, count: CircuitCount, delta: number): void {
    Atomics.add(this.words, this.#cell(thread, circuit) + countIndex[count], delta)
  }

  get(thread: number, circuit: number, count: CircuitCount): number {
    return Atomics.load(this.words, this.#cell(thread, circuit) + countIndex[count])
  }

  total(circuit: number, count: CircuitCount): number {
    let sum = 0
    const { threads } = this
    for (let thread = 0; thread < threads; thread++) sum += this.get(thread, circuit, count)
    return sum
  }

  /** The loop's first waiter came at `nowMs` (wall clock: loops compare); null: nobody waits. */
  setSince(thread: number, circuit: number, nowMs: number | null): void {
    // The low 32 bits are enough to tell who came first; 0 is kept for nobody.
    const word = nowMs === null ? 0 : nowMs | 0 || 1
    Atomics.store(this.words, this.#cell(thread, circuit) + countIndex.since, word)
  }

  /** The loop whose first waiter came first, or -1. */
  oldest(circuit: number): number {
    let found = -1
    let foundSince = 0
    const { threads } = this
    for (let thread = 0; thread < threads; thread++) {
      const since = this.get(thread, circuit, 'since')
      if (since === 0 || (found !== -1 && ((since - foundSince) | 0) >= 0)) continue
      found = thread
      foundSince = since
    }
    return found
  }

  /** Nothing is inside and nobody waits: the place may be given to another cluster. */
  quiet(circuit: number): boolean {
    return (
      this.total(circuit, 'requests') === 0 &&
      this.total(circuit, 'tunnels') === 0 &&
      this.total(circuit, 'pending') === 0
    )
  }

  /** Control, after a thread died: what it held is gone with it. */
  wipeThread(thread: number): void {
    const from = this.#cell(thread, 0)
    for (let at = from; at < from + circuitsMax * countsPerCell; at++) Atomics.store(this.words, at, 0)
  }

  #cell(thread: number, circuit: number): number {
    return threadsMax + (thread * circuitsMax + circuit) * countsPerCell
  }
}
