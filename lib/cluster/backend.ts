/**
 * A backend as control sees it, and what is asked of it in a drain. @pure
 *
 *             health passes          drain                 nothing left
 *   warming ────────────────► ready ───────► draining ───────────────────► drained
 *      │                      ▲  │ ▲            │ ready                       │ ready
 *      │ checks fail          │  │ └────────────┴─────────────────────────────┘
 *      └────────► down ◄──────┼──┘ checks fail, ejected    maint (from any state)
 *                   └─────────┘ checks pass, time over     ───────────────► maint ── ready ──► warming
 *
 * `drain` is the operator's, scaling's or the application's own wish. A cluster in panic has nobody `down`.
 */
import type { DrainConfig } from '../config/config.ts'
import type { Eligibility } from './board.ts'
import type { SelfReport } from './health.ts'
import type { Lineage } from './lineage.ts'

export type BackendState = 'warming' | 'ready' | 'draining' | 'drained' | 'maint' | 'down'
export type HealthStatus = 'unknown' | 'healthy' | 'degraded' | 'unhealthy'

/** How well it is, with where that comes from. */
export interface HealthView {
  readonly status: HealthStatus
  readonly reason: string
  readonly since_ms: number
  /** What the application last said of itself. */
  readonly says: SelfReport
  /** Unhealthy, and its checks met nothing but silence: nobody refused, nobody answered badly. */
  readonly silent: boolean
  /** ISO 8601: until when its failed exchanges keep it out of rotation; null: they do not. */
  readonly ejected_until: string | null
  /** The newest last. */
  readonly history: readonly HealthChange[]
}

export interface HealthChange {
  /** ISO 8601. */
  readonly at: string
  readonly from: HealthStatus
  readonly to: HealthStatus
  readonly reason: string
}

/** A row of `GET /clusters/{c}/backends`; every field is plain JSON. */
export interface BackendView {
  readonly id: string
  readonly host: string
  readonly port: number
  readonly incarnation: string
  readonly state: BackendState
  readonly health: HealthView
  /** Whom it takes: everyone; new clients only where nobody else does (`spare`); bound clients; nobody. */
  readonly admits: Eligibility
  /** Exchanges under way, over all threads. */
  readonly in_flight: number
  readonly tunnels: number
  /** Live sessions bound to it; null where the affinity method does not let anyone count them. */
  readonly sessions: number | null
  readonly weight: number
  /** Where it is, for a preference of zones; null: nobody said. */
  readonly zone: string | null
  /** Exchanges since it was registered. */
  readonly requests: number
  /** Those that got no answer: no connection, a reset, a timeout, an answer that is not one. */
  readonly failures: number
  /** Those that got an answer of 500 or above. */
  readonly server_errors: number
  /** The instance that serves as this backend; null for a static one. */
  readonly instance: {
    readonly node: string
    /** Scale-in leaves it alone. Absent: nobody said so. */
    readonly protected?: boolean
    /** Its own, where they are not its cluster's any more. */
    readonly resources?: { readonly cpus: number; readonly memory_bytes: number; readonly disk_bytes: number }
    /** Whose memory it began with, the nearest first; empty: it was booted from nothing, or nobody knows. Absent: nobody asked. */
    readonly lineage?: readonly AncestorView[]
  } | null
}

/** One snapshot that an instance's memory goes back to. */
export interface AncestorView {
  readonly instance_id: string
  /** ISO 8601: the instant of the snapshot. What came later is not in the copy. */
  readonly as_of: string
  /** Of a golden snapshot: no client had been there. */
  readonly golden: boolean
}

export interface NewBackend {
  readonly id: string
  readonly host: string
  readonly port: number
  readonly weight: number
  readonly incarnation: string
  readonly instance: { readonly node: string } | null
  /** Where it is: an instance's node's. Absent or null: nobody said. */
  readonly zone?: string | null
  /** Whose memory it began with, as far as clients had been in it; absent: nobody's. */
  readonly lineage?: Lineage
  /** True where somebody has just seen it healthy: it starts `ready` instead of `warming`. */
  readonly verified: boolean
  readonly mark: 'drain' | 'maint' | null
  /** Closed to new clients by scaling from the first moment on. */
  readonly fenced?: boolean
}

/** How a backend's clients leave: the cluster's own settings, or those of one drain. */
export type DrainPolicy = DrainConfig

/** What is left on a backend: the proof that goes with the word "drained". */
export interface DrainProof {
  /** Nothing is left that the drain waits for. */
  readonly drained: boolean
  readonly in_flight: number
  readonly tunnels: number
  /** Sessions still bound to it that would come back; null where they cannot be counted. Only `sessions: keep` waits for them. */
  readonly sessions: number | null
  /** Absent where no tunnel is left, or no thread said in time. */
  readonly oldest_tunnel_seconds?: number
  /** ISO 8601: when what is left is ended; null where no drain is under way. */
  readonly deadline_at: string | null
  readonly waited_ms: number
  /** True when the deadline came before everything had left by itself. */
  readonly deadline_reached: boolean
}
