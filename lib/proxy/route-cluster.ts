/**
 * A cluster as a thread uses it, built from its part of the table; what is as it was in the former table is taken over.
 * The settings of balancing and affinity meet the members here; nothing is decided for a request.
 */
import { isDeepStrictEqual } from 'node:util'
import { type Balancer, createBalancer, type Random } from '../cluster/balance/balancer.ts'
import { createRing, type Ring } from '../cluster/balance/ring.ts'
import { type Board, slotsMax } from '../cluster/board.ts'
import { sameItems } from '../cluster/compile.ts'
import { Member } from '../cluster/member.ts'
import type { AffinityKey, TableCluster, TableMember } from '../cluster/table.ts'
import type { AffinityConfig, TimeoutsConfig } from '../config/config.ts'
import type { Guard } from './resilience/guards.ts'
import { SessionCookies } from './session-cookie.ts'

export interface RouteCluster {
  readonly id: string
  /** What its members speak. */
  readonly protocol: 'http1' | 'h2'
  readonly timeouts: TimeoutsConfig
  readonly affinity: AffinityConfig
  readonly members: readonly Member[]
  /** For `cookie`; empty otherwise. */
  readonly byIncarnation: ReadonlyMap<string, Member>
  readonly balancer: Balancer<Member>
  /** Where clients are told apart by a key: `client_ip`, `consistent_hashing`, and `consistent_hash` as the balance. */
  readonly ring: Ring<Member> | null
  /** For `cookie`. */
  readonly cookies: SessionCookies | null
  /** Retries, hedging, limits. */
  readonly guard: Guard
  /** What it was built from. */
  readonly from: TableCluster
}

export interface Around {
  readonly board: Board
  readonly thread: number
  readonly random: Random
  /** Wall clock, milliseconds. */
  readonly now: () => number
  readonly affinityKeys: readonly AffinityKey[]
}

/** `departed` takes up the members of `before` whose connections are not to be used any more. */
export function buildCluster(
  from: TableCluster,
  around: Around,
  before: RouteCluster | null,
  guard: Guard,
  departed: Member[],
): RouteCluster {
  const { id, timeouts, affinity } = from
  const cookies = cookiesOf(from, around, before)
  if (before?.from === from) return Object.freeze({ ...before, cookies, guard })
  const listed = membersOf(from, around, before, departed)
  const sameMembers = before !== null && sameItems(before.members, listed)
  const members = sameMembers ? before.members : Object.freeze(listed)
  const ring = !isKeyed(from)
    ? null
    : ((sameMembers ? before.ring : null) ?? createRing(members, before?.ring ?? null))
  const keepBalancer = sameMembers && sameBalance(before.from, from)
  return Object.freeze({
    id,
    protocol: from.protocol ?? 'http1',
    timeouts,
    affinity,
    members,
    byIncarnation: incarnationsOf(from, members, sameMembers ? before : null),
    balancer: keepBalancer ? before.balancer : balancerOf(from, members, ring, around, before),
    ring,
    cookies,
    guard,
    from,
  })
}

/**
 * A member that is still there and as it was keeps its object. One that only changed its weight or zone has not departed: its
 * connections are as good as before.
 */
function membersOf(
  from: TableCluster,
  around: Around,
  before: RouteCluster | null,
  departed: Member[],
): Member[] {
  const former = before?.members ?? []
  const timed = from.balance === 'peak_ewma'
  const tls = from.tls ?? null
  const sameTls = isDeepStrictEqual(before?.from.tls ?? null, tls)
  for (let at = 0; at < former.length; at++) placeOfSlot[former[at]!.slot] = at + 1
  const members = from.members.map(data => {
    const held = former[placeOfSlot[data.slot]! - 1]
    if (sameTls && held?.epoch === data.epoch) placeOfSlot[data.slot] = 0
    if (held && sameTls && held.timed === timed && sameMember(held, data)) return held
    return new Member(data, around.board, around.thread, timed ? around.now : null, tls)
  })
  for (const member of former) {
    if (placeOfSlot[member.slot] !== 0) departed.push(member)
    placeOfSlot[member.slot] = 0
  }
  return members
}

/** A member's place in a list by its slot, from 1; 0: not in it. Level again after each use. */
const placeOfSlot = new Uint16Array(slotsMax)

function balancerOf(
  { balance, slowStartMs, hashBalanceFactor, preferredZone }: TableCluster,
  members: readonly Member[],
  ring: Ring<Member> | null,
  { random, now }: Around,
  before: RouteCluster | null,
): Balancer<Member> {
  const setting = { kind: balance, random, now, slowStartMs, zone: preferredZone, hashBalanceFactor, ring }
  return createBalancer(members, setting, before?.balancer ?? null)
}

function sameBalance(a: TableCluster, b: TableCluster): boolean {
  return (
    a.balance === b.balance &&
    a.slowStartMs === b.slowStartMs &&
    a.hashBalanceFactor === b.hashBalanceFactor &&
    a.preferredZone === b.preferredZone
  )
}

function isKeyed({ affinity, balance }: TableCluster): boolean {
  const { method } = affinity
  return method === 'client_ip' || method === 'consistent_hashing' || balance === 'consistent_hash'
}

function incarnationsOf(
  { affinity }: TableCluster,
  members: readonly Member[],
  same: RouteCluster | null,
): ReadonlyMap<string, Member> {
  if (affinity.method !== 'cookie') return nobody
  if (same && same.affinity.method === 'cookie') return same.byIncarnation
  return new Map(members.map(member => [member.incarnation, member]))
}

const nobody: ReadonlyMap<string, Member> = new Map()

function cookiesOf(
  { id, affinity }: TableCluster,
  { affinityKeys }: Around,
  before: RouteCluster | null,
): SessionCookies | null {
  if (affinity.method !== 'cookie') return null
  const sameName = before?.affinity.method === 'cookie' && before.affinity.name === affinity.name
  if (!sameName || !before.cookies) return new SessionCookies(id, affinity.name, affinityKeys)
  before.cookies.setKeys(affinityKeys)
  return before.cookies
}

function sameMember(held: Member, data: TableMember): boolean {
  return (
    held.epoch === data.epoch &&
    held.id === data.id &&
    held.incarnation === data.incarnation &&
    held.host === data.host &&
    held.port === data.port &&
    held.weight === data.weight &&
    held.zone === (data.zone ?? null)
  )
}
