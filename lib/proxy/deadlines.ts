/**
 * Deadlines without a timer each: one tick looks at all of them, and time is read once a tick. An entry moves its deadline by
 * one assignment. A deadline is met late by at most two steps, never early. The tick runs only while there are entries.
 */
import type { Clock } from '../clock.ts'
import { deadlineStepMs } from './limits.ts'

export interface Timed {
  /** From `Deadlines.in`; `Infinity`: none. */
  deadlineMs: number
  onDeadline(): void
}

export class Deadlines {
  readonly #clock: Clock
  readonly #entries = new Set<Timed>()
  /** Monotonic time of the last tick, milliseconds. */
  #nowMs = 0
  #cancel: (() => void) | null = null

  constructor(clock: Clock) {
    this.#clock = clock
  }

  add(entry: Timed): void {
    this.#entries.add(entry)
    if (this.#cancel !== null) return
    this.#nowMs = this.#clock.monotonic()
    this.#cancel = this.#clock.every(deadlineStepMs, () => this.#tick())
  }

  remove(entry: Timed): void {
    this.#entries.delete(entry)
  }

  /** The deadline `ms` from now, rounded up so that it is never early. Only while an entry is in. */
  in(ms: number): number {
    return this.#nowMs + ms + deadlineStepMs
  }

  #tick(): void {
    this.#nowMs = this.#clock.monotonic()
    for (const entry of this.#entries) if (entry.deadlineMs <= this.#nowMs) entry.onDeadline()
    if (this.#entries.size > 0 || this.#cancel === null) return
    this.#cancel()
    this.#cancel = null
  }
}
