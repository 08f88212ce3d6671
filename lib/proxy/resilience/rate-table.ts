/**
 * How much each client has asked for lately, in shared memory of a fixed size: one rate limit for all threads, without a map.
 *
 * GCRA: a client is one number, the moment at which all it was granted will have come back. A request is granted when that moment is no
 * further ahead than a burst, and moves it on by the time that one request takes to come back. Who is refused is not charged.
 *
 * Clients are hashed with a secret into two rows of cells, and the *less* busy cell of the two counts (a count-min sketch with conservative
 * update). Only a client whose two cells are both shared with busy ones is held too strictly; sharing never makes one freer.
 *
 * Moments are microseconds of the wall clock, modulo 2^32 (71 minutes); 0 is a client that has nothing outstanding. A cell further ahead
 * than can be has been overtaken by a clock that was set, and counts as idle. A cell that has lain idle for 35 minutes would look
 * busy: `sweep` empties those long before.
 */

export interface RateBuffer {
  readonly sab: SharedArrayBuffer
  /** 16 secret bytes, new at each start: 8 for addresses, 8 for names. */
  readonly key: Uint8Array
}

/** Two threads that meet at one cell try again; somebody always gets through. */
const triesMax = 8
/**
 * So far the clocks of those who meet at a cell may be apart: each thread reads its own once a turn, and a turn may be long. Without it
 * a thread that is a millisecond behind would take a client that has had all it may for one that cannot be.
 */
const skewUsMax = 10_000_000
/** No cell is further ahead (`rate_limit.burst` is bounded by it): 600 s of burst and the slowest rate's 100 s. */
const aheadUsMax = 700_000_000 + skewUsMax

export class RateTable {
  readonly #cells: Int32Array
  readonly #mask: number
  #sweptTo = 0

  constructor({ sab }: RateBuffer) {
    this.#cells = new Int32Array(sab)
    this.#mask = this.#cells.length / 2 - 1
  }

  /** Room for about `clientsMax` busy clients. */
  static create(clientsMax: number, key: Uint8Array): RateBuffer {
    const rowCells = 2 ** Math.ceil(Math.log2(Math.max(1024, clientsMax)))
    return { sab: new SharedArrayBuffer(rowCells * 2 * 4), key }
  }

  /**
   * Asks for one request of the client with the hash `low`, `high`. 0: granted; else the microseconds until one would be.
   * `intervalUs`: in which one request comes back; `toleranceUs`: how far ahead a client may be and still be granted one.
   */
  take(low: number, high: number, nowMs: number, intervalUs: number, toleranceUs: number): number {
    const cells = this.#cells
    const now = microseconds(nowMs)
    const aheadMax = toleranceUs + intervalUs + skewUsMax
    const a = low & this.#mask
    const b = (high & this.#mask) + this.#mask + 1
    for (let tries = 0; tries < triesMax; tries++) {
      const wordA = Atomics.load(cells, a)
      const wordB = Atomics.load(cells, b)
      const aheadA = ahead(wordA, now, aheadMax)
      const aheadB = ahead(wordB, now, aheadMax)
      const least = Math.min(aheadA, aheadB)
      if (least > toleranceUs) return least - toleranceUs
      const next = (now + least + intervalUs) | 0 || 1
      // The cell that decides must not have moved; the other only has to be no less, and that first: between the two writes
      // another thread is then to decide by the same cell, and not by one that does not know of this request yet.
      const first = aheadA <= aheadB
      const cell = first ? a : b
      const word = first ? wordA : wordB
      this.#raise(first ? b : a, next, now, aheadMax)
      if (Atomics.compareExchange(cells, cell, word, next) === word) return 0
    }
    return 0
  }

  /** Empties idle cells, a `share` of the table each time; the whole table must have its turn within half an hour. */
  sweep(nowMs: number, share: number): void {
    const cells = this.#cells
    const now = microseconds(nowMs)
    for (let count = Math.ceil(cells.length * share); count > 0; count--) {
      const at = this.#sweptTo
      this.#sweptTo = (at + 1) % cells.length
      const word = Atomics.load(cells, at)
      if (word !== 0 && ahead(word, now, aheadUsMax) === 0) Atomics.compareExchange(cells, at, word, 0)
    }
  }

  #raise(cell: number, next: number, now: number, aheadMax: number): void {
    const wanted = (next - now) | 0
    for (let tries = 0; tries < triesMax; tries++) {
      const word = Atomics.load(this.#cells, cell)
      if (ahead(word, now, aheadMax) >= wanted) return
      if (Atomics.compareExchange(this.#cells, cell, word, next) === word) return
    }
  }
}

const microseconds = (ms: number) => (ms * 1000) | 0

/** How far a moment is ahead of now; 0 when it is past, or cannot be. */
function ahead(word: number, now: number, aheadMax: number): number {
  const by = (word - now) | 0
  return word === 0 || by <= 0 || by > aheadMax ? 0 : by
}
