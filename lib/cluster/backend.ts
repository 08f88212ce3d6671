/**
 * A backend as control sees it, and what is asked of it in a drain. @pure
 *
 *             health passes          drain                 nothing left
 *   warming ────────────────► ready ───────► draining ───────────────────► drained
 *      │                      ▲  │ ▲            │ ready                       │ ready
 *      │ checks fail          │  │ └────────────┴─────────────────────────────┘
 *      └────────► down ◄──────┼──┘ checks fail            maint (from any state)
 *                   └─────────┘ checks pass               ───────────────► maint ── ready ──► warming
 */
export type BackendState = 'warming' | 'ready' | 'draining' | 'drained' | 'maint' | 'down'
export type HealthStatus = 'unknown' | 'healthy' | 'unhealthy'

/** A row of `GET /clusters/{c}/backends`; every field is plain JSON. */
export interface BackendView {
  readonly id: string
  readonly host: string
  readonly port: number
  readonly incarnation: string
  readonly state: BackendState
  readonly health: { readonly status: HealthStatus; readonly reason: string; readonly since_ms: number }
  /** Exchanges under way, over all threads. */
  readonly in_flight: number
  readonly tunnels: number
  /** Live sessions bound to it; null where the affinity method does not let anyone count them. */
  readonly sessions: number | null
  readonly weight: number
  /** Exchanges since it was registered. */
  readonly requests: number
  readonly failures: number
  /** The instance that serves as this backend; null for a static one. */
  readonly instance: { readonly node: string } | null
}

export interface NewBackend {
  readonly id: string
  readonly host: string
  readonly port: number
  readonly weight: number
  readonly incarnation: string
  readonly instance: { readonly node: string } | null
  /** True where somebody has just seen it healthy: it starts `ready` instead of `warming`. */
  readonly verified: boolean
  readonly mark: 'drain' | 'maint' | null
}

export interface DrainPolicy {
  /** How long what is left may go on, milliseconds. */
  readonly gracePeriodMs: number
  /** False: do not wait at all, the grace period is zero. */
  readonly waitForConnections: boolean
  /** True: WebSocket clients get close 1001 at the deadline; false: they are cut at the deadline. */
  readonly notifyClients: boolean
}

/** What is left on a backend: the proof that goes with the word "drained". */
export interface DrainProof {
  readonly drained: boolean
  readonly in_flight: number
  readonly tunnels: number
  /** Sessions still bound to it that would come back; null where they cannot be counted. They do not hold a drain up. */
  readonly sessions: number | null
  readonly waited_ms: number
  /** True when the deadline came before everything had left by itself. */
  readonly deadline_reached: boolean
}
