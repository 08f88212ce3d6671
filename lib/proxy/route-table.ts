/**
 * One generation as a thread uses it: which route and cluster a request belongs to, and that cluster's members, balancer, ring
 * and cookies, all built when the table arrives and only read while it serves.
 *
 * What a former generation knew of a member that is still there goes on: its `Member`, the balancer's turn, opened cookies.
 * Deliberately absent: who is well (the board), any change after construction, percent-decoding and dot segments: a
 * path is compared as it came, and what must not pass unnormalised is refused before it gets here.
 */
import { systemClock } from '../clock.ts'
import type { Random } from '../cluster/balance/balancer.ts'
import type { Board } from '../cluster/board.ts'
import { sameItems } from '../cluster/compile.ts'
import type { Member } from '../cluster/member.ts'
import type { TableCluster, TableData } from '../cluster/table.ts'
import type { RouteConfig, TimeoutsConfig } from '../config/config.ts'
import { type Guard, plainGuard } from './resilience/guards.ts'
import { buildCluster, type RouteCluster } from './route-cluster.ts'
import { RouteIndex } from './route-index.ts'

export type { RouteCluster } from './route-cluster.ts'

/** What a request's host and path lead to. Which of its clusters serves it, and who gets a copy, is `split.ts`. */
export interface MatchedRoute {
  /** The prefix of the route. */
  readonly path: string
  /** Whose route it is. */
  readonly cluster: RouteCluster
  /** The cluster's, or the route's own. */
  readonly timeouts: TimeoutsConfig
  readonly split: readonly SplitPart[] | null
  /** A cluster of the split that cannot serve leaves its requests to the others. */
  readonly splitFallback: boolean
  readonly mirror: MirrorPart | null
}

export interface SplitPart {
  readonly cluster: RouteCluster
  readonly percent: number
}

export interface MirrorPart extends SplitPart {
  /** Requests with a longer body are not copied. */
  readonly requestBodyBytes: number
}

export class RouteTable {
  readonly generation: number
  readonly data: TableData
  /** Members of the former table that are not in this one. */
  readonly departed: readonly Member[]
  readonly #clusters = new Map<string, RouteCluster>()
  readonly #routes: readonly MatchedRoute[]
  readonly #index: RouteIndex<number>

  /** `now`: wall clock, milliseconds. */
  constructor(
    data: TableData,
    board: Board,
    thread: number,
    previous?: RouteTable,
    random: Random = Math.random,
    guardOf: (cluster: TableCluster) => Guard = () => plainGuard,
    now: () => number = systemClock.now,
  ) {
    this.generation = data.generation
    this.data = data
    const former = previous ? previous.#clusters : noClusters
    const departed: Member[] = []
    const around = { board, thread, random, now, affinityKeys: data.affinityKeys }
    for (const cluster of data.clusters) {
      const before = former.get(cluster.id) ?? null
      this.#clusters.set(cluster.id, buildCluster(cluster, around, before, guardOf(cluster), departed))
    }
    for (const [id, { members }] of former) if (!this.#clusters.has(id)) departed.push(...members)
    this.departed = departed
    this.#routes = data.clusters.flatMap(({ id, routes }) => routes.map(route => this.#matched(id, route)))
    // The places of the routes are the same as long as the routes are.
    this.#index = previous && sameRoutes(previous.data, data) ? previous.#index : indexOf(data)
  }

  /** What serves this host (a `Host` header's value) and path (a query is left aside), or null. */
  matchRoute(host: string, path: string): MatchedRoute | null {
    const place = this.#index.match(host, path)
    return place === null ? null : this.#routes[place]!
  }

  /** The cluster that the route belongs to. */
  match(host: string, path: string): RouteCluster | null {
    return this.matchRoute(host, path)?.cluster ?? null
  }

  /** Somebody takes new clients there; of a cluster that is gone nobody needs to wait to learn that. */
  serves(cluster: string): boolean {
    const found = this.#clusters.get(cluster)
    if (!found) return true
    return found.members.some(member => {
      const eligibility = member.eligibility()
      return member.weight > 0 && (eligibility === 'any' || eligibility === 'spare')
    })
  }

  *members(): Iterable<Member> {
    for (const { members } of this.#clusters.values()) yield* members
  }

  #matched(id: string, { path, timeouts, split, splitFallback, mirror }: RouteConfig): MatchedRoute {
    const cluster = this.#clusters.get(id)!
    // A target that is not there takes nothing: what is left of it stays with the cluster.
    const partOf = (part: { readonly cluster: string; readonly percent: number }): SplitPart[] => {
      const target = this.#clusters.get(part.cluster)
      return target ? [{ cluster: target, percent: part.percent }] : []
    }
    const parts = (split ?? []).flatMap(partOf)
    const [copied] = mirror ? partOf(mirror) : []
    return Object.freeze({
      path,
      cluster,
      timeouts: timeouts ? Object.freeze({ ...cluster.timeouts, ...timeouts }) : cluster.timeouts,
      split: parts.length > 0 ? Object.freeze(parts) : null,
      splitFallback: splitFallback ?? false,
      mirror: copied ? { ...copied, requestBodyBytes: mirror?.requestBodyBytes ?? 0 } : null,
    })
  }
}

const noClusters: ReadonlyMap<string, RouteCluster> = new Map()

function sameRoutes(before: TableData, after: TableData): boolean {
  return sameItems(
    before.clusters.map(({ routes }) => routes),
    after.clusters.map(({ routes }) => routes),
  )
}

/** Each route's place in the list of all. */
function indexOf({ clusters }: TableData): RouteIndex<number> {
  return new RouteIndex(clusters.flatMap(({ routes }) => routes).map((route, value) => ({ ...route, value })))
}
