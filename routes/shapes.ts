/**
 * The shapes of what the admin API answers, once, for the OpenAPI document and for the tests that hold answers against it. @pure
 * Each is tied to the type that control gives, so the two cannot part.
 */
import type { BackendView, DrainProof } from '../lib/cluster/backend.ts'
import { type ErrorCode, errorTable } from '../lib/errors.ts'
import type { StampedEvent } from '../lib/events.ts'
import type { Diagnosis } from '../lib/hypervisor/driver.ts'
import { phases } from '../lib/phases.ts'
import { type PolicyView, protections } from '../lib/policy.ts'
import type { OperationView } from '../lib/scaling/operation.ts'
import type { SnapshotView } from '../lib/scaling/readiness/snapshots.ts'
import { z } from '../lib/schema.ts'
import type { Json } from '../lib/store/store.ts'
import type {
  CertificateView,
  ClusterStatus,
  ClusterView,
  NodeView,
  PolicyAnswer,
  ReloadView,
} from '../lib/views.ts'

const count = z.number().int().min(0)
const time = z.string().meta({ description: 'ISO 8601, UTC.' })
const json = z.unknown().meta({ description: 'Any JSON.' }) as unknown as z.ZodType<Json>

const policyFields = {
  min_instances: count,
  max_instances: count,
  target_cpu_utilization: z.number(),
  scale_in_cooldown_seconds: z.number(),
  scale_out_cooldown_seconds: z.number(),
  disruption_budget: count,
  rolling_pause_seconds: count,
  rolling_max_failure_ratio: z.number(),
  scale_in_cancel_in_flight: count,
  resize_first_cpus: count,
  resize_first_memory_mib: count,
  protect: z.enum(protections),
}
const policy: z.ZodType<PolicyView> = z.strictObject(policyFields)

export const policyAnswerShape: z.ZodType<PolicyAnswer> = z.strictObject({
  cluster_id: z.string(),
  ...policyFields,
  source: z.enum(['file', 'api']).meta({ description: 'Who set it last.' }),
  set_by: z.string().nullable(),
  set_at: time.nullable(),
})

export const clusterShape: z.ZodType<ClusterView> = z.strictObject({
  cluster_id: z.string(),
  routes: z.array(z.strictObject({ host: z.string(), path: z.string() })),
  balance: z.string(),
  affinity: z.string(),
  scalable: z.boolean(),
  driver: z.string().nullable(),
  scaling: policy.nullable(),
  instances: count,
  backends: count,
  generation: count,
})

export const statusShape: z.ZodType<ClusterStatus> = z.strictObject({
  cluster_id: z.string(),
  instances: count,
  wanted: count.meta({ description: 'How many it is brought back to when some die.' }),
  scaling_status: z.enum(['stable', 'scaling', 'failed']),
  health_status: z.enum(['healthy', 'degraded', 'unhealthy']),
  panic: z.boolean().meta({ description: 'So few backends are well that health is ignored.' }),
  generation: count,
  last_operation: z
    .strictObject({ id: z.string(), type: z.string(), status: z.string(), completed_at: time.nullable() })
    .nullable(),
  golden: z
    .strictObject({ snapshot: z.string(), node: z.string(), bytes: count, made_at: time })
    .nullable()
    .meta({ description: 'What new instances are clones of; null where there is none that fits.' }),
  warm_pool: z
    .strictObject({
      size: count,
      state: z.enum(['paused', 'ready']),
      ready: count.meta({ description: 'Could be taken now.' }),
      instances: z.array(z.string()),
    })
    .nullable(),
  standby: z
    .array(
      z.strictObject({
        instance_id: z.string(),
        of: z.string().meta({ description: 'Whose place it takes when that dies.' }),
        as_of: time.nullable().meta({ description: 'The instant of its memory; null: it is not ready.' }),
      }),
    )
    .exactOptional()
    .meta({ description: 'Clones that stand by; left out where none are asked for.' }),
})

const resources = z.strictObject({ cpus: z.number(), memory_bytes: z.number(), disk_bytes: z.number() })

const healthStatus = z.enum(['unknown', 'healthy', 'degraded', 'unhealthy'])

