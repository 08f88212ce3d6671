/**
 * The member that is expected to answer first: what its answers take, times one more than is under way on it, for its
 * weight. @pure
 *
 *   known                        its peak-sensitive average, which fades; in full while an answer is awaited after a long silence
 *   nothing known, idle          the mean of the cluster's answers of late, which fades from the moment it began to serve
 *   nothing known, busy          that mean
 *
 * So a new member begins like the others, not as instant: else it would get every client until its first answer is there. And
 * whoever is not asked is asked again in the end, by one client.
 */
import type { Balancer, BalancerSetting, Candidate } from './balancer.ts'
import { faded } from './latency.ts'
import { LowestCost } from './lowest-cost.ts'

/** The mean looks at one pick in so many, which replaces such a part of it. */
const meanEvery = 8
const meanStep = 1 / 4
/** Members that answer in less are told apart by what is under way only. */
const latencyMsMin = 0.01

export class PeakEwma<M extends Candidate> extends LowestCost<M> implements Balancer<M> {
  readonly kind = 'peak_ewma'
  readonly #now: () => number
  /** When this pick began. */
  #nowMs = 0
  #picks = 0
  /** Over the members picked, so over answers; 0: nothing is known of any. */
  #meanMs: number

  constructor(members: readonly M[], setting: BalancerSetting<M>, previous: PeakEwma<M> | null) {
    super(members, setting)
    this.#now = setting.now
    this.#meanMs = previous ? previous.#meanMs : 0
  }

  override pick(tried: ReadonlySet<M>): M | null {
    this.#nowMs = this.#now()
    const member = super.pick(tried)
    if (member !== null && (this.#picks++ % meanEvery === 0 || this.#meanMs === 0)) this.#learn(member)
    return member
  }

  #learn(member: M): void {
    const known = member.latencyMs(this.#nowMs, true)
    if (known >= 0) this.#meanMs += (known - this.#meanMs) * (this.#meanMs === 0 ? 1 : meanStep)
  }

  protected cost(member: M): number {
    const load = member.load()
    const known = member.latencyMs(this.#nowMs, load > 0)
    const latency = known >= 0 ? known : this.#unknown(member, load)
    return (Math.max(latency, latencyMsMin) * (load + 1)) / member.weight
  }

  #unknown(member: M, load: number): number {
    return load > 0 ? this.#meanMs : faded(this.#meanMs, member.servedMs(this.#nowMs))
  }
}
