/**
 * Time for things that happen often. Where reading the clock is a system call, a read for each event costs more than parsing a
 * request; so it is read once for each turn of the event loop, and wall-clock text is made once a second.
 * What happens in one turn happens at one time: a duration is exact to the length of a turn.
 */
import type { Clock } from '../../clock.ts'

/** The wall clock may be set while we run: it is asked again when this much has passed. */
const wallCheckMs = 1_000

export class TurnClock {
  readonly #clock: Clock
  #fresh = false
  #nowMs = 0
  #wallOffsetMs = 0
  #wallCheckedMs = Number.NEGATIVE_INFINITY
  #second = Number.NaN
  #secondText = ''

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /**
   * Monotonic milliseconds, the same for the whole turn. An immediate ends the turn: it runs after the events of this turn, and
   * while it is pending the loop does not sleep, so no event after a wait sees the time before it.
   */
  now(): number {
    if (this.#fresh) return this.#nowMs
    this.#fresh = true
    setImmediate(this.#endTurn)
    this.#nowMs = this.#clock.monotonic()
    return this.#nowMs
  }

  /** The wall-clock time of a moment that `now` gave, milliseconds since the epoch with their fraction. */
  wall(atMs: number): number {
    const nowMs = this.now()
    if (nowMs - this.#wallCheckedMs >= wallCheckMs) {
      this.#wallCheckedMs = nowMs
      this.#wallOffsetMs = this.#clock.now() - this.#clock.monotonic()
    }
    return atMs + this.#wallOffsetMs
  }

  /** The same as `2026-01-02T03:04:05.678Z`. */
  text(atMs: number): string {
    const ms = Math.floor(this.wall(atMs))
    const second = Math.floor(ms / 1000)
    if (second !== this.#second) {
      this.#second = second
      this.#secondText = new Date(second * 1000).toISOString().slice(0, 20)
    }
    return `${this.#secondText}${threeDigits[ms - second * 1000]}Z`
  }

  readonly #endTurn = () => {
    this.#fresh = false
  }
}

/** `000` … `999`. */
export const threeDigits: readonly string[] = Array.from({ length: 1000 }, (_, i) =>
  String(i).padStart(3, '0'),
)
