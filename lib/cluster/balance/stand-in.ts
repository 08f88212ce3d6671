/**
 * Who takes a key when nobody near its place on the ring can: looked for among all members at once. @pure
 *
 * A walk around the ring meets each member once for each of its points; when nearly all refuse, one look at each of them is
 * the shorter way. Weighted rendezvous hashing gives the key the same stand-in each time as long as the same members refuse.
 */
import { takesNew } from './admits.ts'
import type { Candidate } from './balancer.ts'
import { hashOf, rehashed } from './hash.ts'
import type { Fits } from './ring.ts'

/** Points walked from a key's place before all members are looked at. */
export const walkMax = 1024

export function standIn<M extends Candidate>(
  members: Iterable<M | null>,
  hash: number,
  tried: ReadonlySet<M>,
  fits: Fits<M> | null,
): M | null {
  let best: M | null = null
  let bestCost = Number.POSITIVE_INFINITY
  for (const member of members) {
    if (member === null || !takesNew(member, tried) || (fits !== null && !fits(member))) continue
    const cost = -Math.log((rehashed(hash, hashOf(member.id)) + 1) / (2 ** 32 + 1)) / member.weight
    if (cost > bestCost || (cost === bestCost && best !== null && best.id < member.id)) continue
    best = member
    bestCost = cost
  }
  return best
}
