/**
 * What a balancer is: it picks one member for a client that is not bound to any. @pure
 *
 * A balancer is built once for a list of members and asked many times, so that a pick neither allocates nor walks a long
 * list as a rule. Chance and time come in as arguments. It reads a member's facts and changes none: entering is the caller's.
 * A member that does not take new clients (not admitting everyone, weight 0, already tried) is never picked, and one that
 * does is always found, however many others refuse. Kept by `test/contract/balance`.
 */
import type { BalanceKind } from '../../config/config.ts'
import { ConsistentHash } from './consistent-hash.ts'
import { LeastRequest } from './least-request.ts'
import { PeakEwma } from './peak-ewma.ts'
import { RandomPick } from './random.ts'
import { createRing, type Ring } from './ring.ts'
import { RoundRobin } from './round-robin.ts'
import { ZonePreference } from './zone-preference.ts'

/** What a balancer needs to know of a member. */
export interface Candidate {
  readonly id: string
  /** Relative share of new clients; 0 takes none. */
  readonly weight: number
  /** Where it is; null: nobody said. */
  readonly zone: string | null
  eligibility(): 'any' | 'spare' | 'bound' | 'none'
  /** What is under way on it now. */
  load(): number
  /** How long it has served since it was registered or came back; infinite where nobody noted when. */
  servedMs(nowMs: number): number
  /**
   * What its answers take, by a peak-sensitive average that fades; negative where nothing is known. Of a `busy` member what was
   * known long ago counts in full: an answer is awaited that will say more.
   */
  latencyMs(nowMs: number, busy: boolean): number
}

/** A source of chance: 0 ≤ x < 1, as `Math.random`. */
export type Random = () => number

export interface Balancer<M extends Candidate> {
  readonly kind: BalanceKind
  /**
   * A member that takes new clients and is not in `tried`, or null when there is none. `hash`, of the client's key: 0 … 2^32−1,
   * for `consistent_hash`, which goes by chance without it.
   */
  pick(tried: ReadonlySet<M>, hash?: number): M | null
}

export interface BalancerSetting<M extends Candidate> {
  readonly kind: BalanceKind
  readonly random: Random
  /** Wall clock, milliseconds. */
  readonly now: () => number
  /** 0: newcomers get their whole share at once. */
  readonly slowStartMs: number
  /** The zone to prefer, or null. */
  readonly zone: string | null
  /** `consistent_hash`: how far above its share of what is under way a member may be. */
  readonly hashBalanceFactor: number
  /** `consistent_hash`: a ring of the same members, where there is one already. */
  readonly ring: Ring<M> | null
}

/** What is said only where it differs. */
export const plainSetting = {
  now: () => 0,
  slowStartMs: 0,
  zone: null,
  hashBalanceFactor: 1.25,
  ring: null,
} as const

/** A balancer over `members`; `previous` (of the former generation) hands its place over. */
export function createBalancer<M extends Candidate>(
  members: readonly M[],
  setting: BalancerSetting<M>,
  previous: Balancer<M> | null = null,
): Balancer<M> {
  const { zone, kind } = setting
  const former = previous instanceof ZonePreference ? null : previous
  // A key's owner is where it is.
  const zoned = zone !== null && kind !== 'consistent_hash' && members.some(member => member.zone !== zone)
  if (!zoned) return build(members, setting, former)
  const held = previous instanceof ZonePreference ? previous : null
  return new ZonePreference(members, setting, (own, before) => build(own, setting, before), held)
}

function build<M extends Candidate>(
  members: readonly M[],
  setting: BalancerSetting<M>,
  previous: Balancer<M> | null,
): Balancer<M> {
  switch (setting.kind) {
    case 'round_robin':
      return new RoundRobin(members, setting, previous instanceof RoundRobin ? previous : null)
    case 'random':
      return new RandomPick(members, setting)
    case 'least_request':
      return new LeastRequest(members, setting)
    case 'peak_ewma':
      return new PeakEwma(members, setting, previous instanceof PeakEwma ? previous : null)
    case 'consistent_hash':
      return new ConsistentHash(members, setting.ring ?? createRing(members, null), setting)
  }
}
