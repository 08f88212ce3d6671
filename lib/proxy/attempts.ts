/**
 * The attempts of one exchange that are under way: one, or two while it is hedged.
 *
 *   one ── no answer in time ──► two ── a good answer ──► that one; the other is given up
 *                                 └── one fails, or answers 502 503 504 ──► the other, whatever it brings
 */
import type { Attempt } from './attempt.ts'
import { type Armed, type Hedge, type HedgeClient, HedgeRace } from './resilience/hedge.ts'
import type { Sending } from './resilience/repeat.ts'

export class Attempts {
  #current: Attempt | null = null
  #second: Attempt | null = null
  #race: HedgeRace | null = null
  #hedge: Hedge | null = null
  #armed: Armed | null = null

  /** The newest, or of two the first; after an answer the one that brought it. */
  get current(): Attempt | null {
    return this.#current
  }

  /** There are, or were, two. */
  hedged = false

  next(attempt: Attempt): void {
    this.#current = attempt
  }

  /** From now on it is waited for the time of a second one, where the request suits. */
  arm(hedge: Hedge, client: HedgeClient, { method, hasBody, sticky, nowMs }: Sending): void {
    if (!hedge.suits(method, hasBody, sticky, nowMs)) return
    this.#hedge = hedge
    this.#armed = hedge.arm(client)
  }

  disarm(): void {
    if (this.#armed !== null) this.#hedge!.disarm(this.#armed)
    this.#armed = null
  }

  beside(second: Attempt): void {
    this.#second = second
    this.#race = new HedgeRace()
    this.hedged = true
  }

  /** The head of its answer is here. False: the other may bring a better one, and this one is given up. */
  wins(attempt: Attempt, status: number): boolean {
    const won = this.#race === null || this.#race.answered(this.#which(attempt), status) === 'wins'
    if (won) this.#only(attempt)
    else attempt.giveUp('server_error')
    return won
  }

  /** It has failed. True: the other is still under way. */
  failed(attempt: Attempt): boolean {
    return this.#race?.failed(this.#which(attempt)) === 'waits'
  }

  /** Gives up what is under way on this member. `all`: nothing else is. */
  cut(slot: number, epoch: number): 'none' | 'some' | 'all' {
    let cut: 'none' | 'some' | 'all' = 'none'
    for (const attempt of [this.#current, this.#second]) {
      if (attempt === null || !attempt.isOn(slot, epoch)) continue
      attempt.giveUp()
      cut = cut !== 'all' && this.failed(attempt) ? 'some' : 'all'
    }
    return cut
  }

  giveUp(): void {
    this.disarm()
    this.#current?.giveUp()
    this.#second?.giveUp()
  }

  #only(attempt: Attempt): void {
    const other = attempt === this.#second ? this.#current : this.#second
    this.#current = attempt
    this.#second = null
    this.#race = null
    other?.giveUp()
  }

  #which(attempt: Attempt): 0 | 1 {
    return attempt === this.#second ? 1 : 0
  }
}
