/**
 * The board: the shared memory in which both planes keep each member's live facts.
 *
 * Control writes one word a slot: the slot's epoch and who the member admits. Each thread counts in its own column, so
 * no counter has two writers, and a crashed thread's column can be wiped without touching the others.
 *
 *   admissions │ column of thread 0 │ column of thread 1 │ … room for more │ when each began to serve │ turns, columns in use
 *
 * Some members close in the very instant in which others open. Such a word says both, whom it admits at even turns and whom at odd
 * ones, and the turn is one word for all: that one store turns every door, for every thread.
 *
 * There is room for more columns than threads, so that a reload can start some: control says how many are in use before a thread
 * counts in a new one, and never takes that back, since what a thread counted stays counted when it has left. Pages of columns that
 * nobody has used are never touched, and cost no memory.
 *
 * An exchange enters a member *first* and looks at its admission *second*; control closes the admission first and reads
 * the counters second. `Atomics` are sequentially consistent, so at least one of them sees the other: a member that
 * shows nothing in flight after it was closed will not be entered again (Dekker's argument).
 *
 * Deliberately absent: names, addresses, policies. The board knows slots and numbers only.
 */
import { strict as assert } from 'node:assert'
import { faded, memoryMs, observed } from './balance/latency.ts'

/** Who a member admits: everyone; everyone, but chosen only where nobody admits `any`; only clients bound to it; or nobody. */
export type Eligibility = 'any' | 'spare' | 'bound' | 'none'

const admission: Record<Eligibility, number> = { none: 0, bound: 1, any: 2, spare: 3 }
const eligibilities: readonly Eligibility[] = ['none', 'bound', 'any', 'spare']

/** Counters of one (thread, slot) cell. `inFlight` and `tunnels` are gauges; the others only grow (and wrap at 2^32). */
export type Counter = 'inFlight' | 'tunnels' | 'started' | 'failed' | 'serverErrors' | 'aborted'
const inFlightIndex = 0
const tunnelsIndex = 1
const counterIndex: Record<Counter, number> = {
  inFlight: inFlightIndex,
  tunnels: tunnelsIndex,
  started: 2,
  failed: 3,
  serverErrors: 4,
  aborted: 5,
}
/** Not a counter but a letter box: the thread puts its longest row of failures in, control takes it out. */
const rowIndex = 6
/** The thread's view of how long answers take, in microseconds (0: none), and when it got it, the low 32 bits of milliseconds. */
const latencyIndex = 7
const latencyAtIndex = 8
/** One line of a processor's cache, in words: threads that count in neighbouring cells do not disturb each other. */
const lineWords = 16
const countersPerCell = lineWords

/** 35 minutes: what fits. */
const latencyMicrosMax = 2 ** 31 - 1
/** 32 bits of tenths of a second last for years. */
const openedUnitMs = 100
/** What lies further ahead was written before the clock was set back. */
const skewMsMax = 60_000

export const slotsMax = 16_384
export const threadsMax = 64

export interface BoardBuffer {
  readonly sab: SharedArrayBuffer
}

export class Board {
  readonly buffer: BoardBuffer
  readonly #words: Int32Array

  constructor(buffer: BoardBuffer) {
    this.buffer = buffer
    this.#words = new Int32Array(buffer.sab)
  }

  /**
   * A new board with `threads` columns in use (one is the main thread's when there are no workers) and room for `most`, which is
   * how many there may ever be.
   */
  static create(threads: number, most: number = threads): Board {
    const columns = Math.max(1, threads, most)
    assert(columns <= threadsMax, `at most ${threadsMax} threads`)
    const words = slotsMax + columns * slotsMax * countersPerCell + slotsMax + lineWords
    const board = new Board({ sab: new SharedArrayBuffer(words * 4) })
    board.widen(Math.max(1, threads))
    return board
  }

