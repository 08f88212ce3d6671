/**
 * Slow start: a member that has just begun to serve gets a part of the new clients that would be its own: a tenth at first,
 * then more, evenly, until the window is over. @pure
 *
 *   share  1 ┤         ╭────
 *            │      ╭──╯
 *        0.1 ┤──────╯
 *            └──────┬──┬────► time
 *              begins  begins + window
 *
 * A balancer asks `passesOver` of each member that it would pick: a newcomer is passed over by chance. Somebody else is taken
 * then; where there is nobody else, the newcomer after all.
 */
import type { Candidate, Random } from './balancer.ts'

export const firstShare = 0.1

export class SlowStart {
  readonly #windowMs: number
  readonly #now: () => number
  readonly #random: Random

  /** `windowMs` 0: nobody is passed over. `now`: wall clock, milliseconds. */
  constructor(windowMs: number, now: () => number, random: Random) {
    this.#windowMs = windowMs
    this.#now = now
    this.#random = random
  }

  passesOver(member: Candidate): boolean {
    if (this.#windowMs === 0) return false
    const share = this.share(member)
    return share < 1 && this.#random() >= share
  }

  /** Of its weight: `firstShare` … 1. */
  share(member: Candidate): number {
    if (this.#windowMs === 0) return 1
    const servedMs = member.servedMs(this.#now())
    if (servedMs >= this.#windowMs) return 1
    return firstShare + ((1 - firstShare) * Math.max(0, servedMs)) / this.#windowMs
  }
}
