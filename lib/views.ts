/** What the admin API shows of clusters and nodes: plain JSON in the wire's names. @pure */
import type { BackendView } from './cluster/backend.ts'
import type { PriceConfig } from './config/config.ts'
import type { PolicyView } from './policy.ts'
import type { OperationView } from './scaling/operation.ts'
import type { NodeDrainView } from './scaling/placement/node-drains.ts'
import type { NodeState, OrphanView } from './scaling/placement/node-facts.ts'
import type { ReadyView } from './scaling/readiness/ready.ts'

export interface ClusterView {
  readonly cluster_id: string
  readonly routes: readonly { readonly host: string; readonly path: string }[]
  readonly balance: string
  readonly affinity: string
  readonly scalable: boolean
  readonly driver: string | null
  readonly scaling: PolicyView | null
  readonly instances: number
  readonly backends: number
  readonly generation: number
}

/** The policy in force. */
export interface PolicyAnswer extends PolicyView {
  readonly cluster_id: string
  /** Who set it last. */
  readonly source: 'file' | 'api'
  readonly set_by: string | null
  /** ISO 8601. */
  readonly set_at: string | null
}

export interface ClusterStatus extends ReadyView {
  readonly cluster_id: string
  readonly instances: number
  /** How many it is brought back to when some die. */
  readonly wanted: number
  readonly scaling_status: 'stable' | 'scaling' | 'failed'
  readonly health_status: 'healthy' | 'degraded' | 'unhealthy'
  /** So few backends are well that health is ignored. */
  readonly panic: boolean
  readonly generation: number
  readonly last_operation: {
    readonly id: string
    readonly type: string
    readonly status: string
    readonly completed_at: string | null
  } | null
}

export interface ResourcesView {
  readonly cpus: number
  readonly memory_bytes: number
  readonly disk_bytes: number
}

export interface NodeView {
  readonly node_id: string
  readonly driver: string
  readonly zone: string
  readonly state: NodeState
  readonly reachable: boolean
  readonly reason: string | null
  readonly capacity: ResourcesView
  /** Each instance counted at its full size; null: it could not be asked. */
  readonly free: ResourcesView | null
  /** To operations under way, and taken from what is free. */
  readonly promised: ResourcesView
  readonly price: PriceConfig | null
  /** Exchanges and tunnels on its instances. */
  readonly load: number
  /** Null: it is not being drained. */
  readonly drain: NodeDrainView | null
  /** ISO 8601: since when it cannot be asked; null: it can. */
  readonly unknown_since: string | null
  /** As the last round of reconcile left them. */
  readonly orphans: readonly OrphanView[]
  readonly instances: readonly {
    readonly id: string
    readonly cluster: string
    readonly state: string
    readonly pid: number | null
    readonly resident_bytes: number | null
  }[]
  readonly snapshots: readonly {
    readonly id: string
    readonly cluster: string
    readonly bytes: number
    readonly complete: boolean
  }[]
}

/** A certificate that is in use. Times are ISO 8601. */
export interface CertificateView {
  /** As the configuration names it: `listeners[0].tls`. */
  readonly used_for: string
  readonly names: readonly string[]
  readonly not_after: string
  readonly file: string
  /** When its file was read. */
  readonly loaded_at: string
  readonly fingerprint_sha256: string
}

/** What a reload did. */
export interface ReloadView {
  /** False: the configuration says what it said before. */
  readonly changed: boolean
  /** One sentence each. */
  readonly changes: readonly string[]
  /** Backends that the configuration does not name any more, and that are being drained. */
  readonly leaving: readonly { readonly cluster_id: string; readonly backend_id: string }[]
  readonly generation: number
}

/** What `/metrics` answers. */
export interface MetricsText {
  readonly contentType: string
  readonly text: string
}

/** What came of a command. Exactly one field says it. */
export type CommandResult =
  | { readonly result: 'operation'; readonly operation: OperationView }
  | { readonly result: 'unchanged'; readonly cluster: ClusterStatus; readonly message: string }
  | { readonly result: 'backend'; readonly backend: BackendView }
  | { readonly result: 'removed' }
  | { readonly result: 'node'; readonly node: NodeView }
  | { readonly result: 'policy'; readonly policy: PolicyAnswer }
  | { readonly result: 'reloaded'; readonly reload: ReloadView }
