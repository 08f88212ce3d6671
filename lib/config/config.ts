/**
 * The configuration as the rest of the program sees it: checked, defaulted, frozen, with units in its names. @pure
 * The file format (snake_case, `30s`, `512MiB`) is described in `schema.ts`, which produces these types.
 */
import type { GrowthPolicy, RollingPolicy, SnapshotLimits, StandbyConfig } from './standby.ts'

export type * from './standby.ts'
export interface Config {
  readonly listeners: readonly ListenerConfig[]
  /** Number of data-plane worker threads; 0 runs both planes on the main thread. `auto` is resolved on load. */
  readonly threads: number
  /** CIDRs whose forwarding headers are believed. */
  readonly trustedProxies: readonly string[]
  readonly debugHeaders: boolean
  readonly admin: AdminConfig
  readonly store: StoreConfig
  readonly nodes: readonly NodeConfig[]
  /** Where this Tidegate is; null: not said. */
  readonly zone: string | null
  readonly clusters: readonly ClusterConfig[]
  readonly overload: OverloadConfig
  readonly shutdown: ShutdownConfig
  /** null: none is written. */
  readonly accessLog: AccessLogConfig | null
  readonly tracing: TracingConfig
}

export interface ListenerConfig {
  readonly host: string
  readonly port: number
  /** What carries HTTP/1.1: our own relay, or `http-proxy-3`. Left out: `relay`. */
  readonly engine?: 'relay' | 'http-proxy-3'
  /** `h2c`: HTTP/2 without TLS is understood beside HTTP/1.1. Left out: `http1`. */
  readonly protocol?: 'http1' | 'h2c'
  /** `require`: connections come from a trusted proxy and begin with a PROXY header. Left out: `off`. */
  readonly proxyProtocol?: 'off' | 'require'
  /** Left out or null: plain text. */
  readonly tls?: ListenerTlsConfig | null
}

export type Alpn = 'h2' | 'http/1.1'

export interface ListenerTlsConfig {
  /** Files, absolute; the first is for clients that ask for no name, or for one that no certificate has. */
  readonly certificates: readonly PairConfig[]
  /** The preferred one first. */
  readonly alpn: readonly Alpn[]
  readonly minVersion: 'TLSv1.2' | 'TLSv1.3'
  /** `request`: a client may come without a certificate, or with one that cannot be verified, and is then nobody. */
  readonly clientAuth: 'none' | 'request' | 'require'
  readonly clientCa: string | null
  /** From the connection, or the end of its PROXY header, to the end of the handshake. */
  readonly handshakeTimeoutMs: number
}

/** Two PEM files. */
export interface PairConfig {
  readonly cert: string
  readonly key: string
}

/** TLS to a cluster's backends. */
export interface UpstreamTlsConfig {
  /** Null: the authorities that Node trusts. */
  readonly ca: string | null
  /** For backends that ask us for a certificate. */
  readonly pair: PairConfig | null
  /** The name asked for and looked for in the certificate; null: the backend's host. */
  readonly serverName: string | null
  /** False: whoever answers is believed. */
  readonly verify: boolean
}

export interface AdminConfig {
  readonly host: string
  readonly port: number
  readonly auth: 'none'
}

export type StoreConfig = { readonly kind: 'memory' } | { readonly kind: 'sqlite'; readonly path: string }

export const driverKinds = ['process', 'qemu', 'cloud_hypervisor', 'firecracker'] as const
export type DriverKind = (typeof driverKinds)[number]

export interface Resources {
  readonly cpus: number
  readonly memoryBytes: number
  readonly diskBytes: number
}

export interface PriceConfig {
  readonly hourly: number
  readonly kind: 'on_demand' | 'reserved' | 'spot'
}

export interface NodeConfig {
  readonly id: string
  readonly driver: DriverKind
  readonly zone: string
  readonly capacity: Resources
  /** Left out or null: nobody said. */
  readonly price?: PriceConfig | null
  /** Where the driver keeps its instances and snapshots (absolute). */
  readonly directory: string
  /** The driver's own options, checked by the driver. */
  readonly options: Readonly<Record<string, unknown>>
  /** Left out: no limits. */
  readonly snapshots?: SnapshotLimits
}

export type BalanceKind = 'round_robin' | 'random' | 'least_request' | 'peak_ewma' | 'consistent_hash'

/** Where a consistent-hashing key is read from. `name` is lower-case for headers. */
export type HashParameter =
  | { readonly from: 'header' | 'cookie' | 'query'; readonly name: string }
  | { readonly from: 'path' }

export type AffinityConfig =
  | { readonly method: 'none' }
  | { readonly method: 'client_ip' }
  | { readonly method: 'cookie'; readonly name: string; readonly ttlSeconds: number }
  | { readonly method: 'consistent_hashing'; readonly parameter: HashParameter }

export interface RouteConfig {
  /** Lower-case host name without a port, or `*`. */
  readonly host: string
  /** Path prefix, starts with `/`. Matches whole segments: `/a` matches `/a` and `/a/b`, not `/ab`. */
  readonly path: string
  readonly timeouts?: Partial<TimeoutsConfig>
  /** Parts of its clients that go to other clusters; the rest stays. Who cannot serve may leave its requests to the others. */
  readonly split?: readonly SplitConfig[]
  readonly splitFallback?: boolean
  readonly mirror?: MirrorConfig
}

