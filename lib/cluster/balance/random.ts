/**
 * A random member, by weight. @pure
 *
 * Drawn from an alias table (Vose 1991): one draw costs the same for three members or ten thousand. When a few draws hit
 * only members that refuse, the list is walked once and one of those that admit is drawn, still by weight.
 */
import { probesMax, takesNew } from './admits.ts'
import type { Balancer, Candidate, Random } from './balancer.ts'

export class RandomPick<M extends Candidate> implements Balancer<M> {
  readonly kind = 'random'
  readonly #members: readonly M[]
  readonly #random: Random
  /** For each column: the chance that it stands for itself, and whom it stands for otherwise. */
  readonly #keep: Float64Array
  readonly #alias: Int32Array

  constructor(members: readonly M[], random: Random) {
    this.#members = members.filter(member => member.weight > 0)
    this.#random = random
    this.#keep = new Float64Array(this.#members.length).fill(1)
    this.#alias = new Int32Array(this.#members.length)
    fillAliasTable(this.#members, this.#keep, this.#alias)
  }

  pick(tried: ReadonlySet<M>): M | null {
    if (this.#members.length === 0) return null
    for (let probe = 0; probe < probesMax; probe++) {
      const column = Math.floor(this.#random() * this.#members.length)
      const index = this.#random() < this.#keep[column]! ? column : this.#alias[column]!
      const member = this.#members[index]!
      if (takesNew(member, tried)) return member
    }
    return this.#drawFromAll(tried)
  }

  /** One pass: each that admits replaces the choice so far with the chance of its share of the weight seen. */
  #drawFromAll(tried: ReadonlySet<M>): M | null {
    let chosen: M | null = null
    let weightSeen = 0
    for (const member of this.#members) {
      if (!takesNew(member, tried)) continue
      weightSeen += member.weight
      if (this.#random() * weightSeen < member.weight) chosen = member
    }
    return chosen
  }
}

function fillAliasTable(members: readonly Candidate[], keep: Float64Array, alias: Int32Array): void {
  const sum = members.reduce((total, member) => total + member.weight, 0)
  const share = members.map(member => (member.weight * members.length) / sum)
  const small: number[] = []
  const large: number[] = []
  share.forEach((value, index) => {
    ;(value < 1 ? small : large).push(index)
  })
  while (small.length > 0 && large.length > 0) {
    const less = small.pop()!
    const more = large.pop()!
    keep[less] = share[less]!
    alias[less] = more
    share[more] = share[more]! - (1 - share[less]!)
    ;(share[more]! < 1 ? small : large).push(more)
  }
}
