/**
 * Which member takes this exchange: the one its client is bound to, else the balancer's choice, else a refusal that says
 * why. The member that comes back has been entered: the caller leaves it or makes a tunnel of it.
 *
 *   bound and admits bound ──► it                                            (cookie renewed when it has aged)
 *          │ no, or not bound
 *   balancer: a member that takes new clients ──► it                         (cookie issued)
 *          │ none, or lost the race against a fence too often
 *   refused: how many members, and what keeps each kind from serving
 */
import type { Member } from '../cluster/member.ts'
import type { SessionSighting } from '../cluster/ports.ts'
import { hashKey, type PickRequest, readCookies, sessionCookieHeader } from './affinity.ts'
import type { RouteCluster } from './route-table.ts'
import { newSession, type OpenedSession, type Session, type SessionCookies } from './session-cookie.ts'

export type { PickRequest } from './affinity.ts'

export interface Picked {
  readonly member: Member
  /** The client was bound to it before this exchange. */
  readonly bound: boolean
  /** A `Set-Cookie` header for the response, or null. */
  readonly setCookie: string | null
  /** For control's ledger, when this thread has something new to tell. */
  readonly sighting: SessionSighting | null
}

export interface Refused {
  readonly member: null
  readonly code: 'no_backend'
  /** For people: `3 members: 1 not ready, 2 draining`. */
  readonly reason: string
}

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
  const key = cluster.ring ? hashKey(cluster.affinity, request) : null
  if (cluster.ring && key !== null) return pickByKey(cluster, cluster.ring, key, tried)
  const member = enterAny(() => cluster.balancer.pick(tried))
  return member ? plain(member, false) : refusal(cluster, tried)
}

/** The key's owner as long as it admits bound clients; then the next on the ring that takes new ones. */
function pickByKey(
  cluster: RouteCluster,
  ring: NonNullable<RouteCluster['ring']>,
  key: string,
  tried: ReadonlySet<Member>,
): Picked | Refused {
  const place = ring.place(key)
  const owner = ring.owner(place)
  if (owner && !tried.has(owner) && owner.enter(true)) return plain(owner, true)
  const member = enterAny(() => ring.next(place, tried))
  return member ? plain(member, false) : refusal(cluster, tried)
}

function pickByCookie(
  cluster: RouteCluster,
  cookies: SessionCookies,
  config: { readonly name: string; readonly ttlSeconds: number },
  request: PickRequest,
  tried: ReadonlySet<Member>,
): Picked | Refused {
  const { nowMs, secure } = request
  const ttlMs = config.ttlSeconds * 1000
  const issue = (member: Member, session: Session, bound: boolean): Picked => ({
    member,
    bound,
    setCookie: sessionCookieHeader(config.name, cookies.seal(session), config.ttlSeconds, secure),
    sighting: sightingOf(member, session, ttlMs),
  })
  const held = findSession(cluster, cookies, readCookies(request.headers, config.name), nowMs - ttlMs)
  if (held) {
    const member = cluster.byIncarnation.get(held.incarnation)
    if (member && !tried.has(member) && member.enter(true)) {
      const aged = nowMs - held.issuedMs > ttlMs / 4 || held.issuedMs > nowMs + skewMsMax
      if (aged || held.oldKey) return issue(member, { ...held, issuedMs: nowMs }, true)
      const sighting = held.first ? sightingOf(member, held, ttlMs) : null
      return { member, bound: true, setCookie: null, sighting }
    }
  }
  const member = enterAny(() => cluster.balancer.pick(tried))
  if (!member) return refusal(cluster, tried)
  // A session that moves keeps its id: it is counted where it is now, and no longer where it was.
  const session = held
    ? { ...held, incarnation: member.incarnation, issuedMs: nowMs }
    : newSession(member.incarnation, nowMs)
  return issue(member, session, false)
}

/** The first live session among the values, one of a member that is here before one of a member that left. */
function findSession(
  cluster: RouteCluster,
  cookies: SessionCookies,
  values: readonly string[],
  issuedAfterMs: number,
): OpenedSession | null {
  let stray: OpenedSession | null = null
  for (const value of values) {
    const session = cookies.open(value)
    if (session === null || session.issuedMs <= issuedAfterMs) continue
    if (cluster.byIncarnation.has(session.incarnation)) return session
    stray ??= session
  }
  return stray
}

function enterAny(next: () => Member | null): Member | null {
  for (let attempt = 0; attempt < attemptsMax; attempt++) {
    const member = next()
    if (member === null) return null
    if (member.enter(false)) return member
  }
  return null
}

function plain(member: Member, bound: boolean): Picked {
  return { member, bound, setCookie: null, sighting: null }
}

function sightingOf(member: Member, session: Session, ttlMs: number): SessionSighting {
  const { slot, epoch } = member
  return { slot, epoch, session: session.id, expiresAtMs: session.issuedMs + ttlMs }
}

function refusal(cluster: RouteCluster, tried: ReadonlySet<Member>): Refused {
  const { members } = cluster
  if (members.length === 0)
    return { member: null, code: 'no_backend', reason: `cluster ${cluster.id} has no members` }
  const counts = new Map<string, number>()
  for (const member of members) {
    const why = whyNot(member, tried)
    counts.set(why, (counts.get(why) ?? 0) + 1)
  }
  const parts = [...counts].map(([why, count]) => `${count} ${why}`)
  const total = `${members.length} member${members.length === 1 ? '' : 's'}`
  return { member: null, code: 'no_backend', reason: `${total}: ${parts.join(', ')}` }
}

function whyNot(member: Member, tried: ReadonlySet<Member>): string {
  if (tried.has(member)) return 'already tried'
  const eligibility = member.eligibility()
  if (eligibility === 'none') return 'not ready'
  if (eligibility === 'bound') return 'draining'
  return member.weight === 0 ? 'of weight 0' : 'closing'
}
