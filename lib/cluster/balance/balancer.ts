/**
 * What a balancer is: it picks one member for a client that is not bound to any. @pure
 *
 * A balancer is built once for a list of members and asked many times, so that a pick neither allocates nor walks a long
 * list as a rule. Chance comes in as an argument. It reads a member's facts and changes none: entering is the caller's.
 * A member that does not take new clients (not admitting everyone, weight 0, already tried) is never picked, and one that
 * does is always found, however many others refuse. Kept by `test/contract/balance`.
 */
import type { BalanceKind } from '../../config/config.ts'
import { LeastRequest } from './least-request.ts'
import { RandomPick } from './random.ts'
import { RoundRobin } from './round-robin.ts'

/** What a balancer needs to know of a member. */
export interface Candidate {
  readonly id: string
  /** Relative share of new clients; 0 takes none. */
  readonly weight: number
  eligibility(): 'any' | 'bound' | 'none'
  /** What is under way on it now. */
  load(): number
}

/** A source of chance: 0 ≤ x < 1, as `Math.random`. */
export type Random = () => number

export interface Balancer<M extends Candidate> {
  readonly kind: BalanceKind
  /** A member that takes new clients and is not in `tried`, or null when there is none. */
  pick(tried: ReadonlySet<M>): M | null
}

/** A balancer over `members`; `previous` (of the former generation) hands its place over. */
export function createBalancer<M extends Candidate>(
  kind: BalanceKind,
  members: readonly M[],
  random: Random,
  previous: Balancer<M> | null = null,
): Balancer<M> {
  switch (kind) {
    case 'round_robin':
      return new RoundRobin(members, random, previous instanceof RoundRobin ? previous : null)
    case 'random':
      return new RandomPick(members, random)
    case 'least_request':
      return new LeastRequest(members, random)
  }
}
