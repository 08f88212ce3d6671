/**
 * A control that remembers what it was asked and answers what the test says: for parsing, statuses and rendering only.
 * It keeps no rules; the real control's are tested with the real parts.
 */
import type { BackendView, DrainProof } from '../../lib/cluster/backend.ts'
import type { Command } from '../../lib/command.ts'
import { TidegateError } from '../../lib/errors.ts'
import { Events } from '../../lib/events.ts'
import { type PolicyView, policyDefaults } from '../../lib/policy.ts'
import type { OperationView } from '../../lib/scaling/operation.ts'
import type { SnapshotView } from '../../lib/scaling/readiness/snapshots.ts'
import type { HistoryRecord } from '../../lib/store/store.ts'
import type { ClusterStatus, ClusterView, CommandResult, NodeView, PolicyAnswer } from '../../lib/views.ts'
import type { ControlPort } from '../../routes/ports.ts'

export const anOperation = (over: Partial<OperationView> = {}): OperationView => ({
  id: 'op1',
  cluster_id: 'web',
  type: 'scale_out',
  status: 'running',
  phase: 'preparing',
  request: { target_count: 3 },
  actor: 'api',
  created_at: '2026-01-02T03:04:05.000Z',
  completed_at: null,
  error: null,
  phases: [],
  steps: [
    {
      step: 'prepare',
      status: 'done',
      started_at: '2026-01-02T03:04:05.000Z',
      ended_at: '2026-01-02T03:04:05.250Z',
      duration_ms: 250,
      attempts: 1,
      data: {},
    },
  ],
  instances: [],
  ...over,
})

export const completed = (over: Partial<OperationView> = {}): OperationView =>
  anOperation({ status: 'completed', phase: 'completed', completed_at: '2026-01-02T03:04:06.500Z', ...over })

export const aBackend = (over: Partial<BackendView> = {}): BackendView => ({
  id: 'a',
  host: '127.0.0.1',
  port: 8081,
  incarnation: 'x',
  state: 'ready',
  health: {
    status: 'healthy',
    reason: '200',
    since_ms: 5,
    says: 'ready',
    silent: false,
    ejected_until: null,
    history: [],
  },
  admits: 'any',
  in_flight: 2,
  tunnels: 1,
  sessions: 7,
  weight: 1,
  zone: null,
  requests: 40,
  failures: 0,
  server_errors: 0,
  instance: null,
  ...over,
})

export const aStatus = (over: Partial<ClusterStatus> = {}): ClusterStatus => ({
  cluster_id: 'web',
  instances: 2,
  wanted: 2,
  scaling_status: 'stable',
  health_status: 'healthy',
  panic: false,
  generation: 4,
  last_operation: null,
  golden: null,
  warm_pool: null,
  ...over,
})

export const aPolicy: PolicyView = {
  min_instances: 1,
  max_instances: 10,
  target_cpu_utilization: 0.6,
  scale_in_cooldown_seconds: 300,
  scale_out_cooldown_seconds: 60,
  ...policyDefaults,
}

const cluster: ClusterView = {
  cluster_id: 'web',
  routes: [{ host: '*', path: '/' }],
  balance: 'least_request',
  affinity: 'cookie',
  scalable: true,
  driver: 'process',
  scaling: aPolicy,
  instances: 2,
  backends: 1,
  generation: 4,
}

const some = { cpus: 2, memory_bytes: 2 ** 30, disk_bytes: 2 ** 30 }

export const aNode = (over: Partial<NodeView> = {}): NodeView => ({
  ...{ node_id: 'local', driver: 'process', zone: 'a', state: 'ready', reachable: true, reason: null },
  ...{
    capacity: some,
    free: some,
    promised: some,
    price: { hourly: 0.5, kind: 'spot' },
    load: 3,
    drain: null,
    unknown_since: null,
    orphans: [],
  },
  instances: [{ id: 'web-1', cluster: 'web', state: 'running', pid: 5, resident_bytes: 100 }],
  snapshots: [],
  ...over,
})

export const aProof: DrainProof = {
  drained: true,
  in_flight: 0,
  tunnels: 0,
  sessions: 3,
  deadline_at: '2026-01-02T03:04:35.000Z',
  waited_ms: 120,
  deadline_reached: false,
}

export class FakeControl implements ControlPort {
  readonly asked: { command: Command; actor: string }[] = []
  readonly waits: { id: string; timeoutMs: number }[] = []
  readonly filters: unknown[] = []
  readonly eventLog = new Events(() => Date.UTC(2026, 0, 2))
  /** What a command comes to; by default what its kind normally gives. */
  onExecute: (command: Command) => CommandResult | Promise<CommandResult> = resultOf
  onWait: (id: string) => OperationView | Promise<OperationView> = () => completed()
  onOperation: (id: string) => OperationView = () => anOperation()
  onDrained: () => DrainProof | Promise<DrainProof> = () => aProof
  onNode: () => NodeView = () => aNode()
  isReady = true

