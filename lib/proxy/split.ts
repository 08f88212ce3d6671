/**
 * Which cluster of its route a request goes to, and whether somebody gets a copy.
 *
 *   no split ──► the route's cluster
 *   a live session with one of the split's clusters ──► that one, whatever the percentages say now
 *   clients are told apart by a key ──► by the key: always the same, and a higher percentage only adds clients
 *   else ──► by chance
 *
 * Which member it is then is `pick.ts`. It looks at nobody's health.
 */
import type { Random } from '../cluster/balance/balancer.ts'
import { hashOf, rehashed } from '../cluster/balance/hash.ts'
import { type PickRequest, readCookies } from './affinity.ts'
import { hashFor } from './pick.ts'
import type { RouteCluster } from './route-cluster.ts'
import type { MatchedRoute, SplitPart } from './route-table.ts'

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
  const hash = hashFor(cluster, request)
  const place = hash === null ? random() : rehashed(hash, hashOf(cluster.id)) / 2 ** 32
  let upTo = 0
  for (const part of split) {
    upTo += part.percent / 100
    if (place < upTo) return part.cluster
  }
  return cluster
}

/** Of the clusters that the route may lead to, the one with this id; null: it does not any more. */
export function partOf({ cluster, split }: MatchedRoute, id: string): RouteCluster | null {
  if (cluster.id === id) return cluster
  return split?.find(part => part.cluster.id === id)?.cluster ?? null
}

/** Who gets a copy of this request, or null. */
export function mirrorOf({ mirror }: MatchedRoute, random: Random = Math.random): RouteCluster | null {
  if (mirror === null) return null
  return random() * 100 < mirror.percent ? mirror.cluster : null
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
