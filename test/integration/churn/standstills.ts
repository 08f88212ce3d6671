/**
 * When this process could not run: a machine with other work stops the tests for half a minute now and then. What is too late for that is no fault of the
 * product; it is told apart, and counted.
 */
export interface Standstill {
  /** Wall clock. */
  readonly fromMs: number
  readonly toMs: number
}

const lookMs = 200
/** Longer than a busy turn. */
const leastMs = 1_500

export class Standstills {
  readonly seen: Standstill[] = []
  readonly #timer: NodeJS.Timeout
  #lastMs = Date.now()

  constructor() {
    this.#timer = setInterval(() => this.#look(), lookMs)
  }

  stop(): readonly Standstill[] {
    this.#look()
    clearInterval(this.#timer)
    return this.seen
  }

  /** Whether one falls between these times, or ended less than `afterMs` before. */
  static within(all: readonly Standstill[], fromMs: number, toMs: number, afterMs: number): boolean {
    return all.some(one => one.fromMs <= toMs && one.toMs + afterMs >= fromMs)
  }

  within(fromMs: number, toMs: number, afterMs = 0): boolean {
    this.#look()
    return Standstills.within(this.seen, fromMs, toMs, afterMs)
  }

  #look(): void {
    const nowMs = Date.now()
    if (nowMs - this.#lastMs > leastMs) this.seen.push({ fromMs: this.#lastMs, toMs: nowMs })
    this.#lastMs = nowMs
  }
}
