/**
 * Round robin by weight: the members in turn, the turns of a heavy member spread evenly between those of the light. @pure
 *
 * Members of one weight are a group. Within a group they take turns in order; the group as a whole has its turns at even
 * distances, 1/(weight · members) apart, and the group whose turn is next is asked.
 *
 *   weights 5 1 1      A: ──┬──┬──┬──┬──┬      B: ─┬───────┬──
 *                           a  a  a  a  a          b       c          b a a a c a a
 *
 * Groups begin at different parts of their distance (multiples of the golden ratio, the heaviest first), so that light groups
 * do not all come at once. How far a member gets ahead of its share and behind it is, together, less than two turns whatever
 * the weights, as in nginx's algorithm; that one walks over all members for each pick, this one over the groups.
 *
 * A turn of a member that refuses is lost: what it leaves goes to all the others, not to its neighbour. Each thread begins
 * somewhere else, so that threads do not march in step.
 */
import { takesNew } from './admits.ts'
import type { Balancer, BalancerSetting, Candidate, Random } from './balancer.ts'
import { SlowStart } from './slow-start.ts'
import { WeightedDraw } from './weighted-draw.ts'

/** Turns lost in a row before one is drawn from all that take clients. */
const lostTurnsMax = 256
const goldenRatio = (Math.sqrt(5) - 1) / 2

interface Group<M> {
  readonly weight: number
  readonly members: readonly M[]
  /** Turns in a unit of time. */
  readonly rate: number
  readonly firstTurn: number
  taken: number
  /** When its next turn is, and whose. */
  nextTurn: number
  cursor: number
}

export class RoundRobin<M extends Candidate> implements Balancer<M> {
  readonly kind = 'round_robin'
  readonly #groups: readonly Group<M>[]
  readonly #slowStart: SlowStart
  readonly #members: readonly M[]
  readonly #random: Random
  /** Built when it is needed first. */
  #draw: WeightedDraw<M> | null = null

  constructor(members: readonly M[], setting: BalancerSetting<M>, previous: RoundRobin<M> | null) {
    this.#slowStart = new SlowStart(setting.slowStartMs, setting.now, setting.random)
    this.#members = members
    this.#random = setting.random
    this.#groups = grouped(members, setting.random(), previous ? previous.#groups : [])
  }

  pick(tried: ReadonlySet<M>): M | null {
    if (this.#groups.length === 0) return null
    for (let lost = 0; lost < lostTurnsMax; lost++) {
      const group = this.#soonest()
      const member = group.members[group.cursor]!
      takeTurn(group)
      if (takesNew(member, tried) && !this.#slowStart.passesOver(member)) return member
    }
    this.#draw ??= new WeightedDraw(this.#members, this.#random)
    return this.#draw.drawFromAll(tried, this.#slowStart)
  }

  #soonest(): Group<M> {
    const groups = this.#groups
    let soonest = groups[0]!
    for (let at = 1; at < groups.length; at++)
      if (groups[at]!.nextTurn < soonest.nextTurn) soonest = groups[at]!
    return soonest
  }
}

/** The turn is counted, not added up: sums of fractions would drift apart in the course of weeks. */
function takeTurn<M>(group: Group<M>): void {
  group.taken++
  group.nextTurn = group.firstTurn + group.taken / group.rate
  group.cursor = group.cursor + 1 === group.members.length ? 0 : group.cursor + 1
}

/** `start`: how far into a whole round (one turn of each of the lightest) it begins, 0 … 1. */
function grouped<M extends Candidate>(
  members: readonly M[],
  start: number,
  previous: readonly Group<M>[],
): readonly Group<M>[] {
  const byWeight = new Map<number, M[]>()
  for (const member of members) {
    if (member.weight === 0) continue
    const group = byWeight.get(member.weight)
    if (group) group.push(member)
    else byWeight.set(member.weight, [member])
  }
  const heaviestFirst = [...byWeight].sort(([a], [b]) => b - a)
  const round = 1 / (heaviestFirst.at(-1)?.[0] ?? 1)
  const former = new Map(previous.map(group => [group.weight, group]))
  const formerNow = Math.min(...previous.map(group => group.nextTurn))
  return heaviestFirst.map(([weight, same], at) => {
    const rate = weight * same.length
    const held = former.get(weight)
    // What a group still has to wait, in its own turns, more than 0 and at most 1.
    const done = start * round * rate + ((at * goldenRatio) % 1)
    const wait = held ? Math.min(1, (held.nextTurn - formerNow) * held.rate) : 1 - (done % 1)
    const cursor = (held ? held.cursor : Math.floor(done)) % same.length
    const firstTurn = wait / rate
    return { weight, members: same, rate, firstTurn, taken: 0, nextTurn: firstTurn, cursor }
  })
}
