/**
 * Deadlines without a timer each: one tick looks at all of them, and time is read once a tick. An entry moves its deadline by
 * one assignment. A deadline is met late by at most two steps, never early. The tick runs only while there are entries.
 *
 * A tick that comes much too late means that this process stood still (stopped, moved to another host, starved). Timers fire before sockets are
 * read then, and what arrived meanwhile would be taken for silence: that time is counted to nobody.
 */
import type { Clock } from '../clock.ts'
import { deadlineStepMs } from './limits.ts'

/** More than a busy turn; less than any deadline that a client could miss by it. */
const standstillMs = 1_000

export interface Timed {
  /** From `Deadlines.in`; `Infinity`: none. */
  deadlineMs: number
  onDeadline(): void
  /** Where it is among the others; -1: it is not. Only for `Deadlines`. */
  timedAt: number
}

export class Deadlines {
  readonly #clock: Clock
  /** In no order. Not a `Set`: `roster.ts` says why. */
  readonly #entries: Timed[] = []
  /** Monotonic time of the last tick, milliseconds. */
  #nowMs = 0
  #cancel: (() => void) | null = null

  constructor(clock: Clock) {
    this.#clock = clock
  }

  add(entry: Timed): void {
    if (entry.timedAt === -1) entry.timedAt = this.#entries.push(entry) - 1
    if (this.#cancel !== null) return
    this.#nowMs = this.#clock.monotonic()
    this.#cancel = this.#clock.every(deadlineStepMs, () => this.#tick())
  }

  remove(entry: Timed): void {
    const at = entry.timedAt
    if (at === -1) return
    entry.timedAt = -1
    const last = this.#entries.pop()!
    if (last === entry) return
    this.#entries[at] = last
    last.timedAt = at
  }

  /** The deadline `ms` from now, rounded up so that it is never early. Only while an entry is in. */
  in(ms: number): number {
    return this.#nowMs + ms + deadlineStepMs
  }

  #tick(): void {
    const nowMs = this.#clock.monotonic()
    const lateMs = nowMs - this.#nowMs - deadlineStepMs
    this.#nowMs = nowMs
    if (lateMs > standstillMs) for (const entry of this.#entries) entry.deadlineMs += lateMs
    // Backwards: whoever leaves meanwhile is replaced by one that has been looked at.
    for (let i = this.#entries.length - 1; i >= 0; i--) {
      const entry = this.#entries[i]
      if (entry !== undefined && entry.deadlineMs <= nowMs) entry.onDeadline()
    }
    if (this.#entries.length > 0 || this.#cancel === null) return
    this.#cancel()
    this.#cancel = null
  }
}