const backendFields = {
  id: z.string(),
  host: z.string(),
  port: z.number().int(),
  incarnation: z.string().meta({ description: 'Changes when another instance takes the address.' }),
  state: z.enum(['warming', 'ready', 'draining', 'drained', 'maint', 'down']),
  health: z.strictObject({
    status: healthStatus,
    reason: z.string(),
    since_ms: z.number(),
    says: z
      .enum(['ready', 'degraded', 'draining'])
      .meta({ description: 'What the application last said of itself.' }),
    silent: z.boolean().meta({ description: 'Unhealthy, and its checks met nothing but silence.' }),
    ejected_until: time
      .nullable()
      .meta({ description: 'Until when its failed exchanges keep it out of rotation.' }),
    history: z
      .array(z.strictObject({ at: time, from: healthStatus, to: healthStatus, reason: z.string() }))
      .meta({ description: 'The last 20 changes, the newest last.' }),
  }),
  admits: z.enum(['any', 'spare', 'bound', 'none']).meta({
    description: 'Whom it takes: everyone; new clients only where nobody else does; bound clients; nobody.',
  }),
  in_flight: count.meta({ description: 'Exchanges under way.' }),
  tunnels: count.meta({ description: 'Upgraded connections.' }),
  sessions: count
    .nullable()
    .meta({ description: 'Live sessions bound to it; null where they cannot be counted.' }),
  weight: z.number(),
  zone: z.string().nullable().meta({ description: 'Where it is, for `zone_preference`; null: nobody said.' }),
  requests: count,
  failures: count.meta({ description: 'Exchanges that it did not answer.' }),
  server_errors: count.meta({ description: 'Exchanges that it answered with 500 or above.' }),
  instance: z
    .strictObject({
      node: z.string(),
      protected: z.boolean().exactOptional().meta({ description: 'Scale-in leaves it alone.' }),
      resources: resources
        .exactOptional()
        .meta({ description: "Its own, where they are not its cluster's any more." }),
      lineage: z
        .array(
          z.strictObject({
            instance_id: z.string(),
            as_of: time.meta({
              description: 'The instant of the snapshot; what came later is not in the copy.',
            }),
            golden: z.boolean().meta({ description: 'Of a golden snapshot: no client had been there.' }),
          }),
        )
        .exactOptional()
        .meta({ description: "Whose memory it began with, the nearest first; empty: nobody's." }),
    })
    .nullable(),
}

export type BackendRow = BackendView & { readonly address: string }

export const backendShape: z.ZodType<BackendRow> = z.strictObject({
  ...backendFields,
  address: z.string().meta({ description: '`host:port`, or `[IPv6]:port`.' }),
})

export const proofShape: z.ZodType<DrainProof> = z.strictObject({
  drained: z.boolean(),
  in_flight: count,
  tunnels: count,
  sessions: count.nullable(),
  oldest_tunnel_seconds: count.exactOptional().meta({ description: 'Left out where no tunnel is left.' }),
  deadline_at: time
    .nullable()
    .meta({ description: 'When what is left is ended; null where no drain is under way.' }),
  waited_ms: z.number(),
  deadline_reached: z.boolean(),
})

export const reloadShape: z.ZodType<ReloadView> = z.strictObject({
  changed: z.boolean(),
  changes: z.array(z.string()).meta({ description: 'One sentence each.' }),
  leaving: z
    .array(z.strictObject({ cluster_id: z.string(), backend_id: z.string() }))
    .meta({ description: 'Not named any more, and being drained.' }),
  generation: count,
})

const errorFields = { code: z.string(), message: z.string(), details: json }

const phase = z.enum(phases)

const rolling = z.strictObject({
  batches: count,
  batch: count.meta({ description: 'The one it is at, from 1; 0: none yet.' }),
  passed: count.meta({ description: 'Batches that passed and were not taken back.' }),
  rows: z.array(
    z.strictObject({
      batch: count,
      status: z.enum(['waiting', 'running', 'passed', 'failed', 'taking_back', 'taken_back']),
      instances: z.array(z.string()),
      operation_id: z.string().nullable().meta({ description: 'The newest operation that works on it.' }),
      replaced_by: z.array(z.string()),
      checkpoint: z
        .strictObject({
          exchanges: count,
          failed: count,
          failure_ratio: z.number(),
          max_failure_ratio: z.number(),
          waited_ms: z.number(),
        })
        .nullable(),
    }),
  ),
})

const operationFields = {
  id: z.string(),
  cluster_id: z.string(),
  type: z
    .string()
    .meta({ description: '`scale_out`, `scale_in`, `replace`, `rolling_replace`, `resize`, `failover`.' }),
  status: z.enum(['running', 'stuck', 'completed', 'failed', 'cancelled']).meta({
    description: '`stuck`: not ended; it waits until what stops it is mended, or somebody acknowledges it.',
  }),
  phase: phase.meta({ description: 'For people; derived from the journal.' }),
  request: json,
  actor: z.string(),
  created_at: time,
  completed_at: time.nullable(),
  error: z.strictObject(errorFields).nullable(),
  phases: z.array(
    z.strictObject({
      phase,
      started_at: time,
      ended_at: time.nullable(),
      duration_ms: z.number().nullable(),
      attempts: count.meta({ description: 'How often a step of it was started.' }),
      outcome: z.enum(['running', 'left', 'failed', 'cancelled', 'end']),
    }),
  ),
  steps: z.array(
    z.strictObject({
      step: z.string(),
      status: z.string(),
      started_at: time,
      ended_at: time.nullable(),
      duration_ms: z.number().nullable(),
      attempts: count.meta({ description: 'How often it was started.' }),
      data: json,
    }),
  ),
  instances: z.array(z.string()).meta({ description: 'Instances that it made or removed.' }),
  rolling: rolling.exactOptional().meta({ description: 'Of a rolling replace: how far it has come.' }),
}

