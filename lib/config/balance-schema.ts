/** The keys that say who gets a client: of routes, of backends, and how a cluster balances. @pure */
import { strict, z } from '../schema.ts'
import type { BalanceKind, MirrorConfig, RouteConfig, StaticBackendConfig, TimeoutsConfig } from './config.ts'
import {
  address,
  backendId,
  choice,
  dnsId,
  duration,
  ratio,
  routeHost,
  routePath,
  sizeOrNone,
  whole,
} from './fields.ts'

const minuteMs = 60_000
const hourMs = 3_600_000
const splitMax = 20
const mirroredBodyBytesMax = 4 * 1024 * 1024
const percent = () => ratio(0, 100)

/** Bounds and defaults, of a cluster and of a route. */
const limits = {
  connect: { field: duration(10, 5 * minuteMs), usually: '2s' },
  header: { field: duration(10, 24 * hourMs), usually: '30s' },
  idle: { field: duration(10, 24 * hourMs), usually: '60s' },
  tunnel_idle: { field: duration(10, 7 * 24 * hourMs), usually: '1h' },
} as const

export const timeouts = strict({
  connect: limits.connect.field.prefault(limits.connect.usually),
  header: limits.header.field.prefault(limits.header.usually),
  idle: limits.idle.field.prefault(limits.idle.usually),
  tunnel_idle: limits.tunnel_idle.field.prefault(limits.tunnel_idle.usually),
}).transform(
  (value): TimeoutsConfig => ({
    connectMs: value.connect,
    headerMs: value.header,
    idleMs: value.idle,
    tunnelIdleMs: value.tunnel_idle,
  }),
)

/** What is not said is the cluster's. */
const routeTimeouts = strict({
  connect: limits.connect.field.optional(),
  header: limits.header.field.optional(),
  idle: limits.idle.field.optional(),
  tunnel_idle: limits.tunnel_idle.field.optional(),
}).transform(
  ({ connect, header, idle, tunnel_idle: tunnelIdle }): Partial<TimeoutsConfig> => ({
    ...(connect === undefined ? {} : { connectMs: connect }),
    ...(header === undefined ? {} : { headerMs: header }),
    ...(idle === undefined ? {} : { idleMs: idle }),
    ...(tunnelIdle === undefined ? {} : { tunnelIdleMs: tunnelIdle }),
  }),
)

const mirror = strict({
  cluster: dnsId(32),
  percent: percent().prefault(100),
  request_body: sizeOrNone(mirroredBodyBytesMax).prefault('64KiB'),
}).transform(
  ({ cluster, percent, request_body: requestBodyBytes }): MirrorConfig => ({
    cluster,
    percent,
    requestBodyBytes,
  }),
)

export const route = strict({
  host: routeHost().prefault('*'),
  path: routePath().prefault('/'),
  timeouts: routeTimeouts.optional(),
  split: z
    .array(strict({ cluster: dnsId(32), percent: percent() }))
    .max(splitMax)
    .optional(),
  split_fallback: z.boolean().optional(),
  mirror: mirror.optional(),
}).transform(
  ({ host, path, timeouts: own, split, split_fallback: splitFallback, mirror }): RouteConfig => ({
    host,
    path,
    ...(own === undefined ? {} : { timeouts: own }),
    ...(split === undefined ? {} : { split }),
    ...(splitFallback === undefined ? {} : { splitFallback }),
    ...(mirror === undefined ? {} : { mirror }),
  }),
)

export const zone = () => dnsId(63)

export const backend = strict({
  id: backendId(),
  address: address(1),
  weight: whole(1, 1000, 'weight').prefault(1),
  zone: zone().optional(),
}).transform(
  (value): StaticBackendConfig => ({
    id: value.id,
    ...value.address,
    weight: value.weight,
    zone: value.zone ?? null,
  }),
)

const kinds: readonly BalanceKind[] = [
  'round_robin',
  'random',
  'least_request',
  'peak_ewma',
  'consistent_hash',
]

/** Of a cluster. */
export const balanceKeys = {
  balance: choice(kinds).prefault('least_request'),
  hash_balance_factor: ratio(1.01, 10).prefault(1.25),
  slow_start: duration(0, hourMs).prefault('0s'),
  zone_preference: choice(['off', 'prefer']).prefault('off'),
}
