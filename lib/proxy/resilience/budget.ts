/**
 * A share of the requests of the last ten seconds, and a few a second besides: what retries and hedges may cost. @pure
 *
 * When everything fails, every request asks for a retry, and without this a failing cluster would get its load several times
 * over just then. With it the extra load is at most the share. One for each cluster and event loop; counts seconds, keeps no requests.
 */
const windowSeconds = 10

export class Budget {
  readonly #ratio: number
  /** What is granted in a window without any request. */
  #reserve = 0
  readonly #asked = new Uint32Array(windowSeconds)
  readonly #granted = new Uint32Array(windowSeconds)
  #askedSum = 0
  #grantedSum = 0
  /** The second that is counted now. */
  #second = 0

  constructor(ratio: number, minPerSecond: number) {
    this.#ratio = ratio
    this.grant(minPerSecond)
  }

  /** From now on so many are granted besides. */
  grant(minPerSecond: number): void {
    this.#reserve = minPerSecond * windowSeconds
  }

  /** A request came. `nowMs` may be of any clock, of one and the same for all calls. */
  note(nowMs: number): void {
    const at = this.#turn(nowMs)
    this.#asked[at]!++
    this.#askedSum++
  }

  /** Whether `take` would be granted. */
  room(nowMs: number): boolean {
    this.#turn(nowMs)
    return this.#grantedSum + 1 <= this.#ratio * this.#askedSum + this.#reserve
  }

  /** True: granted, and counted. */
  take(nowMs: number): boolean {
    if (!this.room(nowMs)) return false
    this.#granted[this.#second % windowSeconds]!++
    this.#grantedSum++
    return true
  }

  /** Forgets the seconds that have left the window; the place of the second that is counted. */
  #turn(nowMs: number): number {
    const second = Math.floor(nowMs / 1000)
    if (second === this.#second) return second % windowSeconds
    const step = second - this.#second
    // A clock that was set back a little goes on in the second it had reached.
    if (step > 0 || step <= -windowSeconds) {
      const steps = step > 0 ? Math.min(step, windowSeconds) : windowSeconds
      for (let i = 0; i < steps; i++) this.#forget((second - i + windowSeconds) % windowSeconds)
      this.#second = second
    }
    return this.#second % windowSeconds
  }

  #forget(at: number): void {
    this.#askedSum -= this.#asked[at]!
    this.#grantedSum -= this.#granted[at]!
    this.#asked[at] = 0
    this.#granted[at] = 0
  }
}
