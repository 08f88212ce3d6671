/**
 * Round robin by weight: the members in turn, the turns of a heavy member spread evenly between those of the light. @pure
 *
 * The order is laid out once: member i of weight w has its k-th turn at time (k + ½)/w, and the turns are sorted by time.
 * A pick only moves a cursor. Each thread starts at a random turn, so that threads do not march in step.
 */
import { takesNew } from './admits.ts'
import type { Balancer, Candidate, Random } from './balancer.ts'

/** The longest order laid out for unequal weights, in turns a member on average; shares are rounded to fit. */
const turnsPerMemberMax = 64

export class RoundRobin<M extends Candidate> implements Balancer<M> {
  readonly kind = 'round_robin'
  readonly #turns: readonly M[]
  #cursor: number

  constructor(members: readonly M[], random: Random, previous: RoundRobin<M> | null) {
    this.#turns = layOut(members)
    this.#cursor = Math.floor(random() * this.#turns.length)
    if (previous) this.#cursor = previous.#cursor % Math.max(1, this.#turns.length)
  }

  pick(tried: ReadonlySet<M>): M | null {
    const turns = this.#turns
    for (let step = 0; step < turns.length; step++) {
      const member = turns[this.#cursor]!
      this.#cursor = this.#cursor + 1 === turns.length ? 0 : this.#cursor + 1
      if (takesNew(member, tried)) return member
    }
    return null
  }
}

function layOut<M extends Candidate>(members: readonly M[]): readonly M[] {
  const serving = members.filter(member => member.weight > 0)
  const counts = turnCounts(serving)
  const turns: { readonly at: number; readonly member: M }[] = []
  serving.forEach((member, index) => {
    const count = counts[index]!
    for (let turn = 0; turn < count; turn++) turns.push({ at: (turn + 0.5) / count, member })
  })
  return turns.sort((a, b) => a.at - b.at).map(turn => turn.member)
}

/** Whole turns in proportion to the weights, each at least one, as few as say it exactly, or rounded to the limit. */
function turnCounts(serving: readonly Candidate[]): readonly number[] {
  const weights = serving.map(member => member.weight)
  const limit = turnsPerMemberMax * weights.length
  const divisor = weights.every(Number.isInteger) ? weights.reduce(greatestCommonDivisor, 0) : 0
  const sum = weights.reduce((total, weight) => total + weight, 0)
  if (divisor > 0 && sum / divisor <= limit) return weights.map(weight => weight / divisor)
  return weights.map(weight => Math.max(1, Math.round((weight / sum) * limit)))
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b)
}
