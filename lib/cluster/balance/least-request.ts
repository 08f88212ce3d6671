/**
 * The member with the least under way for its weight. @pure
 *
 * Up to eight members are all compared; of more, two random ones are (Mitzenmacher 2001: nearly as good, and it keeps
 * threads that see the same numbers from all rushing to the same member). Ties are broken by chance.
 */
import { probesMax, takesNew } from './admits.ts'
import type { Balancer, Candidate, Random } from './balancer.ts'

const compareAllMax = 8

export class LeastRequest<M extends Candidate> implements Balancer<M> {
  readonly kind = 'least_request'
  readonly #members: readonly M[]
  readonly #random: Random

  constructor(members: readonly M[], random: Random) {
    this.#members = members.filter(member => member.weight > 0)
    this.#random = random
  }

  pick(tried: ReadonlySet<M>): M | null {
    return this.#members.length <= compareAllMax ? this.#leastOfAll(tried) : this.#lesserOfTwo(tried)
  }

  #leastOfAll(tried: ReadonlySet<M>): M | null {
    let best: M | null = null
    let bestCost = 0
    let ties = 0
    for (const member of this.#members) {
      if (!takesNew(member, tried)) continue
      const cost = costOf(member)
      if (best === null || cost < bestCost) {
        best = member
        bestCost = cost
        ties = 1
      } else if (cost === bestCost && this.#random() * ++ties < 1) best = member
    }
    return best
  }

  #lesserOfTwo(tried: ReadonlySet<M>): M | null {
    const first = this.#oneAdmitted(tried, null)
    if (first === null) return null
    const second = this.#oneAdmitted(tried, first)
    if (second === null) return first
    const difference = costOf(first) - costOf(second)
    if (difference === 0) return this.#random() < 0.5 ? first : second
    return difference < 0 ? first : second
  }

  /** A random member that admits and is not `other`: by a few draws, else the next one after a random place. */
  #oneAdmitted(tried: ReadonlySet<M>, other: M | null): M | null {
    const count = this.#members.length
    for (let probe = 0; probe < probesMax; probe++) {
      const member = this.#members[Math.floor(this.#random() * count)]!
      if (member !== other && takesNew(member, tried)) return member
    }
    const start = Math.floor(this.#random() * count)
    for (let step = 0; step < count; step++) {
      const member = this.#members[(start + step) % count]!
      if (member !== other && takesNew(member, tried)) return member
    }
    return null
  }
}

/** What its next client would make of it: 1 more than is under way, by weight, so that idle heavy members go first. */
function costOf(member: Candidate): number {
  return (member.load() + 1) / member.weight
}
