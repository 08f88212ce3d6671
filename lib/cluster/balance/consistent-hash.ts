/**
 * By the key of the client, with bounded load (Mirrokni, Thorup, Zadimoghaddam 2016): each key has an owner, and while the
 * owner has more than its share the next one in the key's order takes it. @pure
 *
 *   allowed on a member = ⌈ factor · (under way on all that take clients + 1) · its weight ÷ the weight of all of them ⌉
 *
 * Because the factor is more than 1, not all members can be at their bound at once.
 */
import { takesNew } from './admits.ts'
import type { Balancer, BalancerSetting, Candidate, Random } from './balancer.ts'
import type { Ring } from './ring.ts'
import { SlowStart } from './slow-start.ts'

/** Of so few members the sums are made for each pick. */
const alwaysSummedMax = 16
/** How long the sums over more are believed, a member: so that they cost little also where there are thousands. */
const sumsKeptMsPerMember = 1 / 250

export class ConsistentHash<M extends Candidate> implements Balancer<M> {
  readonly kind = 'consistent_hash'
  readonly #members: readonly M[]
  readonly #ring: Ring<M>
  readonly #factor: number
  readonly #now: () => number
  readonly #random: Random
  readonly #slowStart: SlowStart
  #weight = 0
  /** As of the last sums, and what was picked since: a burst does not go by a number from before it. */
  #underWay = 0
  #summedAtMs = Number.NEGATIVE_INFINITY
  /** For one unit of weight, in this pick. */
  #allowed = 0

  constructor(members: readonly M[], ring: Ring<M>, setting: BalancerSetting<M>) {
    this.#members = members.filter(member => member.weight > 0)
    this.#ring = ring
    this.#factor = setting.hashBalanceFactor
    this.#now = setting.now
    this.#random = setting.random
    this.#slowStart = new SlowStart(setting.slowStartMs, setting.now, setting.random)
  }

  /** Without a key by chance: one place on the ring is as good as another. */
  pick(tried: ReadonlySet<M>, hash = Math.floor(this.#random() * 2 ** 32)): M | null {
    this.#sum()
    this.#underWay++
    this.#allowed = (this.#factor * this.#underWay) / this.#weight
    return this.#ring.next(hash, tried, this.#hasRoom) ?? this.#ring.next(hash, tried, null)
  }

  readonly #hasRoom = (member: M): boolean => {
    const share = member.weight * this.#slowStart.share(member)
    return member.load() < Math.ceil(this.#allowed * share)
  }

  #sum(): void {
    const nowMs = this.#now()
    const { length } = this.#members
    if (length > alwaysSummedMax && Math.abs(nowMs - this.#summedAtMs) < length * sumsKeptMsPerMember) return
    this.#summedAtMs = nowMs
    this.#weight = 0
    this.#underWay = 0
    for (const member of this.#members) {
      if (!takesNew(member, nobody)) continue
      this.#weight += member.weight * this.#slowStart.share(member)
      this.#underWay += member.load()
    }
  }
}

const nobody: ReadonlySet<never> = new Set()
