/**
 * Draws members by weight. @pure
 *
 * From an alias table (Vose 1991): one draw costs the same for three members or ten thousand. Where a few draws hit only
 * members that refuse, `drawFromAll` walks the list once and draws, still by weight, from those that do not.
 */
import { takesNew } from './admits.ts'
import type { Candidate, Random } from './balancer.ts'
import type { SlowStart } from './slow-start.ts'

export class WeightedDraw<M extends Candidate> {
  /** Those of weight > 0. */
  readonly members: readonly M[]
  readonly #random: Random
  /** For each column: the chance that it stands for itself, and whom it stands for otherwise. Null: all weights are equal. */
  readonly #keep: Float64Array | null
  readonly #alias: Int32Array | null

  constructor(members: readonly M[], random: Random) {
    this.members = leastWeight(members) > 0 ? members : members.filter(member => member.weight > 0)
    this.#random = random
    const equal = this.members.every(member => member.weight === this.members[0]!.weight)
    this.#keep = equal ? null : new Float64Array(this.members.length).fill(1)
    this.#alias = equal ? null : new Int32Array(this.members.length)
    if (this.#keep && this.#alias) fillAliasTable(this.members, this.#keep, this.#alias)
  }

  /** Any of them, whether it takes clients or not. Not for an empty list. */
  draw(): M {
    const column = Math.floor(this.#random() * this.members.length)
    if (this.#keep === null || this.#random() < this.#keep[column]!) return this.members[column]!
    return this.members[this.#alias![column]!]!
  }

  /** One that takes new clients, by a walk over all of them; null when there is none. `but` is left out. */
  drawFromAll(tried: ReadonlySet<M>, slowStart: SlowStart, but: M | null = null): M | null {
    let chosen: M | null = null
    let weightSeen = 0
    for (const member of this.members) {
      if (member === but || !takesNew(member, tried)) continue
      const weight = member.weight * slowStart.share(member)
      weightSeen += weight
      // Each replaces the choice so far with the chance of its share of the weight seen.
      if (this.#random() * weightSeen < weight) chosen = member
    }
    return chosen
  }
}

function leastWeight(members: readonly Candidate[]): number {
  let least = Number.POSITIVE_INFINITY
  for (let at = 0; at < members.length; at++) if (members[at]!.weight < least) least = members[at]!.weight
  return least
}

function fillAliasTable(members: readonly Candidate[], keep: Float64Array, alias: Int32Array): void {
  // Every loop by number: it runs once for ten thousand members, mostly before it is compiled.
  let sum = 0
  for (let at = 0; at < members.length; at++) sum += members[at]!.weight
  const share = new Float64Array(members.length)
  // Two stacks in one list: those with less than a column's share from the left, those with more from the right.
  const stacks = new Int32Array(members.length)
  let less = 0
  let more = members.length
  for (let at = 0; at < members.length; at++) {
    share[at] = (members[at]!.weight * members.length) / sum
    stacks[share[at]! < 1 ? less++ : --more] = at
  }
  while (less > 0 && more < members.length) {
    const poor = stacks[--less]!
    const rich = stacks[more]!
    keep[poor] = share[poor]!
    alias[poor] = rich
    share[rich] = share[rich]! - (1 - share[poor]!)
    if (share[rich]! < 1) {
      more++
      stacks[less++] = rich
    }
  }
}