export const operationShape = z.strictObject(operationFields) satisfies z.ZodType<OperationView>
/** The same with `operation_id`, the name under which a scaling request answers it. */
export const startedShape = z.strictObject({ operation_id: z.string(), ...operationFields })
export const unchangedShape = z.strictObject({
  operation_id: z.null(),
  unchanged: z.literal(true),
  message: z.string(),
  cluster: statusShape,
})

export const deploymentShape = z.strictObject({
  success: z.boolean(),
  deployment_id: z.string(),
  status: z.string(),
  replicas: count,
  message: z.string(),
})

export const nodeShape: z.ZodType<NodeView> = z.strictObject({
  node_id: z.string(),
  driver: z.string(),
  zone: z.string(),
  state: z.enum(['ready', 'draining', 'drained', 'unreachable']),
  reachable: z.boolean(),
  reason: z.string().nullable(),
  capacity: resources,
  free: resources
    .nullable()
    .meta({ description: 'Each instance counted at its full size; null: it could not be asked.' }),
  promised: resources.meta({ description: 'To operations under way, and taken from what is free.' }),
  price: z.strictObject({ hourly: z.number(), kind: z.enum(['on_demand', 'reserved', 'spot']) }).nullable(),
  load: count.meta({ description: 'Exchanges and tunnels on its instances.' }),
  drain: z
    .strictObject({
      requested_by: z.string(),
      requested_at: time,
      drained_at: time.nullable(),
      instances: count.meta({ description: 'On it when it was asked.' }),
      left: count,
      operations: z.array(z.string()).meta({ description: 'Under way, to empty it.' }),
      blocked: z.array(z.strictObject({ cluster_id: z.string(), code: z.string(), message: z.string() })),
    })
    .nullable(),
  unknown_since: time.nullable().meta({ description: 'Since when it cannot be asked; null: it can.' }),
  orphans: z
    .array(
      z.strictObject({
        id: z.string(),
        kind: z.enum(['instance', 'snapshot']),
        cluster: z.string(),
        operation: z.string(),
        created_at: time,
        collect_at: time
          .nullable()
          .meta({ description: 'When it is destroyed; null: not as long as `why` holds.' }),
        why: z.string().nullable().meta({ description: 'Why not yet; null: in the next round.' }),
      }),
    )
    .meta({ description: 'Carry our tag and nobody claims them, as the last round of reconcile left them.' }),
  instances: z.array(
    z.strictObject({
      id: z.string(),
      cluster: z.string(),
      state: z.string(),
      pid: z.number().nullable(),
      resident_bytes: z.number().nullable(),
    }),
  ),
  snapshots: z.array(
    z.strictObject({ id: z.string(), cluster: z.string(), bytes: z.number(), complete: z.boolean() }),
  ),
})

export const snapshotShape: z.ZodType<SnapshotView> = z.strictObject({
  id: z.string(),
  cluster_id: z.string(),
  node_id: z.string(),
  kind: z.enum(['golden', 'operation']),
  source: z.string().meta({ description: 'What it was taken of.' }),
  bytes: count,
  complete: z.boolean().meta({ description: 'Nothing is started from one that is not.' }),
  created_at: time,
  used_by: z.array(
    z.strictObject({ kind: z.enum(['golden', 'operation', 'warm_pool', 'instance']), id: z.string() }),
  ),
})

export const certificateShape: z.ZodType<CertificateView> = z.strictObject({
  used_for: z.string(),
  names: z.array(z.string()),
  not_after: z.string(),
  file: z.string(),
  loaded_at: z.string(),
  fingerprint_sha256: z.string(),
})

export const diagnosisShape = z.strictObject({
  name: z.string(),
  ok: z.boolean(),
  detail: z.string(),
  fix: z.string().optional(),
  advice: z.literal(true).optional(),
  code: z.enum(Object.keys(errorTable) as [ErrorCode, ...ErrorCode[]]).optional(),
}) satisfies z.ZodType<{ [K in keyof Diagnosis]: Diagnosis[K] | undefined }>

export const historyShape = z.strictObject({
  cluster_id: z.string().nullable().meta({ description: 'Null: of a node, or of the whole.' }),
  node_id: z.string().nullable(),
  backend_id: z
    .string()
    .nullable()
    .meta({ description: 'The backend or instance that an operator acted on.' }),
  at: time,
  actor: z.string(),
  action: z.string().nullable().meta({ description: 'What was asked, or what happened by itself.' }),
  from: json,
  to: json,
  reason: z.string(),
  outcome: z
    .enum(['done', 'failed', 'cancelled', 'refused'])
    .nullable()
    .meta({ description: 'Null in lines of former versions.' }),
  operation_id: z.string().nullable(),
})

export const eventShape = z
  .strictObject({ seq: count, at: time, event: z.looseObject({ type: z.string() }) })
  .meta({ description: 'One message of the event stream.' }) satisfies z.ZodType<
  Pick<StampedEvent, 'seq' | 'at'>
>

export const errorShape = z.strictObject({ error: z.strictObject(errorFields) })
