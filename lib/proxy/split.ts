/**
 * Which cluster of its route a request goes to, and whether somebody gets a copy.
 *
 *   no split ──► the route's cluster
 *   a live session with one of the split's clusters ──► that one, whatever the percentages say now
 *   clients are told apart by a key ──► by the key: always the same, and a higher percentage only adds clients
 *   else ──► by chance
 *
 * Which member it is then is `pick.ts`. It looks at nobody's health: who cannot serve is passed over when that has shown, and only where
 * the route says so.
 */
import type { Random } from '../cluster/balance/balancer.ts'
import { hashOf, rehashed } from '../cluster/balance/hash.ts'
import { type PickRequest, readCookies } from './affinity.ts'
import { hashFor } from './pick.ts'
import type { RouteCluster } from './route-cluster.ts'
import type { MatchedRoute, MirrorPart, SplitPart } from './route-table.ts'

/** `request.headers` must have the `cookie` field when the route has a split, and what its cluster's affinity reads. */
export function chooseCluster(
  route: MatchedRoute,
  request: PickRequest,
  random: Random = Math.random,
): RouteCluster {
  const { cluster, split } = route
  if (split === null) return cluster
  const held = heldBy(cluster, split, request)
  if (held !== null) return held
  const place = placeOf(cluster, request, random)
  let upTo = 0
  for (const part of split) {
    upTo += part.percent / 100
    if (place < upTo) return part.cluster
  }
  return cluster
}

/** What clusters are chosen with. */
export interface SplitContext {
  readonly random: Random
  readonly observer: { readonly turns: { now(): number; wall(ms: number): number } }
}

/** The cluster for a request that `held` was chosen for before; null: nobody was. */
export function clusterFor(
  route: MatchedRoute,
  held: RouteCluster | null,
  asked: { forSplit(affinity: RouteCluster['affinity'], nowMs: number): PickRequest },
  { random, observer: { turns } }: SplitContext,
): RouteCluster {
  // After a wait: a place in one cluster is good for no other.
  if (held !== null) return partOf(route, held.id) ?? held
  if (route.split === null) return route.cluster
  return chooseCluster(route, asked.forSplit(route.cluster.affinity, turns.wall(turns.now())), random)
}

/**
 * Who takes the requests of those that cannot serve: of the others each by its share, chosen as in `chooseCluster`. Null: nobody is left,
 * or the route does not say so. Who takes no new clients (0 percent) does not take these.
 */
export function fallbackOf(
  route: MatchedRoute,
  passed: ReadonlySet<string>,
  request: PickRequest,
  random: Random = Math.random,
): RouteCluster | null {
  const { cluster, split, splitFallback } = route
  if (split === null || !splitFallback) return null
  const own = 100 - split.reduce((sum, part) => sum + part.percent, 0)
  const parts = [...split, { cluster, percent: own }].filter(
    part => part.percent > 0 && !passed.has(part.cluster.id),
  )
  const all = parts.reduce((sum, part) => sum + part.percent, 0)
  let place = placeOf(cluster, request, random) * all
  for (const part of parts) {
    place -= part.percent
    if (place < 0) return part.cluster
  }
  return parts.at(-1)?.cluster ?? null
}

/** Of the clusters that the route may lead to, the one with this id; null: it does not any more. */
export function partOf({ cluster, split }: MatchedRoute, id: string): RouteCluster | null {
  if (cluster.id === id) return cluster
  return split?.find(part => part.cluster.id === id)?.cluster ?? null
}

/** Who gets a copy of this request, or null. */
export function mirrorOf({ mirror }: MatchedRoute, random: Random = Math.random): MirrorPart | null {
  if (mirror === null) return null
  return random() * 100 < mirror.percent ? mirror : null
}

/** Where between 0 and 1 a request stands: by its client's key, or by chance. */
function placeOf(cluster: RouteCluster, request: PickRequest, random: Random): number {
  const hash = hashFor(cluster, request)
  return hash === null ? random() : rehashed(hash, hashOf(cluster.id)) / 2 ** 32
}

/** The cluster that issued the newest live session the client shows; null when it shows none. */
function heldBy(
  cluster: RouteCluster,
  split: readonly SplitPart[],
  request: PickRequest,
): RouteCluster | null {
  if (request.headers.cookie === undefined) return null
  let newest: RouteCluster | null = null
  let newestMs = 0
  for (let at = -1; at < split.length; at++) {
    const one = at < 0 ? cluster : split[at]!.cluster
    const issuedMs = sessionIssuedMs(one, request)
    if (issuedMs <= newestMs) continue
    newest = one
    newestMs = issuedMs
  }
  return newest
}

/** When the newest live session with this cluster was issued; 0: there is none. */
function sessionIssuedMs({ cookies, affinity }: RouteCluster, { headers, nowMs }: PickRequest): number {
  if (cookies === null || affinity.method !== 'cookie') return 0
  let newestMs = 0
  for (const value of readCookies(headers, affinity.name)) {
    const session = cookies.peek(value)
    if (session !== null && session.issuedMs > nowMs - affinity.ttlSeconds * 1000)
      newestMs = Math.max(newestMs, session.issuedMs)
  }
  return newestMs
}
