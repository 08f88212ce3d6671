/** A random member, by weight. @pure */
import { probesMax, takesNew } from './admits.ts'
import type { Balancer, BalancerSetting, Candidate } from './balancer.ts'
import { SlowStart } from './slow-start.ts'
import { WeightedDraw } from './weighted-draw.ts'

export class RandomPick<M extends Candidate> implements Balancer<M> {
  readonly kind = 'random'
  readonly #draw: WeightedDraw<M>
  readonly #slowStart: SlowStart

  constructor(members: readonly M[], setting: BalancerSetting<M>) {
    this.#draw = new WeightedDraw(members, setting.random)
    this.#slowStart = new SlowStart(setting.slowStartMs, setting.now, setting.random)
  }

  pick(tried: ReadonlySet<M>): M | null {
    if (this.#draw.members.length === 0) return null
    let newcomer: M | null = null
    for (let probe = 0; probe < probesMax; probe++) {
      const member = this.#draw.draw()
      if (!takesNew(member, tried)) continue
      if (!this.#slowStart.passesOver(member)) return member
      newcomer ??= member
    }
    return newcomer ?? this.#draw.drawFromAll(tried, this.#slowStart)
  }
}