  async execute(command: Command, actor: string): Promise<CommandResult> {
    this.asked.push({ command, actor })
    return this.onExecute(command)
  }
  async waitOperation(id: string, timeoutMs: number): Promise<OperationView> {
    this.waits.push({ id, timeoutMs })
    return this.onWait(id)
  }
  async waitDrained(clusterId: string, backend: string, timeoutMs: number): Promise<DrainProof> {
    this.waits.push({ id: `${clusterId}/${backend}`, timeoutMs })
    return this.onDrained()
  }
  clusters(): readonly ClusterView[] {
    return [cluster]
  }
  cluster(id: string): ClusterView {
    known(id)
    return cluster
  }
  async status(id: string): Promise<ClusterStatus> {
    known(id)
    return aStatus()
  }
  backends(id: string): readonly BackendView[] {
    known(id)
    return [aBackend()]
  }
  backend(id: string): BackendView {
    known(id)
    return aBackend()
  }
  async operations(filter: object): Promise<readonly OperationView[]> {
    this.filters.push(filter)
    return [anOperation(), completed({ id: 'op0' })]
  }
  async operation(id: string): Promise<OperationView> {
    return this.onOperation(id)
  }
  async history(id: string | null, limit: number): Promise<readonly HistoryRecord[]> {
    if (id !== null) known(id)
    this.filters.push({ limit })
    const scaled = { action: 'scale_out', operation: 'op0', outcome: 'done' } as const
    const reason = 'Scaled up from 3 to 5 replicas (2 added)'
    const at = { atMs: Date.UTC(2026, 0, 2), actor: 'cli' }
    const line = { cluster: id ?? 'web', ...at, ...scaled, from: 3, to: 5, reason }
    const old = { cluster: null, node: 'local', ...at, from: null, to: null, reason: 'Something long ago' }
    return id === null ? [line, old] : [line]
  }
  policy(id: string): PolicyAnswer {
    known(id)
    return { cluster_id: id, ...cluster.scaling!, source: 'file', set_by: null, set_at: null }
  }
  async snapshots(): Promise<readonly SnapshotView[]> {
    return [
      {
        id: 'web-1abc-golden',
        cluster_id: 'web',
        node_id: 'local',
        kind: 'golden',
        source: 'web-1abc-1',
        bytes: 3_145_728,
        complete: true,
        created_at: '2026-01-02T03:04:05.000Z',
        used_by: [{ kind: 'golden', id: 'web' }],
      },
    ]
  }

  async nodes(): Promise<readonly NodeView[]> {
    return [this.onNode()]
  }
  async node(id: string): Promise<NodeView> {
    if (id !== 'local') throw new TidegateError('unknown_node', `There is no node \`${id}\`.`)
    return this.onNode()
  }
  async waitNodeDrained(id: string, timeoutMs: number): Promise<NodeView> {
    this.waits.push({ id, timeoutMs })
    return this.onNode()
  }
  certificates() {
    const times = { not_after: '2026-01-20T00:00:00.000Z', loaded_at: '2026-01-01T00:00:00.000Z' }
    const where = { used_for: 'listeners[0].tls', names: ['shop.test'], file: '/etc/shop.crt' }
    return [{ ...where, ...times, fingerprint_sha256: 'ab'.repeat(32) }]
  }
  async diagnose() {
    return [
      { name: 'node', ok: true, detail: 'fine' },
      { name: 'qemu', ok: false, detail: 'missing', fix: 'apt-get install qemu-system-x86' },
    ]
  }
  subscribe: ControlPort['subscribe'] = (fn, since) => this.eventLog.subscribe(fn, since)
  async metrics() {
    return { contentType: 'text/plain; version=0.0.4; charset=utf-8', text: 'tidegate_generation 4\n' }
  }
  ready() {
    return this.isReady ? { ready: true, reason: 'serving' } : { ready: false, reason: 'shutting down' }
  }
}

function known(id: string): void {
  if (id !== 'web') throw new TidegateError('unknown_cluster', `There is no cluster \`${id}\`.`)
}

function resultOf(command: Command): CommandResult {
  switch (command.kind) {
    case 'scale':
    case 'scale_to_cpus':
    case 'replace':
    case 'replace_all':
    case 'replace_rolling':
    case 'resize':
    case 'cancel_operation':
    case 'acknowledge_operation':
      return { result: 'operation', operation: anOperation() }
    case 'deregister_backend':
    case 'remove_snapshot':
      return { result: 'removed' }
    case 'drain_node':
    case 'ready_node':
      return { result: 'node', node: aNode() }
    case 'set_policy':
    case 'reset_policy':
      return {
        result: 'policy',
        policy: {
          ...{ cluster_id: 'web', ...cluster.scaling!, set_by: 'api', set_at: '2026-01-02T03:04:05.000Z' },
          ...(command.kind === 'set_policy' ? { ...command.policy, source: 'api' } : { source: 'file' }),
        },
      }
    case 'reload':
      return {
        result: 'reloaded',
        reload: {
          changed: true,
          changes: ['backend web/a removed'],
          leaving: [{ cluster_id: 'web', backend_id: 'a' }],
          generation: 5,
        },
      }
    default:
      return { result: 'backend', backend: aBackend({ id: command.backend }) }
  }
}
