/**
 * The routing state of one generation, as plain data that can be posted to a thread. @pure
 *
 * Control compiles it whole, numbers it, posts it to every thread; each thread builds its lookup structures from it, swaps
 * them in by one assignment and acknowledges. An exchange reads the table once. Whom a member admits (health, drain) is
 * *not* in the table: it changes faster than membership and lives on the board.
 */
import type {
  AffinityConfig,
  BalanceKind,
  ResilienceConfig,
  RouteConfig,
  TimeoutsConfig,
  UpstreamTlsConfig,
  WakeConfig,
} from '../config/config.ts'
import type { Lineage } from './lineage.ts'

export interface TableData {
  readonly generation: number
  readonly clusters: readonly TableCluster[]
  /** Newest first: the first signs, all verify. 32-byte keys. */
  readonly affinityKeys: readonly AffinityKey[]
}

export interface TableCluster {
  readonly id: string
  readonly routes: readonly RouteConfig[]
  readonly balance: BalanceKind
  readonly hashBalanceFactor: number
  readonly slowStartMs: number
  /** New clients stay in this zone where they can; null: zones do not matter. */
  readonly preferredZone: string | null
  readonly affinity: AffinityConfig
  readonly timeouts: TimeoutsConfig
  readonly resilience: ResilienceConfig
  /** What its members speak; absent: `http1`. */
  readonly protocol?: 'http1' | 'h2'
  /** Absent or null: plain text. */
  readonly tls?: UpstreamTlsConfig | null
  /** Absent or null: who finds nobody is refused. Otherwise it waits until somebody was made. */
  readonly wake?: WakeConfig | null
  /** Instances that died or left and that live cookies may still name; absent: none. Bounded by who compiles it. */
  readonly lost?: readonly LostMember[]
  /** Incarnations of members for whom a clone stands by: should one refuse a client of its own, the clone is waited for. Absent: none. */
  readonly guarded?: readonly string[]
  readonly members: readonly TableMember[]
}

/** What must still be known of an instance that is gone to find out who has most of its memory. */
export interface LostMember {
  readonly id: string
  readonly incarnation: string
  readonly lineage: Lineage
}

export interface TableMember {
  /** The backend's id: unique within its cluster. */
  readonly id: string
  /** Names this life of the backend: a new instance at an old address has another. Sessions are bound to it. */
  readonly incarnation: string
  readonly host: string
  readonly port: number
  readonly weight: number
  /** Absent or null: nobody said where it is. */
  readonly zone?: string | null
  /** Whose memory it began with; absent: nobody's. */
  readonly lineage?: Lineage
  /** Where its live facts are on the board. */
  readonly slot: number
  readonly epoch: number
}

export interface AffinityKey {
  /** 1 … 255, in the clear in each cookie so that the right key is tried. */
  readonly id: number
  readonly key: Uint8Array
}
