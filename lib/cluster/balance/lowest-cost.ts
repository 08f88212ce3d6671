/**
 * What `least_request` and `peak_ewma` have in common: the member whose cost is lowest. @pure
 *
 * Up to eight members are all compared; of more, two that are drawn by weight (Mitzenmacher 2001: nearly as good, and it keeps
 * threads that see the same numbers from all rushing to the same member). Ties are broken by chance, by weight.
 */
import { probesMax, takesNew } from './admits.ts'
import type { BalancerSetting, Candidate, Random } from './balancer.ts'
import { SlowStart } from './slow-start.ts'
import { WeightedDraw } from './weighted-draw.ts'

const compareAllMax = 8

export abstract class LowestCost<M extends Candidate> {
  readonly #draw: WeightedDraw<M>
  readonly #random: Random
  readonly #slowStart: SlowStart

  constructor(members: readonly M[], setting: BalancerSetting<M>) {
    this.#draw = new WeightedDraw(members, setting.random)
    this.#random = setting.random
    this.#slowStart = new SlowStart(setting.slowStartMs, setting.now, setting.random)
  }

  /** Per unit of weight; never negative. */
  protected abstract cost(member: M): number

  pick(tried: ReadonlySet<M>): M | null {
    if (this.#draw.members.length > compareAllMax) return this.#lesserOfTwo(tried)
    return this.#leastOfAll(tried, this.#slowStart) ?? this.#leastOfAll(tried, null)
  }

  /** Newcomers may be passed over; with `slowStart` null they are not. */
  #leastOfAll(tried: ReadonlySet<M>, slowStart: SlowStart | null): M | null {
    let best: M | null = null
    let bestCost = 0
    let tiedWeight = 0
    for (const member of this.#draw.members) {
      if (!takesNew(member, tried) || slowStart?.passesOver(member)) continue
      const cost = this.cost(member)
      if (best === null || cost < bestCost) {
        best = member
        bestCost = cost
        tiedWeight = member.weight
      } else if (cost === bestCost) {
        tiedWeight += member.weight
        if (this.#random() * tiedWeight < member.weight) best = member
      }
    }
    return best
  }

  /** Of a tie the first: both were drawn by weight. */
  #lesserOfTwo(tried: ReadonlySet<M>): M | null {
    const first = this.#oneAdmitted(tried, null)
    if (first === null) return null
    const second = this.#oneAdmitted(tried, first)
    return second !== null && this.cost(second) < this.cost(first) ? second : first
  }

  /** A member that takes new clients and is not `other`: by a few draws, else from all. */
  #oneAdmitted(tried: ReadonlySet<M>, other: M | null): M | null {
    let newcomer: M | null = null
    for (let probe = 0; probe < probesMax; probe++) {
      const member = this.#draw.draw()
      if (member === other || !takesNew(member, tried)) continue
      if (!this.#slowStart.passesOver(member)) return member
      newcomer ??= member
    }
    if (newcomer !== null) return newcomer
    return this.#draw.drawFromAll(tried, this.#slowStart, other)
  }
}
