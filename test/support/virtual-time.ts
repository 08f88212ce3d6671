/**
 * Time that passes by itself when nothing else happens: `until` runs the event loop dry and then jumps to the next timer.
 * Each `connect` is a clock of one process; a process that is killed has its timers dropped and never hears of them again.
 */
import type { Clock } from '../../lib/clock.ts'

interface Timer {
  at: number
  readonly order: number
  readonly fn: () => void
  readonly everyMs: number | null
  readonly alive: () => boolean
}

const jumpsMax = 100_000

export class VirtualTime {
  #now = 1_700_000_000_000
  #order = 0
  readonly #timers = new Set<Timer>()
  /** Called after each jump, when everything that it set off has come to rest. */
  onRest: () => void = () => {}

  get now(): number {
    return this.#now
  }

  connect(alive: () => boolean): Clock {
    const add = (ms: number, fn: () => void, everyMs: number | null) => {
      const timer = { at: this.#now + Math.max(0, ms), order: this.#order++, fn, everyMs, alive }
      this.#timers.add(timer)
      return () => this.#timers.delete(timer)
    }
    const after = (ms: number, fn: () => void) => add(ms, fn, null)
    return {
      now: () => this.#now,
      monotonic: () => this.#now,
      after,
      every: (ms, fn) => add(ms, fn, ms),
      sleep: (ms, signal) =>
        new Promise((resolve, reject) => {
          if (signal?.aborted) return reject(signal.reason)
          const onAbort = () => {
            cancel()
            reject(signal?.reason)
          }
          const cancel = after(ms, () => {
            signal?.removeEventListener('abort', onAbort)
            resolve()
          })
          signal?.addEventListener('abort', onAbort, { once: true })
        }),
    }
  }

  /** Lets time pass until `promise` settles, and gives its value. Throws when it never will. */
  async until<T>(promise: Promise<T>): Promise<T> {
    let settled = false
    const watched = promise.finally(() => {
      settled = true
    })
    watched.catch(() => {})
    for (let jumps = 0; ; jumps++) {
      await dry()
      this.onRest()
      if (settled) return watched
      if (jumps > jumpsMax) throw new Error('it would wait for ever')
      if (!this.#jump()) throw new Error('nothing is left that could end the wait')
    }
  }

  async pass(ms: number): Promise<void> {
    await this.until(this.connect(() => true).sleep(ms))
  }

  #jump(): boolean {
    for (const timer of this.#timers) if (!timer.alive()) this.#timers.delete(timer)
    let next: Timer | null = null
    for (const timer of this.#timers)
      if (!next || timer.at < next.at || (timer.at === next.at && timer.order < next.order)) next = timer
    if (!next) return false
    this.#now = Math.max(this.#now, next.at)
    if (next.everyMs === null) this.#timers.delete(next)
    else next.at += next.everyMs
    next.fn()
    return true
  }
}

/** Every promise that can settle has settled: nothing under this clock waits for anything else than timers. */
const dry = () => new Promise<void>(resolve => setImmediate(resolve))
