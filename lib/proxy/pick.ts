/**
 * Which member takes this exchange: the one its client is bound to, else the balancer's choice, else a refusal that says
 * why. The member that comes back has been entered: the caller leaves it or makes a tunnel of it.
 *
 *   bound and admits bound ──► it                                            (cookie renewed when it has aged)
 *          │ no, or not bound   └─ has as much on it as it may ──► refused: `full`
 *   who has most of the memory of the one it was bound to ──► it             (cookie issued, the application told: `heirs.ts`)
 *          │ nobody has
 *   balancer: a member that takes new clients and is not full ──► it         (cookie issued)
 *          │ none
 *   the least busy of those in reserve ──► it                                (cookie issued)
 *          │ none, or lost the race against a fence too often
 *   refused: how many members, and what keeps each kind from serving; `full` when only that keeps somebody
 */
import type { Balancer } from '../cluster/balance/balancer.ts'
import { hashOf } from '../cluster/balance/hash.ts'
import type { Ring } from '../cluster/balance/ring.ts'
import type { Member } from '../cluster/member.ts'
import type { SessionSighting } from '../cluster/ports.ts'
import { hashKey, type PickRequest, readCookies, sessionCookieHeader } from './affinity.ts'
import { clientKey } from './client-key.ts'
import { enterHeir, type Moved } from './heirs.ts'
import { enterWithin, withFull } from './resilience/full-member.ts'
import type { RouteCluster } from './route-cluster.ts'
import {
  issuedAnew,
  newSession,
  type OpenedSession,
  type Session,
  type SessionCookies,
} from './session-cookie.ts'

export type { PickRequest } from './affinity.ts'

export interface Picked {
  readonly member: Member
  /** The client was bound to it before this exchange. */
  readonly bound: boolean
  /** A `Set-Cookie` header for the response, or null. */
  readonly setCookie: string | null
  /** For control's ledger, when this thread has something new to tell. */
  readonly sighting: SessionSighting | null
  /** Its session comes from another backend, whose memory this one has some of. */
  readonly moved: Moved | null
}

export interface Refused {
  readonly member: null
  readonly code: 'no_backend'
  /** For people: `3 members: 1 not ready, 2 draining`. */
  readonly reason: string
  /** A member would take this client when it has less on it (`limits.requests_per_member`). */
  readonly full: boolean
}

/** For a first try. */
export const nobodyTried: ReadonlySet<Member> = new Set()
/** Each attempt that fails met a member that closed between the balancer's look and the entry. */
const attemptsMax = 16
/** A clock that stands further behind the one that issued the cookie has it issued anew. */
const skewMsMax = 60_000

export function pick(
  cluster: RouteCluster,
  request: PickRequest,
  tried: ReadonlySet<Member>,
): Picked | Refused {
  if (cluster.cookies && cluster.affinity.method === 'cookie')
    return pickByCookie(cluster, cluster.cookies, cluster.affinity, request, tried)
  const hash = cluster.ring ? hashFor(cluster, request) : null
  if (cluster.ring && hash !== null) return pickByKey(cluster, cluster.ring, hash, tried)
  const member = enterNew(cluster, cluster.balancer, tried, null)
  return isMember(member) ? plain(member, false) : refusal(cluster, tried, member)
}

/**
 * The key's owner as long as it admits bound clients; then the next in the key's order that takes new ones. With
 * `consistent_hash` as the balance an owner that takes new clients is asked by the balancer, which knows its bound.
 */
function pickByKey(
  cluster: RouteCluster,
  ring: Ring<Member>,
  hash: number,
  tried: ReadonlySet<Member>,
): Picked | Refused {
  if (cluster.balancer.kind === 'consistent_hash') return pickBounded(cluster, ring, hash, tried)
  const owner = ring.owner(hash)
  if (owner && !tried.has(owner)) {
    const entered = enterWithin(owner, true, limitOf(cluster))
    if (entered === 'entered') return plain(owner, true)
    if (entered === 'full') return refusal(cluster, tried, 'full')
  }
  const member = enterNew(cluster, ring, tried, hash)
  return isMember(member) ? plain(member, member === owner) : refusal(cluster, tried, member)
}

