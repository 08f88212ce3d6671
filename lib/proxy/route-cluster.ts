/**
 * A cluster as a thread uses it, built from its part of the table; what is as it was in the former table is taken over.
 * The settings of balancing and affinity meet the members here; nothing is decided for a request.
 */
import { isDeepStrictEqual } from 'node:util'
import { type Balancer, createBalancer, type Random } from '../cluster/balance/balancer.ts'
import { createRing, type Ring } from '../cluster/balance/ring.ts'
import type { Board } from '../cluster/board.ts'
import { sameItems } from '../cluster/compile.ts'
import { Member } from '../cluster/member.ts'
import type { AffinityKey, TableCluster, TableMember } from '../cluster/table.ts'
import type { AffinityConfig, TimeoutsConfig } from '../config/config.ts'
import { Owners } from './owners.ts'
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
  readonly owners: Owners
  readonly balancer: Balancer<Member>
  /** Where clients are told apart by a key: `client_ip`, `consistent_hashing`, and `consistent_hash` as the balance. */
  readonly ring: Ring<Member> | null
  /** For `cookie`. */
  readonly cookies: SessionCookies<Member> | null
  /** Retries, hedging, limits. */
  readonly guard: Guard
  /** Counts the turns at which some members open as others close: a look at them that one came into is taken again. */
  readonly board: Pick<Board, 'turns'>
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
    owners: ownersOf(from, members, sameMembers ? before : null),
    balancer: keepBalancer ? before.balancer : balancerOf(from, members, ring, around, before),
    ring,
    cookies,
    guard,
    board: around.board,
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
  const timed = from.balance === 'peak_ewma'
  const tls = from.tls ?? null
  const sameTls = isDeepStrictEqual(before?.from.tls ?? null, tls)
  const sameSetting = before !== null && sameTls && timed === (before.from.balance === 'peak_ewma')
  const { members, rest } = untouched(from.members, sameSetting ? before : null)
  const former = new Map((sameSetting ? rest : (before?.members ?? [])).map(member => [member.slot, member]))
  for (let at = members.length; at < from.members.length; at++) {
    const data = from.members[at]!
    const held = former.get(data.slot)
    if (sameTls && held?.epoch === data.epoch) former.delete(data.slot)
    const same = held && sameSetting && sameMember(held, data)
    members.push(same ? held : new Member(data, around.board, around.thread, timed ? around.now : null, tls))
  }
  departed.push(...former.values())
  return members
}

/** Those whose place in the table is the former one's object, in their order, until one is not; `rest`: the others of the former. */
function untouched(
  listed: readonly TableMember[],
  before: RouteCluster | null,
): { readonly members: Member[]; readonly rest: Member[] } {
  const members: Member[] = []
  const rest: Member[] = []
  if (before !== null)
    for (let at = 0; at < before.members.length; at++) {
      const same = before.from.members[at] === listed[members.length]
      ;(same ? members : rest).push(before.members[at]!)
    }
  return { members, rest }
}

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

function ownersOf({ affinity }: TableCluster, members: readonly Member[], same: RouteCluster | null): Owners {
  if (affinity.method !== 'cookie') return nobody
  return same && same.affinity.method === 'cookie' ? same.owners : new Owners(members)
}

const nobody = new Owners([])

function cookiesOf(
  { id, affinity }: TableCluster,
  { affinityKeys }: Around,
  before: RouteCluster | null,
): SessionCookies<Member> | null {
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
