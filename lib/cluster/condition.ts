/**
 * How well a backend is, for people: what its checks say and what its exchanges say, in one status, with its last changes. @pure
 * An ejected backend is unhealthy, whatever its checks say.
 */
import type { HealthChange, HealthStatus, HealthView } from './backend.ts'
import { type Health, unknownHealth } from './health.ts'

/** Taken out of rotation by its own exchanges. */
export interface Ejection {
  /** `new`: bound clients stay; `all`: they go too. */
  readonly from: 'new' | 'all'
  readonly reason: string
  /** Wall clock, milliseconds. */
  readonly sinceMs: number
  readonly untilMs: number
}

export const changesKept = 20

export class Condition {
  #health: Health
  #ejection: Ejection | null = null
  #changes: readonly HealthChange[] = []

  constructor(nowMs: number) {
    this.#health = unknownHealth(nowMs)
  }

  get health(): Health {
    return this.#health
  }

  get ejection(): Ejection | null {
    return this.#ejection
  }

  /** Both return the change of the status people see, or null. */
  setHealth(health: Health, nowMs: number): HealthChange | null {
    return this.#change(nowMs, () => {
      this.#health = health
    })
  }

  setEjection(ejection: Ejection | null, nowMs: number): HealthChange | null {
    return this.#change(nowMs, () => {
      this.#ejection = ejection
    })
  }

  view(): HealthView {
    const { status, reason, sinceMs } = this.#shown()
    const { says, silent } = this.#health
    return {
      status,
      reason,
      since_ms: sinceMs,
      says,
      silent,
      ejected_until: this.#ejection ? iso(this.#ejection.untilMs) : null,
      history: this.#changes,
    }
  }

  #shown(): { readonly status: HealthStatus; readonly reason: string; readonly sinceMs: number } {
    return this.#ejection ? { status: 'unhealthy', ...this.#ejection } : this.#health
  }

  #change(nowMs: number, act: () => void): HealthChange | null {
    const from = this.#shown().status
    const ejected = this.#ejection !== null
    act()
    const { status: to, reason } = this.#shown()
    if (from === to) return null
    const back = ejected && this.#ejection === null
    const change = { at: iso(nowMs), from, to, reason: back ? `ejection is over; ${reason}` : reason }
    this.#changes = [...this.#changes, change].slice(-changesKept)
    return change
  }
}

const iso = (ms: number) => new Date(ms).toISOString()