/** Whoever the balancer would take, a fenced owner keeps its keys. */
function pickBounded(
  cluster: RouteCluster,
  ring: Ring<Member>,
  hash: number,
  tried: ReadonlySet<Member>,
): Picked | Refused {
  const limit = limitOf(cluster)
  let passed = tried
  let turns = cluster.board.turns()
  for (let attempt = 0; attempt < attemptsMax; attempt++) {
    const member = cluster.balancer.pick(passed, hash)
    const owner = ring.passedOwner
    const keeps = owner !== null && owner !== member && owner.eligibility() === 'bound' && !passed.has(owner)
    if (keeps && enterWithin(owner, true, limit) === 'entered') return plain(owner, true)
    if (member === null) {
      const turned = cluster.board.turns()
      if (turned === turns) break
      turns = turned
      continue
    }
    const entered = enterWithin(member, false, limit)
    if (entered === 'entered') return plain(member, member === owner)
    if (entered === 'full') passed = withFull(passed, member, cluster.members, limit)
  }
  const spare = enterSpare(cluster, tried)
  if (isMember(spare)) return plain(spare, false)
  return refusal(cluster, tried, passed === tried ? spare : 'full')
}

function pickByCookie(
  cluster: RouteCluster,
  cookies: SessionCookies<Member>,
  config: CookieSetting,
  request: PickRequest,
  tried: ReadonlySet<Member>,
): Picked | Refused {
  const { nowMs } = request
  const ttlMs = config.ttlSeconds * 1000
  const values = readCookies(request.headers, config.name)
  const found = values.length === 0 ? null : findSession(cluster, cookies, values, nowMs - ttlMs)
  if (found !== null) {
    const { member, session } = found
    const entered = member && !tried.has(member) ? enterWithin(member, true, limitOf(cluster)) : 'closed'
    if (entered === 'full') return refusal(cluster, tried, 'full')
    if (member && entered === 'entered') {
      const aged = nowMs - session.issuedMs > ttlMs / 4 || session.issuedMs > nowMs + skewMsMax
      if (aged || session.oldKey)
        return new Issuing(
          member,
          true,
          issuedAnew(session, session.incarnation, nowMs),
          cookies,
          config,
          request.secure,
        )
      const sighting = session.first ? sightingOf(member, session, ttlMs) : null
      return { member, bound: true, setCookie: null, sighting, moved: null }
    }
  }
  const heir = found === null ? null : enterHeir(cluster, found.session.incarnation, tried)
  if (heir === 'full' || heir === 'awaited') return refusal(cluster, tried, heir === 'full' ? 'full' : null)
  const member =
    heir?.member ??
    enterNew(cluster, cluster.balancer, tried, cluster.ring ? hashFor(cluster, request) : null)
  if (!isMember(member)) return refusal(cluster, tried, member)
  // A session that moves keeps its id: it is counted where it is now, and no longer where it was.
  const session = found
    ? issuedAnew(found.session, member.incarnation, nowMs)
    : newSession(member.incarnation, nowMs)
  return new Issuing(member, false, session, cookies, config, request.secure, heir?.moved)
}

interface CookieSetting {
  readonly name: string
  readonly ttlSeconds: number
}

/** The first live session among the values, one of a member that is here before one of a member that left. */
function findSession(
  cluster: RouteCluster,
  cookies: SessionCookies<Member>,
  values: readonly string[],
  issuedAfterMs: number,
): FoundSession | null {
  let stray: FoundSession | null = null
  for (const value of values) {
    const session = cookies.open(value)
    if (session === null || session.issuedMs <= issuedAfterMs) continue
    const member = cluster.owners.of(session)
    if (member !== null) return { session, member }
    stray ??= { session, member }
  }
  return stray
}

interface FoundSession {
  readonly session: OpenedSession<Member>
  /** Null: it has left. */
  readonly member: Member | null
}

/** By the balancer, or by the ring alone. `hash` null: no key. `full`: nobody can, but for want of room. */
function enterNew(
  cluster: RouteCluster,
  by: Balancer<Member> | Ring<Member>,
  tried: ReadonlySet<Member>,
  hash: number | null,
): Member | 'full' | null {
  const limit = limitOf(cluster)
  let passed = tried
  let turns = cluster.board.turns()
  for (let attempt = 0; attempt < attemptsMax; attempt++) {
    const member = 'pick' in by ? by.pick(passed, hash ?? undefined) : by.next(hash!, passed, null)
    if (member === null) {
      const spare = enterSpare(cluster, tried)
      const turned = cluster.board.turns()
      // Where some opened as others closed while they were looked at, of each side the closed ones may have been seen.
      if (spare !== null || turned === turns) return spare ?? (passed === tried ? null : 'full')
      turns = turned
      continue
    }
    const entered = enterWithin(member, false, limit)
    if (entered === 'entered') return member
    if (entered === 'full') passed = withFull(passed, member, cluster.members, limit)
  }
  return passed === tried ? null : 'full'
}

