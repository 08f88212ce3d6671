/**
 * The façade for everything outside: the admin API, the CLI behind it, schedules, embedding programs.
 * Every mutation is a `Command`, carried out by one exhaustive switch and written to the history with who asked and why.
 * It reads views; it holds no state of its own but the operators' drains.
 */
import type { CertificateInUse } from './certificates.ts'
import type { Clock } from './clock.ts'
import type { BackendView, DrainProof } from './cluster/backend.ts'
import type { Clusters } from './cluster/clusters.ts'
import type { Actor, Command } from './command.ts'
import type { Config, NodeConfig } from './config/config.ts'
import type { Audit } from './control/audit.ts'
import { BackendCommands } from './control/backend-commands.ts'
import { certificateView } from './control/certificates.ts'
import { Nodes } from './control/nodes.ts'
import type { Policies } from './control/policies.ts'
import { type Scaled, scaleTo, scaleToCpus } from './control/scale.ts'
import { TidegateError } from './errors.ts'
import type { Events, StampedEvent } from './events.ts'
import type { Diagnosis, Driver } from './hypervisor/driver.ts'
import type { Log } from './log.ts'
import { policyView } from './policy.ts'
import type { OperationRequest, OperationView } from './scaling/operation.ts'
import type { SnapshotView } from './scaling/readiness/snapshots.ts'
import type { Scaling } from './scaling/scaling.ts'
import type { HistoryRecord, MarkRecord, OperationFilter, Store } from './store/store.ts'
import type {
  CertificateView,
  ClusterStatus,
  ClusterView,
  CommandResult,
  MetricsText,
  NodeView,
  PolicyAnswer,
  ReloadView,
} from './views.ts'

export interface ControlDeps {
  readonly clusters: Clusters
  readonly scaling: Scaling
  readonly store: Store
  readonly audit: Audit
  readonly policies: Policies
  /** Those of now: a reload may add some. */
  readonly nodes: () => readonly { readonly config: NodeConfig; readonly driver: Driver }[]
  /** Takes the configuration file in again. */
  readonly reload: (actor: Actor, config?: Config) => Promise<ReloadView>
  /** Those that are in use, whose end comes first first. */
  readonly certificates: () => readonly CertificateInUse[]
  readonly events: Events
  readonly clock: Clock
  readonly log: Log
  readonly ready: () => { readonly ready: boolean; readonly reason: string }
  /** All numbers, as text that a monitor reads. */
  readonly metrics: () => Promise<MetricsText>
}

export class Control {
  readonly #deps: ControlDeps
  readonly #backends: BackendCommands
  readonly #nodes: Nodes
  #turn: Promise<unknown> = Promise.resolve()

  constructor(deps: ControlDeps) {
    this.#deps = deps
    this.#backends = new BackendCommands(deps)
    this.#nodes = new Nodes(deps)
  }

  execute(command: Command, actor: Actor): Promise<CommandResult> {
    // A reload that is refused is audited where every reload passes, also one that nobody commanded.
    if (command.kind === 'reload') return this.#carryOut(command, actor)
    return this.#deps.audit.refusals(command, actor, () => this.#carryOut(command, actor))
  }

