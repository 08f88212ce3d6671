/**
 * The keys of `tidegate.yaml`, their types, bounds and defaults, and how each becomes a field of `Config`. @pure
 * The keys are a promise (`docs/config.md` lists them all). What spans several keys is in `rules.ts`.
 */
import { refuse, show, strict, z } from '../schema.ts'
import { backend, balanceKeys, route, timeouts, zone } from './balance-schema.ts'
import {
  type AffinityConfig,
  type ClusterConfig,
  driverKinds,
  type HashParameter,
  type NodeConfig,
  type StoreConfig,
} from './config.ts'
import { address, autoOr, choice, cookieName, dnsId, filePath, network, whole } from './fields.ts'
import { health, outlier } from './health-schema.ts'
import { cpusMax, instance, resources } from './instance-schema.ts'
import { drain, shutdown, shutdownGrace } from './leaving-schema.ts'
import { accessLogFor, tracingFor } from './observe-schema.ts'
import { hedge, limits, overloadFor, rateLimit, resilienceOf, retries } from './resilience-schema.ts'
import { scaling, snapshotLimits } from './scaling-schema.ts'
import { listenerFor, upstreamTls } from './tls-schema.ts'

export const listMax = 1000

/** What the file does not say and the machine does. */
export interface Surroundings {
  readonly cpus: number
  readonly memoryBytes: number
  readonly diskBytes: number
  /** Makes a path of the file absolute. */
  readonly absolute: (path: string) => string
}

const list = <T extends z.ZodType>(item: T) => z.array(item).max(listMax)

/** `none`, or later `{ jwt: ... }`. */
const auth = z.unknown().transform((value, ctx): 'none' => {
  if (value === 'none') return 'none'
  const group = typeof value === 'object' && value !== null && 'jwt' in value
  if (group || value === 'jwt') {
    const message = '`auth.jwt` is not supported yet in this version'
    return refuse(ctx, message, 'write `auth: none` and a loopback address', group ? ['jwt'] : [])
  }
  return refuse(ctx, `${show(value)} is not known here`, 'write `none`')
})

const admin = strict({
  address: address(0).prefault('127.0.0.1:9090'),
  auth: auth.prefault('none'),
}).transform(value => ({ ...value.address, auth: value.auth }))

const storeFor = ({ absolute }: Surroundings) =>
  strict({
    kind: choice(['memory', 'sqlite'], ['redis']).prefault('sqlite'),
    path: filePath().prefault('./state/tidegate.db'),
  }).transform(
    (value): StoreConfig =>
      value.kind === 'memory' ? { kind: 'memory' } : { kind: 'sqlite', path: absolute(value.path) },
  )

const nodeFor = ({ cpus, memoryBytes, diskBytes, absolute }: Surroundings) =>
  strict({
    id: dnsId(32),
    driver: choice(driverKinds),
    zone: dnsId(63).prefault('default'),
    capacity: resources({
      cpus: Math.min(cpus, cpusMax),
      memory: `${memoryBytes}B`,
      disk: `${diskBytes}B`,
    }).prefault({}),
    price: strict({
      hourly: z.number().min(0).max(1_000_000),
      kind: choice(['on_demand', 'reserved', 'spot']).prefault('on_demand'),
    }).optional(),
    snapshots: snapshotLimits.optional(),
    options: z.looseObject({ directory: filePath().optional() }).prefault({}),
  }).transform((value): NodeConfig => {
    const { directory, ...options } = value.options
    const { id, driver, zone, capacity, price = null } = value
    const at = absolute(directory ?? `./state/${id}`)
    const limited = value.snapshots ? { snapshots: value.snapshots } : {}
    return { id, driver, zone, capacity, price, directory: at, options, ...limited }
  })

/** `header:x-user` `cookie:sid` `query:tenant` `path` */
const parameter = z.unknown().transform((value, ctx): HashParameter => {
  if (value === 'path') return { from: 'path' }
  const match =
    typeof value === 'string'
      ? /^(header|cookie|query):([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64})$/.exec(value)
      : null
  const [, from, name = ''] = match ?? []
  if (from === 'header') return { from, name: name.toLowerCase() }
  if (from === 'cookie' || from === 'query') return { from, name }
  return refuse(
    ctx,
    `${show(value)} is not a hashing parameter`,
    'one of "header:NAME", "cookie:NAME", "query:NAME", path',
  )
})

const affinity = z.preprocess(
  value => (typeof value === 'string' ? { method: value } : value),
  z.discriminatedUnion('method', [
    strict({ method: z.literal('none') }),
    strict({ method: z.literal('client_ip') }),
    strict({
      method: z.literal('cookie'),
      name: cookieName().prefault('tidegate'),
      ttl_seconds: whole(1, 31_536_000, 'ttl_seconds').prefault(3600),
    }).transform(
      (value): AffinityConfig => ({ method: 'cookie', name: value.name, ttlSeconds: value.ttl_seconds }),
    ),
    strict({ method: z.literal('consistent_hashing'), parameter }),
  ]),
)

const cluster = strict({
  id: dnsId(32),
  routes: list(route).prefault([{}]),
  ...balanceKeys,
  affinity: affinity.prefault('none'),
  backends: list(backend).prefault([]),
  protocol: choice(['http1', 'h2']).prefault('http1'),
  tls: upstreamTls.optional(),
  instance: instance.optional(),
  drain: drain.prefault({}),
  health: health.prefault({}),
  outlier: outlier.optional(),
  scaling: scaling.prefault({}),
  timeouts: timeouts.prefault({}),
  retries: retries.prefault({}),
  hedge: hedge.optional(),
  limits: limits.prefault({}),
  rate_limit: rateLimit.optional(),
}).transform(
  (
    { retries, hedge, limits, rate_limit, hash_balance_factor, slow_start, zone_preference, ...value },
    ctx,
  ): ClusterConfig => ({
    ...value,
    scaling: value.scaling.policy,
    standby: value.scaling.standby,
    hashBalanceFactor: hash_balance_factor,
    slowStartMs: slow_start,
    zonePreference: zone_preference,
    instance: value.instance ?? null,
    tls: value.tls ?? null,
    outlier: value.outlier ?? null,
    resilience: resilienceOf({ retries, hedge, limits, rate_limit }, value.timeouts, ctx),
  }),
)

export const configSchema = (around: Surroundings) =>
  strict({
    listeners: list(listenerFor(around.absolute))
      .min(1)
      .prefault([{ address: '0.0.0.0:8080' }]),
    threads: autoOr(() => Math.min(around.cpus, 64), 0, 64).prefault('auto'),
    trusted_proxies: list(network()).prefault([]),
    debug_headers: z.boolean().default(false),
    admin: admin.prefault({}),
    store: storeFor(around).prefault({}),
    nodes: list(nodeFor(around)).optional(),
    zone: zone().optional(),
    clusters: list(cluster).min(1),
    overload: overloadFor(around).prefault({}),
    shutdown_grace: shutdownGrace.optional(),
    shutdown: shutdown.prefault({}),
    access_log: accessLogFor(around).optional(),
    tracing: tracingFor(around).prefault({}),
  })
