/**
 * One generation as a thread uses it: which cluster a request belongs to, and that cluster's members, balancer, ring and
 * cookies, all built when the table arrives and only read while it serves.
 *
 * What a former generation knew of a member that is still there goes on: its `Member`, the balancer's turn, opened cookies.
 * Deliberately absent: who is well (the board), any change after construction, percent-decoding and dot segments: a
 * path is compared as it came, and what must not pass unnormalised is refused before it gets here.
 */
import { type Balancer, createBalancer, type Random } from '../cluster/balance/balancer.ts'
import { Ring } from '../cluster/balance/ring.ts'
import type { Board } from '../cluster/board.ts'
import { Member } from '../cluster/member.ts'
import type { TableCluster, TableData, TableMember } from '../cluster/table.ts'
import type { AffinityConfig, TimeoutsConfig } from '../config/config.ts'
import { RouteIndex } from './route-index.ts'
import { SessionCookies } from './session-cookie.ts'

export interface RouteCluster {
  readonly id: string
  readonly timeouts: TimeoutsConfig
  readonly affinity: AffinityConfig
  readonly members: readonly Member[]
  readonly byIncarnation: ReadonlyMap<string, Member>
  readonly balancer: Balancer<Member>
  /** For `client_ip` and `consistent_hashing`. */
  readonly ring: Ring<Member> | null
  /** For `cookie`. */
  readonly cookies: SessionCookies | null
}

export class RouteTable {
  readonly generation: number
  readonly #index: RouteIndex<RouteCluster>
  readonly #clusters = new Map<string, RouteCluster>()
  readonly #members = new Map<string, Member>()

  constructor(
    data: TableData,
    board: Board,
    thread: number,
    previous?: RouteTable,
    random: Random = Math.random,
  ) {
    this.generation = data.generation
    const heldMembers = previous ? previous.#members : null
    const heldClusters = previous ? previous.#clusters : null
    const memberOf = (member: TableMember): Member => {
      const key = `${member.slot}:${member.epoch}`
      const held = heldMembers?.get(key)
      const kept = held && sameMember(held, member) ? held : new Member(member, board, thread)
      this.#members.set(key, kept)
      return kept
    }
    for (const cluster of data.clusters) {
      const members = cluster.members.map(memberOf)
      const before = heldClusters?.get(cluster.id) ?? null
      this.#clusters.set(cluster.id, build(cluster, members, data, before, random))
    }
    this.#index = new RouteIndex(
      data.clusters.flatMap(({ id, routes }) =>
        routes.map(route => ({ ...route, value: this.#clusters.get(id)! })),
      ),
    )
  }

  /** The cluster that serves this host (a `Host` header's value) and path (a query is left aside), or null. */
  match(host: string, path: string): RouteCluster | null {
    return this.#index.match(host, path)
  }

  members(): Iterable<Member> {
    return this.#members.values()
  }
}

function build(
  cluster: TableCluster,
  members: readonly Member[],
  data: TableData,
  before: RouteCluster | null,
  random: Random,
): RouteCluster {
  const sameMembers =
    before?.members.length === members.length && members.every((member, i) => before.members[i] === member)
  const keepBalancer = sameMembers && before?.balancer.kind === cluster.balance
  return Object.freeze({
    id: cluster.id,
    timeouts: cluster.timeouts,
    affinity: cluster.affinity,
    members: Object.freeze([...members]),
    byIncarnation: new Map(members.map(member => [member.incarnation, member])),
    balancer: keepBalancer
      ? before.balancer
      : createBalancer(cluster.balance, members, random, before?.balancer),
    ring: ringOf(cluster, members, sameMembers ? before : null),
    cookies: cookiesOf(cluster, data, before),
  })
}

function ringOf(
  { affinity }: TableCluster,
  members: readonly Member[],
  same: RouteCluster | null,
): Ring<Member> | null {
  if (affinity.method !== 'client_ip' && affinity.method !== 'consistent_hashing') return null
  return same?.ring ?? new Ring(members)
}

function cookiesOf(
  { id, affinity }: TableCluster,
  data: TableData,
  before: RouteCluster | null,
): SessionCookies | null {
  if (affinity.method !== 'cookie') return null
  const sameName = before?.affinity.method === 'cookie' && before.affinity.name === affinity.name
  if (!sameName || !before.cookies) return new SessionCookies(id, affinity.name, data.affinityKeys)
  before.cookies.setKeys(data.affinityKeys)
  return before.cookies
}

function sameMember(held: Member, data: TableMember): boolean {
  return (
    held.id === data.id &&
    held.incarnation === data.incarnation &&
    held.host === data.host &&
    held.port === data.port &&
    held.weight === data.weight
  )
}
