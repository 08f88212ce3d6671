/**
 * Hedging: a request that has no answer after a while is sent to a second member as well, and the first good answer wins.
 *
 *   armed ── answer or failure before the time ──► over
 *     │ time, and `claim` grants it
 *     ▼
 *   both ── good answer ──► won (the other is aborted)
 *     │ one fails, or answers 502 503 504
 *     ▼
 *   last one ── whatever it brings ──► over
 *
 * It is for requests that may be sent twice, costs load only when an answer is late, and is bounded twice: by its own share of the requests
 * and by the retry budget, so that a cluster that is slow as a whole is not asked everything twice.
 * The exchange sends; this says when it may, and who wins.
 */
import type { Clock } from '../../clock.ts'
import type { HedgeConfig } from '../../config/config.ts'
import { isSafe } from '../retry.ts'
import { Budget } from './budget.ts'
import { Place, Waitlist } from './waitlist.ts'

/** Who has sent a request that may be hedged. */
export interface HedgeClient {
  /** No answer yet, and the time has come: `claim`, then send. */
  hedgeDue(): void
}

export type Armed = Place<HedgeClient>

/** The hedging of one cluster on one event loop. */
export class Hedge {
  readonly config: HedgeConfig
  readonly #retries: Budget
  readonly #share: Budget
  readonly #clock: Clock
  /** All wait equally long: the first that came is the first that is due, and one timer serves them all. */
  readonly #armed = new Waitlist<HedgeClient>()
  #cancel: (() => void) | null = null

  constructor(config: HedgeConfig, retries: Budget, clock: Clock) {
    this.config = config
    this.#retries = retries
    this.#share = new Budget(config.maxPercent / 100, 0)
    this.#clock = clock
  }

  /** Safe, without a body, and not bound by a session to one member. Counts it among those of which a share is hedged. */
  suits(method: string, hasBody: boolean, sticky: boolean, nowMs: number): boolean {
    if (hasBody || sticky || !isSafe(method)) return false
    this.#share.note(nowMs)
    return true
  }

  /** The first request is on its way. */
  arm(client: HedgeClient): Armed {
    const place = new Place(client, this.#clock.monotonic() + this.config.afterMs)
    this.#armed.add(place)
    this.#cancel ??= this.#clock.after(this.config.afterMs, () => this.#due())
    return place
  }

  /** An answer, a failure, or nobody who wants one. Harmless when it was due before. */
  disarm(place: Armed): void {
    this.#armed.remove(place)
  }

  /** True: a second request may be sent now; it is counted. */
  claim(nowMs: number): boolean {
    return this.#share.room(nowMs) && this.#retries.take(nowMs) && this.#share.take(nowMs)
  }

  close(): void {
    this.#cancel?.()
    this.#cancel = null
  }

  #due(): void {
    this.#cancel = null
    const nowMs = this.#clock.monotonic()
    let place = this.#armed.first
    // Rounded to a millisecond: a timer may fire a fraction early.
    for (; place !== null && place.deadlineMs <= nowMs + 1; place = this.#armed.first) {
      this.#armed.remove(place)
      place.who.hedgeDue()
    }
    if (place !== null)
      this.#cancel ??= this.#clock.after(Math.max(1, place.deadlineMs - nowMs), () => this.#due())
  }
}

/** Two requests on their way for one client, numbered 0 and 1. */
export class HedgeRace {
  /** The one that is out, if one is. */
  #out: 0 | 1 | null = null

  /** The head of an answer: `wins`, and the other is to be aborted; or it is dropped, since the other may do better. */
  answered(which: 0 | 1, status: number): 'wins' | 'dropped' {
    const poor = status === 502 || status === 503 || status === 504
    if (!poor || this.#out !== null) return 'wins'
    this.#out = which
    return 'dropped'
  }

  /** `over`: it was the last one; what it failed with is the answer. */
  failed(which: 0 | 1): 'waits' | 'over' {
    if (this.#out !== null) return 'over'
    this.#out = which
    return 'waits'
  }
}