  async #carryOut(command: Command, actor: Actor): Promise<CommandResult> {
    switch (command.kind) {
      case 'scale':
        return this.#scaled(command.cluster, scaleTo(this.#deps, command, actor))
      case 'scale_to_cpus':
        return this.#scaled(command.cluster, scaleToCpus(this.#deps, command, actor))
      case 'replace':
        return this.#operate(command.cluster, { type: 'replace', instance_id: command.instanceId }, actor)
      case 'replace_all':
        return this.#replaceAll(command.cluster, actor)
      case 'replace_rolling': {
        const operation = await this.#deps.scaling.replaceRolling(command.cluster, command.wish, actor)
        return { result: 'operation', operation }
      }
      case 'resize':
        return this.#operate(
          command.cluster,
          { type: 'resize', instance_id: command.instanceId, resources: command.resources },
          actor,
        )
      case 'cancel_operation':
        return this.#cancel(command.operation, actor)
      case 'acknowledge_operation':
        return this.#acknowledge(command.operation, actor)
      case 'drain_backend':
      case 'ready_backend':
      case 'maint_backend':
      case 'protect_backend':
      case 'register_backend':
      case 'deregister_backend':
        return this.#inTurn(() => this.#backends.execute(command, actor))
      case 'drain_node':
      case 'ready_node':
        return this.#inTurn(() => this.#nodes.execute(command, actor))
      case 'set_policy':
        return this.#inTurn(async () => ({
          result: 'policy',
          policy: await this.#deps.policies.set(command.cluster, command.policy, actor),
        }))
      case 'reset_policy':
        return this.#inTurn(async () => ({
          result: 'policy',
          policy: await this.#deps.policies.reset(command.cluster, actor),
        }))
      case 'remove_snapshot':
        return this.#removeSnapshot(command.snapshot, actor)
      case 'reload':
        return { result: 'reloaded', reload: await this.reload(actor) }
    }
  }

  snapshots(): Promise<readonly SnapshotView[]> {
    return this.#deps.scaling.snapshots()
  }

  async #removeSnapshot(id: string, actor: Actor): Promise<CommandResult> {
    const { audit, scaling } = this.#deps
    await scaling.removeSnapshot(id, ({ cluster_id: cluster, node_id: node }) => {
      const act = { cluster, node, action: 'remove_snapshot', from: id, to: null }
      return audit.line(actor, { ...act, reason: `Removing snapshot ${id} from node ${node}` })
    })
    return { result: 'removed' }
  }

  /** Takes in this configuration, or the file again. */
  reload(actor: Actor, config?: Config): Promise<ReloadView> {
    return this.#inTurn(() =>
      this.#deps.audit.refusals({ kind: 'reload' }, actor, () => this.#deps.reload(actor, config)),
    )
  }

  /** Drains that a former process began go on. */
  resume(marks: readonly MarkRecord[]): void {
    this.#backends.resume(marks)
  }

  waitOperation(id: string, timeoutMs: number): Promise<OperationView> {
    return this.#deps.scaling.wait(id, timeoutMs)
  }

  /** What is left on the backend when its drain has ended, or at the latest after `timeoutMs`. */
  waitDrained(cluster: string, backend: string, timeoutMs: number): Promise<DrainProof> {
    return this.#backends.waitDrained(cluster, backend, timeoutMs)
  }

  clusters(): readonly ClusterView[] {
    return this.#deps.clusters.ids().map(id => this.cluster(id))
  }

  cluster(id: string): ClusterView {
    const { clusters, scaling } = this.#deps
    const config = clusters.config(id)
    return {
      cluster_id: id,
      routes: config.routes.map(({ host, path }) => ({ host, path })),
      balance: config.balance,
      affinity: config.affinity.method,
      scalable: config.instance !== null,
      driver: config.instance?.driver ?? null,
      scaling: config.instance ? policyView(config.scaling) : null,
      instances: scaling.count(id),
      backends: clusters.backends(id).length,
      generation: clusters.generation(),
    }
  }

  async status(id: string): Promise<ClusterStatus> {
    const { clusters, scaling } = this.#deps
    const backends = clusters.backends(id)
    const [last] = await scaling.list({ cluster: id, limit: 1 })
    return {
      cluster_id: id,
      instances: scaling.count(id),
      wanted: scaling.repairs.wanted(id),
      scaling_status: scalingStatus(last?.status, scaling.stuck(id).length > 0),
      health_status: healthStatus(backends),
      panic: clusters.standing(id).panic,
      generation: clusters.generation(),
      last_operation: last
        ? { id: last.id, type: last.type, status: last.status, completed_at: last.completed_at }
        : null,
      ...(await scaling.readiness.view(id)),
    }
  }

  backends(cluster: string): readonly BackendView[] {
    return this.#deps.clusters.backends(cluster).map(view => this.#backends.shown(view))
  }

  backend(cluster: string, id: string): BackendView {
    return this.#backends.shown(this.#deps.clusters.backend(cluster, id))
  }

  /** Throws `unknown_cluster`. */
  policy(cluster: string): PolicyAnswer {
    return this.#deps.policies.view(cluster)
  }

  operations(filter: OperationFilter): Promise<readonly OperationView[]> {
    if (filter.cluster !== undefined) this.#deps.clusters.config(filter.cluster)
    return this.#deps.scaling.list(filter)
  }

  operation(id: string): Promise<OperationView> {
    return this.#deps.scaling.view(id)
  }

  /** Null: of all clusters, of nodes and of the whole. */
  history(cluster: string | null, limit: number): Promise<readonly HistoryRecord[]> {
    if (cluster !== null) this.#deps.clusters.config(cluster)
    return this.#deps.store.history(cluster, limit)
  }

  certificates(): readonly CertificateView[] {
    return this.#deps.certificates().map(certificateView)
  }

  nodes(): Promise<readonly NodeView[]> {
    return this.#nodes.all()
  }

  /** Throws `unknown_node`. */
  async node(id: string): Promise<NodeView> {
    return this.#nodes.one(id)
  }

  /** The node as soon as it is no longer being drained, at the latest after `timeoutMs`. */
  waitNodeDrained(id: string, timeoutMs: number): Promise<NodeView> {
    return this.#nodes.waitDrained(id, timeoutMs)
  }

  /** What `doctor` shows: each driver with each template that a cluster uses on it. */
  async diagnose(): Promise<readonly Diagnosis[]> {
    const { clusters, nodes } = this.#deps
    const templates = clusters.ids().flatMap(id => clusters.config(id).instance ?? [])
    const checks = nodes().flatMap(({ driver }) => {
      const own = templates.filter(instance => instance.driver === driver.kind)
      return own.length > 0 ? own.map(instance => driver.check(instance.template)) : [driver.check(null)]
    })
    return [...(await Promise.all(checks)).flat(), ...(await this.#deps.scaling.report.diagnoses())]
  }

  subscribe(fn: (event: StampedEvent) => void, since?: number): () => void {
    return this.#deps.events.subscribe(fn, since)
  }

  ready(): { readonly ready: boolean; readonly reason: string } {
    return this.#deps.ready()
  }

  metrics(): Promise<MetricsText> {
    return this.#deps.metrics()
  }

  close(): void {
    this.#backends.close()
  }

  /** Commands on backends one after another: each checks, stores and takes effect, and between these nobody else may change it. */
  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(act)
    this.#turn = result.catch(() => undefined)
    return result
  }

  async #scaled(cluster: string, asked: Promise<Scaled>): Promise<CommandResult> {
    const scaled = await asked
    if ('operation' in scaled) return { result: 'operation', operation: scaled.operation }
    return { result: 'unchanged', cluster: await this.status(cluster), message: scaled.unchanged }
  }

  async #cancel(id: string, actor: Actor): Promise<CommandResult> {
    const { scaling, audit } = this.#deps
    const { cluster_id: cluster, type, phase } = await scaling.view(id)
    const reason = `Asked to cancel ${type} ${id}`
    const act = { cluster, operation: id, action: 'cancel_operation', reason }
    const line = audit.line(actor, { ...act, from: phase, to: 'rolling_back' })
    const operation = await scaling.cancel(id, [line])
    return { result: 'operation', operation }
  }

  async #acknowledge(id: string, actor: Actor): Promise<CommandResult> {
    const { scaling, audit } = this.#deps
    const { cluster_id: cluster, type, phase } = await scaling.view(id)
    const reason = `Acknowledged that ${type} ${id} is stuck`
    const act = { cluster, operation: id, action: 'acknowledge_operation', reason }
    const line = audit.line(actor, { ...act, from: phase, to: 'failed' })
    const operation = await scaling.acknowledge(id, actor, [line])
    return { result: 'operation', operation }
  }

  async #replaceAll(cluster: string, actor: Actor): Promise<CommandResult> {
    const ids = this.#deps.clusters.backends(cluster).flatMap(({ id, instance }) => (instance ? [id] : []))
    const [first] = ids
    if (first === undefined) {
      const message = `Cluster \`${cluster}\` has no instances to replace.`
      throw new TidegateError('unknown_instance', message, { details: { instances: [] } })
    }
    return this.#operate(
      cluster,
      { type: 'replace', instance_id: first, instance_ids: ids, fresh: true },
      actor,
    )
  }

  async #operate(cluster: string, request: OperationRequest, actor: Actor): Promise<CommandResult> {
    return { result: 'operation', operation: await this.#deps.scaling.start(cluster, request, actor) }
  }
}

function scalingStatus(
  last: OperationView['status'] | undefined,
  anyStuck: boolean,
): ClusterStatus['scaling_status'] {
  if (last === 'running') return 'scaling'
  return anyStuck || last === 'failed' || last === 'stuck' ? 'failed' : 'stable'
}

function healthStatus(backends: readonly BackendView[]): ClusterStatus['health_status'] {
  const counted = backends.filter(backend => backend.state !== 'maint')
  const serving = counted.filter(
    backend => backend.health.status !== 'unhealthy' && backend.state !== 'warming',
  )
  if (serving.length === 0) return 'unhealthy'
  const well = serving.filter(backend => backend.health.status !== 'degraded')
  return well.length === counted.length ? 'healthy' : 'degraded'
}