export interface SplitConfig {
  readonly cluster: string
  /** Percent of the route's clients; 0 takes no new ones. All parts together are 100 at most. */
  readonly percent: number
}

export interface MirrorConfig {
  readonly cluster: string
  /** Of the route's requests; those with a longer body (left out: with any) are not copied. */
  readonly percent: number
  readonly requestBodyBytes?: number
}

export interface StaticBackendConfig {
  readonly id: string
  readonly host: string
  readonly port: number
  readonly weight: number
  readonly zone?: string | null
}

export interface InstanceConfig {
  readonly driver: DriverKind
  /** The port the application listens on inside its instance. */
  readonly port: number
  readonly resources: Resources
  /** `live`: of an instance that serves, with all its memory. `golden`: of one that was saved before it took traffic. */
  readonly cloneFrom: 'live' | 'golden'
  /** What a golden instance is asked before it is saved. */
  readonly warmRequests: readonly WarmRequest[]
  readonly template: Readonly<Record<string, unknown>>
}

export interface WarmRequest {
  readonly method: 'GET' | 'HEAD' | 'POST'
  /** Path and query. */
  readonly path: string
  readonly expectStatus: readonly StatusRange[]
}

/** How a backend's clients leave. */
export interface DrainConfig {
  /** How long what is left may go on. */
  readonly gracePeriodMs: number
  /** False: do not wait at all, the grace period is zero. */
  readonly waitForConnections: boolean
  /** Bound clients go elsewhere `cut` at once · `repin` at the deadline · `keep` at the deadline, and until then each holds the drain up. */
  readonly sessions: 'keep' | 'repin' | 'cut'
  /** WebSockets are `close` told by the deadline · `cut` broken at the deadline · `keep` left to end by themselves. */
  readonly tunnels: 'keep' | 'close' | 'cut'
  readonly closeCode: CloseCode
  /** The last part of the grace period, over which Close frames are spread. */
  readonly closeSpreadMs: number
}

/** What a WebSocket is told at the end of its time: going away, or service restart (RFC 6455 §7.4.1, and its registry). */
export type CloseCode = 1001 | 1012

/** How the process ends. */
export interface ShutdownConfig {
  /** How long what is in flight may go on. */
  readonly graceMs: number
  /** As for a drain; `keep` stays until the end of the grace period, and is told then. */
  readonly tunnels: 'keep' | 'close' | 'cut'
  readonly closeCode: CloseCode
  readonly closeSpreadMs: number
}

/** Both ends belong to it. */
export interface StatusRange {
  readonly from: number
  readonly to: number
}

export interface HealthConfig {
  readonly type: 'http' | 'tcp' | 'grpc'
  /** `http`: path and query. */
  readonly path: string
  /** The name asked for (`Host`, `:authority`); null: the backend's own address. */
  readonly host: string | null
  /** `grpc`: empty asks after the server as a whole. */
  readonly service: string
  /** `http`: what passes. */
  readonly expectStatus: readonly StatusRange[]
  /** `http`: what passes and says that it is degraded, or that it wants no new clients. */
  readonly degradedStatus: readonly StatusRange[]
  readonly drainingStatus: readonly StatusRange[]
  readonly intervalMs: number
  readonly timeoutMs: number
  readonly healthyThreshold: number
  readonly unhealthyThreshold: number
  /** A check that takes more than this share of its timeout is slow; 0: none is. */
  readonly slowRatio: number
  /** Percent. When fewer backends are healthy, degraded ones take new clients like them. */
  readonly degradedThreshold: number
  /** Percent. When fewer backends are healthy or degraded, health is ignored; 0: never. */
  readonly panicThreshold: number
}

/** When the traffic itself takes a backend out of rotation for a while. */
export interface OutlierConfig {
  /** Failures in a row, as one thread sees them; 0: a row never does. */
  readonly consecutiveFailures: number
  /** Share of the exchanges of an interval; 0: a share never does. */
  readonly failureRatio: number
  /** Exchanges in an interval below which the share says nothing. */
  readonly minRequests: number
  readonly intervalMs: number
  readonly baseEjectionMs: number
  readonly maxEjectionMs: number
  /** Share of the backends that may be out at once. */
  readonly maxEjected: number
}

export interface ScalingPolicy extends RollingPolicy, GrowthPolicy {
  readonly minInstances: number
  readonly maxInstances: number
  readonly targetCpuUtilization: number
  readonly scaleInCooldownSeconds: number
  readonly scaleOutCooldownSeconds: number
  /** Instances that a node drain or a rolling replacement takes away at once. Left out: 1. */
  readonly disruptionBudget?: number
  /** Exchanges under way per remaining instance at which a scale-in is given up; 0: it never is. Left out: 32. */
  readonly scaleInCancelInFlight?: number
  /** `original`: the instance with the longest memory never leaves by a scale-in. Left out: `none`. */
  readonly protect?: 'none' | 'original'
}

