/**
 * The configuration as the rest of the program sees it: checked, defaulted, frozen, with units in its names. @pure
 * The file format (snake_case, `30s`, `512MiB`) is described in `schema.ts`, which produces these types.
 */
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
  readonly clusters: readonly ClusterConfig[]
  /** How long SIGTERM waits for what is in flight. */
  readonly shutdownGraceMs: number
}

export interface ListenerConfig {
  readonly host: string
  readonly port: number
  /** What carries HTTP/1.1: our own relay, or `http-proxy-3`. Left out: `relay`. */
  readonly engine?: 'relay' | 'http-proxy-3'
}

export interface AdminConfig {
  readonly host: string
  readonly port: number
  readonly auth: 'none'
}

export type StoreConfig = { readonly kind: 'memory' } | { readonly kind: 'sqlite'; readonly path: string }

export type DriverKind = 'process' | 'qemu'

export interface Resources {
  readonly cpus: number
  readonly memoryBytes: number
  readonly diskBytes: number
}

export interface NodeConfig {
  readonly id: string
  readonly driver: DriverKind
  readonly zone: string
  readonly capacity: Resources
  /** Where the driver keeps its instances and snapshots (absolute). */
  readonly directory: string
  /** The driver's own options, checked by the driver. */
  readonly options: Readonly<Record<string, unknown>>
}

export type BalanceKind = 'round_robin' | 'random' | 'least_request'

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
}

export interface StaticBackendConfig {
  readonly id: string
  readonly host: string
  readonly port: number
  readonly weight: number
}

export interface InstanceConfig {
  readonly driver: DriverKind
  /** The port the application listens on inside its instance. */
  readonly port: number
  readonly resources: Resources
  readonly cloneFrom: 'live' | 'golden'
  readonly template: Readonly<Record<string, unknown>>
}

export interface DrainConfig {
  readonly gracePeriodMs: number
  readonly waitForConnections: boolean
  readonly notifyClients: boolean
}

export interface HealthConfig {
  readonly path: string
  readonly intervalMs: number
  readonly timeoutMs: number
  readonly healthyThreshold: number
  readonly unhealthyThreshold: number
}

export interface ScalingPolicy {
  readonly minInstances: number
  readonly maxInstances: number
  readonly targetCpuUtilization: number
  readonly scaleInCooldownSeconds: number
  readonly scaleOutCooldownSeconds: number
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
  readonly routes: readonly RouteConfig[]
  readonly balance: BalanceKind
  readonly affinity: AffinityConfig
  readonly backends: readonly StaticBackendConfig[]
  /** null: a cluster of static backends only, which does not scale. */
  readonly instance: InstanceConfig | null
  readonly drain: DrainConfig
  readonly health: HealthConfig
  readonly scaling: ScalingPolicy
  readonly timeouts: TimeoutsConfig
}