  /** Columns in use: what is summed up. */
  get columns(): number {
    return Atomics.load(this.#words, this.#words.length - 1)
  }

  /** Control, before a thread counts in a new column: from now on so many are in use, or more. */
  widen(columns: number): void {
    const last = this.#words.length - 1
    assert(this.#cell(columns, 0) <= this.#openedAt(0), 'the board has no room for so many threads')
    Atomics.store(this.#words, last, Math.max(columns, Atomics.load(this.#words, last)))
  }

  /** Control: sets whom the member in `slot` admits. `epoch` (1 … 2^24−1) names the member's tenancy of the slot. */
  admit(slot: number, epoch: number, eligibility: Eligibility): void {
    this.admitAtTurn(slot, epoch, eligibility, eligibility)
  }

  /** Control: whom it admits until the next `turn`, and whom from then on. Whoever asked for a turn says it plainly again after it. */
  admitAtTurn(slot: number, epoch: number, until: Eligibility, after: Eligibility): void {
    const odd = (this.turns() & 1) === 1
    const [atEven, atOdd] = odd ? [after, until] : [until, after]
    Atomics.store(this.#words, slot, (epoch << 4) | (admission[atOdd] << 2) | admission[atEven])
  }

  /** Control: in this instant everybody changes who was said to. */
  turn(): void {
    Atomics.add(this.#words, this.#turnsAt, 1)
  }

  /** How many there were. */
  turns(): number {
    return Atomics.load(this.#words, this.#turnsAt)
  }

  /** Whom the member admits now; `none` if the slot has passed to another tenant. */
  eligibility(slot: number, epoch: number): Eligibility {
    const word = Atomics.load(this.#words, slot)
    if (word >>> 4 !== epoch) return 'none'
    const atEven = word & 3
    const atOdd = (word >>> 2) & 3
    return eligibilities[atEven === atOdd || (this.turns() & 1) === 0 ? atEven : atOdd]!
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
    const { columns } = this
    for (let thread = 0; thread < columns; thread++) sum += this.get(thread, slot, counter)
    return sum
  }

  /** Exchanges and tunnels over all threads: what each pick asks of the members that it compares. */
  underWay(slot: number): number {
    const { columns } = this
    let sum = 0
    for (let thread = 0; thread < columns; thread++) {
      const at = this.#cell(thread, slot)
      sum += Atomics.load(this.#words, at + inFlightIndex) + Atomics.load(this.#words, at + tunnelsIndex)
    }
    return sum
  }

  /** One thread: `length` failures in a row. Only the longest since control looked is kept. */
  noteRow(thread: number, slot: number, length: number): void {
    const at = this.#cell(thread, slot) + rowIndex
    if (length > Atomics.load(this.#words, at)) Atomics.store(this.#words, at, length)
  }

  /** Control: the longest row of failures that a thread has put in since the last call; 0 when none has failed since. */
  takeRow(slot: number): number {
    let longest = 0
    const { columns } = this
    for (let thread = 0; thread < columns; thread++)
      longest = Math.max(longest, Atomics.exchange(this.#words, this.#cell(thread, slot) + rowIndex, 0))
    return longest
  }

  /** One thread: an answer took `micros`. `nowMs`: wall clock, as in all that follows. */
  noteLatency(thread: number, slot: number, micros: number, nowMs: number): void {
    const at = this.#cell(thread, slot)
    const known = Atomics.load(this.#words, at + latencyIndex)
    const ageMs = sinceStamp(nowMs, Atomics.load(this.#words, at + latencyAtIndex), skewMsMax)
    const next = Math.min(latencyMicrosMax, Math.max(1, Math.round(observed(known, ageMs, micros))))
    // Without an order among threads, which would cost more than all else here: a reader may see one of the two a little late.
    this.#words[at + latencyIndex] = next
    this.#words[at + latencyAtIndex] = nowMs | 0
  }

  /**
   * How long answers take now, microseconds: of what the threads saw, each faded by its age, the most; negative where nobody
   * saw any. Of a `busy` slot nothing has faded that is older than `memoryMs`: an answer is awaited that will say how it is now.
   */
  latency(slot: number, nowMs: number, busy: boolean): number {
    let most = -1
    let unfaded = -1
    let youngestMs = Number.POSITIVE_INFINITY
    const { columns } = this
    for (let thread = 0; thread < columns; thread++) {
      const at = this.#cell(thread, slot)
      const known = Atomics.load(this.#words, at + latencyIndex)
      if (known === 0) continue
      const ageMs = sinceStamp(nowMs, Atomics.load(this.#words, at + latencyAtIndex), skewMsMax)
      if (ageMs < youngestMs) youngestMs = ageMs
      if (known > unfaded) unfaded = known
      if (known > most) most = Math.max(most, faded(known, ageMs))
    }
    return busy && youngestMs > memoryMs ? unfaded : most
  }

  /** Control: the member in `slot` begins to serve now, after it was registered or could not serve. */
  noteOpened(slot: number, nowMs: number): void {
    Atomics.store(this.#words, this.#openedAt(slot), Math.floor(nowMs / openedUnitMs) | 0 || 1)
  }

  /** How long it has served; infinite where nobody noted when it began. */
  servedMs(slot: number, nowMs: number): number {
    const opened = Atomics.load(this.#words, this.#openedAt(slot))
    if (opened === 0) return Number.POSITIVE_INFINITY
    return sinceStamp(Math.floor(nowMs / openedUnitMs), opened, skewMsMax / openedUnitMs) * openedUnitMs
  }

  /** Control, before a slot gets a new tenant: nothing is in flight there, so no thread writes these. */
  forgetTenant(slot: number): void {
    Atomics.store(this.#words, this.#openedAt(slot), 0)
    const { columns } = this
    for (let thread = 0; thread < columns; thread++)
      Atomics.store(this.#words, this.#cell(thread, slot) + latencyIndex, 0)
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
    const { columns } = this
    for (let thread = 0; thread < columns; thread++)
      for (let i = 0; i < countersPerCell; i++) Atomics.store(this.#words, this.#cell(thread, slot) + i, 0)
  }

  get #turnsAt(): number {
    return this.#words.length - 2
  }

  #openedAt(slot: number): number {
    return this.#words.length - lineWords - slotsMax + slot
  }

  #cell(thread: number, slot: number): number {
    return slotsMax + (thread * slotsMax + slot) * countersPerCell
  }
}

/** From a stamp (the low 32 bits of a time) until now. A little ahead of now counts as now, far ahead as long ago. */
function sinceStamp(now: number, stamp: number, skewMax: number): number {
  const since = (now - stamp) | 0
  if (since >= 0) return since
  return since > -skewMax ? 0 : Number.POSITIVE_INFINITY
}