export interface TimeoutsConfig {
  /** TCP connect to a backend. */
  readonly connectMs: number
  /** From the request's last byte sent to the response head. */
  readonly headerMs: number
  /** Longest silence in the middle of a body. */
  readonly idleMs: number
  /** Longest silence on a tunnel. */
  readonly tunnelIdleMs: number
}

export interface ClusterConfig {
  readonly id: string
  /** None: it only takes part in the split or mirror of another cluster's route. */
  readonly routes: readonly RouteConfig[]
  readonly balance: BalanceKind
  /** `consistent_hash`: how far above its share of what is under way a member may be; more than 1. */
  readonly hashBalanceFactor: number
  /** How long a member that has just begun to serve takes to its whole share; 0: no time. */
  readonly slowStartMs: number
  readonly zonePreference: 'off' | 'prefer'
  readonly affinity: AffinityConfig
  readonly backends: readonly StaticBackendConfig[]
  /** What its backends speak. */
  readonly protocol: 'http1' | 'h2'
  /** Null: plain text to its backends. */
  readonly tls: UpstreamTlsConfig | null
  /** null: a cluster of static backends only, which does not scale. */
  readonly instance: InstanceConfig | null
  readonly drain: DrainConfig
  readonly health: HealthConfig
  /** null: nobody is ejected. */
  readonly outlier: OutlierConfig | null
  readonly scaling: ScalingPolicy
  /** The keys `scaling.scale_to_zero` and `scaling.warm_pool`: of the file only. */
  readonly standby: StandbyConfig
  readonly timeouts: TimeoutsConfig
  readonly resilience: ResilienceConfig
}

/** What keeps a cluster standing: the keys `retries`, `hedge`, `limits` and `rate_limit`. */
export interface ResilienceConfig {
  readonly retries: RetriesConfig
  /** null: no request is sent twice at once. */
  readonly hedge: HedgeConfig | null
  readonly limits: LimitsConfig
  /** null: clients are not counted. */
  readonly rateLimit: RateLimitConfig | null
}

/** What may be tried again; a number is a status that the backend answered. */
export type RetryCondition = 'connect' | 'reused' | 'reset' | 502 | 503 | 504

export interface RetriesConfig {
  /** Further tries after the first. */
  readonly attempts: number
  readonly on: readonly RetryCondition[]
  /** Which requests may reach the application twice (RFC 9110 §9.2). */
  readonly methods: 'safe' | 'idempotent'
  /** Longest wait for the head of an answer while there is another try; null: `timeouts.header`. */
  readonly perTryTimeoutMs: number | null
  /** Retries to requests, over ten seconds. */
  readonly budgetRatio: number
  readonly budgetMinPerSecond: number
}

export interface HedgeConfig {
  readonly afterMs: number
  readonly maxPercent: number
}

/** Of everything but `pending` and the timeout, 0 is no limit. */
export interface LimitsConfig {
  readonly requests: number
  readonly requestsPerMember: number
  /** Exchanges and tunnels together. */
  readonly connections: number
  /** How many may wait; 0: nobody waits. */
  readonly pending: number
  readonly queueTimeoutMs: number
  readonly requestBodyBytes: number
}

export interface RateLimitConfig {
  readonly requestsPerSecond: number
  readonly burst: number
  /** The header that names a client, in lower case; null: its address. */
  readonly header: string | null
  /** How many clients are told apart. */
  readonly clientsMax: number
}

/** When new requests are refused because this process, not a backend, has too much to do. */
export interface OverloadConfig {
  /** Heap and buffers of all data-plane threads together. `auto` is resolved on load. */
  readonly maxMemoryBytes: number
  readonly maxEventLoopDelayMs: number
  /** Client connections of all threads together. */
  readonly maxConnections: number
}

export interface AccessLogConfig {
  /** Absolute; `-` is standard output. */
  readonly path: string
  readonly format: 'json'
  /** Share of exchanges that are logged, 0 to 1. */
  readonly sample: number
  /** Exchanges that take at least this long are logged whatever the sample. */
  readonly slowMs: number
  /** `always`: exchanges that failed are logged whatever the sample. */
  readonly errors: 'always' | 'sample'
  /** `drop`: without what follows the `?` of targets and referers. */
  readonly query: 'keep' | 'drop'
  readonly userAgent: boolean
  readonly referer: boolean
}

export interface TracingConfig {
  /** A client's valid trace context is taken over and passed on. */
  readonly propagate: boolean
  /** Whether a trace begins here where none came; `auto`: when spans are exported. */
  readonly generate: 'auto' | 'always' | 'never'
  /** Share of traces that are marked as sampled here, 0 to 1. */
  readonly sample: number
  /** Where spans are sent; null: nowhere. */
  readonly otlp: OtlpConfig | null
}

export interface OtlpConfig {
  /** The URL that OTLP/HTTP requests for traces are posted to. */
  readonly endpoint: string
  /** Fields to send along, one `Name: value` a line; absolute. */
  readonly headersFile: string | null
  readonly serviceName: string
  /** Spans name the path only, or the query too. */
  readonly query: 'keep' | 'drop'
}