/** Somebody but this one takes a new client now. */
export function othersServe(cluster: RouteCluster, but: Member, tried: ReadonlySet<Member>): boolean {
  const limit = limitOf(cluster)
  return cluster.members.some(member => {
    if (member === but || member.weight === 0 || tried.has(member)) return false
    const eligibility = member.eligibility()
    return (eligibility === 'any' || eligibility === 'spare') && (limit === 0 || member.load() < limit)
  })
}

/** Of the key that tells clients apart in this cluster; null where the request has none. */
export function hashFor({ affinity, balancer }: RouteCluster, request: PickRequest): number | null {
  const named = hashKey(affinity, request)
  const key = named ?? (balancer.kind === 'consistent_hash' ? clientKey(request.clientIp) : null)
  return key === null ? null : hashOf(key)
}

/** Nobody takes new clients as a matter of course: the least busy of those in reserve. */
function enterSpare(cluster: RouteCluster, tried: ReadonlySet<Member>): Member | 'full' | null {
  let best: Member | null = null
  let bestLoad = 0
  for (const member of cluster.members) {
    if (member.eligibility() !== 'spare' || member.weight === 0 || tried.has(member)) continue
    const load = member.load()
    if (best !== null && load >= bestLoad) continue
    best = member
    bestLoad = load
  }
  if (best === null) return null
  const entered = enterWithin(best, false, limitOf(cluster))
  return entered === 'entered' ? best : entered === 'full' ? 'full' : null
}

const limitOf = ({ guard }: RouteCluster) => guard.limits.requestsPerMember
const isMember = (found: Member | 'full' | null): found is Member => found !== null && found !== 'full'

/** Seals the cookie when it is asked for, with the answer: many times dearer than the choice, and in vain where no answer comes. */
class Issuing implements Picked {
  readonly member: Member
  readonly bound: boolean
  readonly sighting: SessionSighting
  readonly moved: Moved | null
  readonly #session: Session
  readonly #cookies: SessionCookies<Member>
  readonly #config: CookieSetting
  readonly #secure: boolean
  #sealed: string | null = null

  constructor(
    member: Member,
    bound: boolean,
    session: Session,
    cookies: SessionCookies<Member>,
    config: CookieSetting,
    secure: boolean,
    moved: Moved | null = null,
  ) {
    this.member = member
    this.moved = moved
    this.bound = bound
    this.sighting = sightingOf(member, session, config.ttlSeconds * 1000)
    this.#session = session
    this.#cookies = cookies
    this.#config = config
    this.#secure = secure
  }

  get setCookie(): string {
    const { name, ttlSeconds } = this.#config
    this.#sealed ??= sessionCookieHeader(name, this.#cookies.seal(this.#session), ttlSeconds, this.#secure)
    return this.#sealed
  }
}

function plain(member: Member, bound: boolean): Picked {
  return { member, bound, setCookie: null, sighting: null, moved: null }
}

function sightingOf(member: Member, session: Session, ttlMs: number): SessionSighting {
  const { slot, epoch } = member
  return { slot, epoch, session: session.id, expiresAtMs: session.issuedMs + ttlMs }
}

function refusal(cluster: RouteCluster, tried: ReadonlySet<Member>, why: 'full' | null): Refused {
  const { members } = cluster
  const full = why === 'full'
  if (members.length === 0)
    return { member: null, code: 'no_backend', reason: `cluster ${cluster.id} has no members`, full }
  const counts = new Map<string, number>()
  for (const member of members) {
    const why = whyNot(member, tried, limitOf(cluster))
    counts.set(why, (counts.get(why) ?? 0) + 1)
  }
  const parts = [...counts].map(([why, count]) => `${count} ${why}`)
  const total = `${members.length} member${members.length === 1 ? '' : 's'}`
  return { member: null, code: 'no_backend', reason: `${total}: ${parts.join(', ')}`, full }
}

function whyNot(member: Member, tried: ReadonlySet<Member>, limit: number): string {
  if (tried.has(member)) return 'already tried'
  const eligibility = member.eligibility()
  if (eligibility === 'none') return 'not ready'
  if (eligibility === 'bound') return 'draining'
  if (member.weight === 0) return 'of weight 0'
  return limit > 0 && member.load() >= limit ? 'full' : 'closing'
}
