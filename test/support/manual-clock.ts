/** A clock that stands still until a test moves it. Timers fire in order, at their own time, inside `advance`. */
import type { Clock } from '../../lib/clock.ts'

interface Timer {
  at: number
  readonly fn: () => void
  readonly everyMs: number | null
}

export class ManualClock implements Clock {
  #now: number
  readonly #timers = new Set<Timer>()

  constructor(startMs = 1_700_000_000_000) {
    this.#now = startMs
  }

  now(): number {
    return this.#now
  }

  monotonic(): number {
    return this.#now
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason)
      const cancel = this.after(ms, resolve)
      signal?.addEventListener('abort', () => {
        cancel()
        reject(signal.reason)
      })
    })
  }

  after(ms: number, fn: () => void): () => void {
    return this.#add({ at: this.#now + ms, fn, everyMs: null })
  }

  every(ms: number, fn: () => void): () => void {
    return this.#add({ at: this.#now + ms, fn, everyMs: ms })
  }

  /** How many timers wait. */
  get pending(): number {
    return this.#timers.size
  }

  /** Moves time by `ms`, firing what comes due; lets promises settle between timers. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms
    for (;;) {
      const due = [...this.#timers].filter(timer => timer.at <= end).sort((a, b) => a.at - b.at)[0]
      if (!due) break
      this.#now = Math.max(this.#now, due.at)
      if (due.everyMs === null) this.#timers.delete(due)
      else due.at += due.everyMs
      due.fn()
      await settle()
    }
    this.#now = end
    await settle()
  }

  #add(timer: Timer): () => void {
    this.#timers.add(timer)
    return () => this.#timers.delete(timer)
  }
}

const settle = () => new Promise<void>(resolve => setImmediate(resolve))
