/**
 * Consistent hashing: each key has an order of members, the first of them its owner; when a member comes, leaves or gets
 * another weight, keys move only to it or from it. @pure
 *
 * The order: a member has `pointsPerMember` points on a ring of 2^32 places. Its distance from a key is the way from the key's
 * place to its next point, divided by its weight; the nearest is the first. No member's distance depends on another member,
 * which is why nothing else moves. With equal weights this is the plain ring: the next point is the nearest.
 *
 * Two kinds, one order (`test/contract/balance`): `hashring` for a moderate number of equal members, our own for the rest. So
 * nothing moves either when a cluster grows from one into the other.
 */
import type { Candidate } from './balancer.ts'
import { EqualRing } from './equal-ring.ts'
import { WeightedRing } from './weighted-ring.ts'

export interface Ring<M extends Candidate> {
  /** Whose the keys of this hash are, whether it can serve or not; null where nobody has a weight. */
  owner(hash: number): M | null
  /** The first in the order that takes new clients, is not in `tried`, and `fits`. */
  next(hash: number, tried: ReadonlySet<M>, fits: Fits<M> | null): M | null
  /** The owner of the key that `next` was asked for last: found on the same walk. */
  readonly passedOwner: M | null
}

export type Fits<M> = (member: M) => boolean

/** Above this many members the package takes too long to build a ring; see docs/decisions/consistent-hashing.md. */
export const equalMembersMax = 64

/** A ring over the members of weight > 0; what `previous` has in common with it is not built anew. */
export function createRing<M extends Candidate>(members: readonly M[], previous: Ring<M> | null): Ring<M> {
  const serving = members.filter(member => member.weight > 0)
  const equal = serving.every(member => member.weight === serving[0]!.weight)
  if (equal && serving.length <= equalMembersMax) return new EqualRing(serving)
  return new WeightedRing(serving, previous instanceof WeightedRing ? previous : null)
}
