/**
 * The board: the shared memory in which both planes keep each member's live facts.
 *
 * Control writes one word a slot: the slot's epoch and who the member admits. Each thread counts in its own column, so
 * no counter has two writers, and a crashed thread's column can be wiped without touching the others.
 *
 * An exchange enters a member *first* and looks at its admission *second*; control closes the admission first and reads
 * the counters second. `Atomics` are sequentially consistent, so at least one of them sees the other: a member that
 * shows nothing in flight after it was closed will not be entered again (Dekker's argument).
 *
 * Deliberately absent: names, addresses, policies. The board knows slots and numbers only.
 */
import { strict as assert } from 'node:assert'

/** Who a member admits: everyone, only clients already bound to it, or nobody. */
export type Eligibility = 'any' | 'bound' | 'none'

const admission: Record<Eligibility, number> = { none: 0, bound: 1, any: 2 }
const eligibilities: readonly Eligibility[] = ['none', 'bound', 'any']

/** Counters of one (thread, slot) cell. `inFlight` and `tunnels` are gauges; the others only grow (and wrap at 2^32). */
export type Counter = 'inFlight' | 'tunnels' | 'started' | 'failed'
const counterIndex: Record<Counter, number> = { inFlight: 0, tunnels: 1, started: 2, failed: 3 }
const countersPerCell = 4

export const slotsMax = 16_384
export const threadsMax = 64

export interface BoardBuffer {
  readonly sab: SharedArrayBuffer
  readonly threads: number
}

export class Board {
  readonly buffer: BoardBuffer
  readonly #words: Int32Array

  constructor(buffer: BoardBuffer) {
    this.buffer = buffer
    this.#words = new Int32Array(buffer.sab)
  }

  /** A new board for `threads` columns (one is used by the main thread when there are no workers). */
  static create(threads: number): Board {
    const columns = Math.max(1, threads)
    assert(columns <= threadsMax, `at most ${threadsMax} threads`)
    const words = slotsMax + columns * slotsMax * countersPerCell
    return new Board({ sab: new SharedArrayBuffer(words * 4), threads: columns })
  }

  /** Control: sets whom the member in `slot` admits. `epoch` (1 … 2^24−1) names the member's tenancy of the slot. */
  admit(slot: number, epoch: number, eligibility: Eligibility): void {
    Atomics.store(this.#words, slot, (epoch << 4) | admission[eligibility])
  }

  /** Whom the member admits now; `none` if the slot has passed to another tenant. */
  eligibility(slot: number, epoch: number): Eligibility {
    const word = Atomics.load(this.#words, slot)
    return word >>> 4 === epoch ? eligibilities[word & 3]! : 'none'
  }

  add(thread: number, slot: number, counter: Counter, delta: number): void {
    Atomics.add(this.#words, this.#cell(thread, slot) + counterIndex[counter], delta)
  }

  /** One thread's own value. */
  get(thread: number, slot: number, counter: Counter): number {
    return Atomics.load(this.#words, this.#cell(thread, slot) + counterIndex[counter])
  }

  /** The sum over all threads. */
  total(slot: number, counter: Counter): number {
    let sum = 0
    for (let thread = 0; thread < this.buffer.threads; thread++) sum += this.get(thread, slot, counter)
    return sum
  }

  /** Control, after a thread died: what it held in flight is gone with it. */
  wipeThread(thread: number): void {
    for (let slot = 0; slot < slotsMax; slot++) {
      Atomics.store(this.#words, this.#cell(thread, slot) + counterIndex.inFlight, 0)
      Atomics.store(this.#words, this.#cell(thread, slot) + counterIndex.tunnels, 0)
    }
  }

  /** Control, before a slot gets a new tenant. */
  clearSlot(slot: number): void {
    for (let thread = 0; thread < this.buffer.threads; thread++)
      for (let i = 0; i < countersPerCell; i++) Atomics.store(this.#words, this.#cell(thread, slot) + i, 0)
  }

  #cell(thread: number, slot: number): number {
    return slotsMax + (thread * slotsMax + slot) * countersPerCell
  }
}
