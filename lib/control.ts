/**
 * The façade for everything outside: the admin API, the CLI behind it, schedules, embedding programs.
 * Every mutation is a `Command`, carried out by one exhaustive switch and written to the history with who asked and why.
 * It reads views; it holds no state of its own but the operators' drains.
 */
import { randomBytes } from 'node:crypto'
import type { Clock } from './clock.ts'
import type { BackendView, DrainPolicy, DrainProof } from './cluster/backend.ts'
import type { Clusters } from './cluster/clusters.ts'
import type { Actor, Command, ScaleCommand } from './command.ts'
import type { Config, NodeConfig } from './config/config.ts'
import { Drains } from './drains.ts'
import { TidegateError, toTidegateError } from './errors.ts'
import type { Events, StampedEvent } from './events.ts'
import type { Diagnosis, Driver } from './hypervisor/driver.ts'
import type { Log } from './log.ts'
import type { OperationRequest, OperationView } from './scaling/operation.ts'
import type { Scaling } from './scaling/scaling.ts'
import type {
  DrainRecord,
  HistoryRecord,
  Json,
  MarkRecord,
  OperationFilter,
  Store,
  Write,
} from './store/store.ts'
import {
  type ClusterStatus,
  type ClusterView,
  type CommandResult,
  type MetricsText,
  type NodeView,
  policyView,
  type ReloadView,
} from './views.ts'

export interface ControlDeps {
  readonly clusters: Clusters
  readonly scaling: Scaling
  readonly store: Store
  /** Those of now: a reload may add some. */
  readonly nodes: () => readonly { readonly config: NodeConfig; readonly driver: Driver }[]
  /** Takes the configuration file in again. */
  readonly reload: (actor: Actor, config?: Config) => Promise<ReloadView>
  readonly events: Events
  readonly clock: Clock
  readonly log: Log
  readonly ready: () => { readonly ready: boolean; readonly reason: string }
  /** All numbers, as text that a monitor reads. */
  readonly metrics: () => Promise<MetricsText>
}

type BackendCommand = Extract<Command, { backend: string }>

export class Control {
  readonly #deps: ControlDeps
  readonly #drains: Drains
  #turn: Promise<unknown> = Promise.resolve()

  constructor(deps: ControlDeps) {
    this.#deps = deps
    this.#drains = new Drains(deps.clusters, deps.clock, deps.log)
  }

  async execute(command: Command, actor: Actor): Promise<CommandResult> {
    switch (command.kind) {
      case 'scale':
        return this.#scale(command, actor)
      case 'replace':
        return this.#operate(command.cluster, { type: 'replace', instance_id: command.instanceId }, actor)
      case 'cancel_operation':
        return { result: 'operation', operation: await this.#deps.scaling.cancel(command.operation) }
      case 'drain_backend':
        return this.#inTurn(() => this.#drain(command, actor))
      case 'ready_backend':
        return this.#inTurn(() => this.#ready(command, actor))
      case 'maint_backend':
        return this.#inTurn(() => this.#maint(command, actor))
      case 'register_backend':
        return this.#inTurn(() => this.#register(command, actor))
      case 'deregister_backend':
        return this.#inTurn(() => this.#deregister(command, actor))
      case 'reload':
        return { result: 'reloaded', reload: await this.reload(actor) }
    }
  }

  /** Takes in this configuration, or the file again. */
  reload(actor: Actor, config?: Config): Promise<ReloadView> {
    return this.#inTurn(() => this.#deps.reload(actor, config))
  }

  /** Drains that a former process began go on. */
  resume(marks: readonly MarkRecord[]): void {
    this.#drains.resume(marks)
  }

  waitOperation(id: string, timeoutMs: number): Promise<OperationView> {
    return this.#deps.scaling.wait(id, timeoutMs)
  }

  /** What is left on the backend when its drain has ended, or at the latest after `timeoutMs`. */
  async waitDrained(cluster: string, backend: string, timeoutMs: number): Promise<DrainProof> {
    const abort = new AbortController()
    const timeout = this.#deps.clock.sleep(timeoutMs, abort.signal).catch(() => {})
    try {
      return await this.#drains.wait(cluster, backend, timeout)
    } finally {
      abort.abort()
    }
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
      scaling_status:
        last?.status === 'running' ? 'scaling' : last?.status === 'failed' ? 'failed' : 'stable',
      health_status: healthStatus(backends),
      panic: clusters.standing(id).panic,
      generation: clusters.generation(),
      last_operation: last
        ? { id: last.id, type: last.type, status: last.status, completed_at: last.completed_at }
        : null,
    }
  }

  backends(cluster: string): readonly BackendView[] {
    return this.#deps.clusters.backends(cluster)
  }

  backend(cluster: string, id: string): BackendView {
    return this.#deps.clusters.backend(cluster, id)
  }

  operations(filter: OperationFilter): Promise<readonly OperationView[]> {
    if (filter.cluster !== undefined) this.#deps.clusters.config(filter.cluster)
    return this.#deps.scaling.list(filter)
  }

  operation(id: string): Promise<OperationView> {
    return this.#deps.scaling.view(id)
  }

  history(cluster: string, limit: number): Promise<readonly HistoryRecord[]> {
    this.#deps.clusters.config(cluster)
    return this.#deps.store.history(cluster, limit)
  }

  nodes(): Promise<readonly NodeView[]> {
    return Promise.all(this.#deps.nodes().map(({ config, driver }) => nodeView(config, driver)))
  }

  /** What `doctor` shows: each driver with each template that a cluster uses on it. */
  async diagnose(): Promise<readonly Diagnosis[]> {
    const { clusters, nodes } = this.#deps
    const templates = clusters.ids().flatMap(id => clusters.config(id).instance ?? [])
    const checks = nodes().flatMap(({ driver }) => {
      const own = templates.filter(instance => instance.driver === driver.kind)
      return own.length > 0 ? own.map(instance => driver.check(instance.template)) : [driver.check(null)]
    })
    return (await Promise.all(checks)).flat()
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
    this.#drains.close()
  }

  /** Commands on backends one after another: each checks, stores and takes effect, and between these nobody else may change it. */
  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(act)
    this.#turn = result.catch(() => undefined)
    return result
  }

  async #scale(command: ScaleCommand, actor: Actor): Promise<CommandResult> {
    const { clusters, scaling } = this.#deps
    const { cluster, targetCount } = command
    if (!clusters.config(cluster).instance) {
      throw new TidegateError(
        'not_scalable',
        `Cluster \`${cluster}\` has static backends only; give it an \`instance\` section to scale it.`,
      )
    }
    const now = scaling.count(cluster)
    const running = scaling.running(cluster)
    if (targetCount === now && running === null) {
      return {
        result: 'unchanged',
        cluster: await this.status(cluster),
        message: `Already at ${now} instances.`,
      }
    }
    const type = targetCount > now ? 'scale_out' : 'scale_in'
    if (running === null && command.direction !== null && command.direction !== type) {
      throw new TidegateError(
        'invalid_request',
        `operation \`${command.direction}\` cannot lead from ${now} to target_count ${targetCount}; leave \`operation\` out or correct the target.`,
        { details: { instances: now, target_count: targetCount } },
      )
    }
    return this.#operate(
      cluster,
      {
        type,
        target_count: targetCount,
        immediate: command.immediate,
        drain_connections: command.drainConnections,
      },
      actor,
    )
  }

  async #operate(cluster: string, request: OperationRequest, actor: Actor): Promise<CommandResult> {
    return { result: 'operation', operation: await this.#deps.scaling.start(cluster, request, actor) }
  }

  async #drain(command: Extract<Command, { kind: 'drain_backend' }>, actor: Actor): Promise<CommandResult> {
    const { cluster, backend } = command
    const policy = { ...this.#deps.clusters.config(cluster).drain, ...command.policy }
    await this.#mark(command, 'drain', actor, policy)
    this.#drains.start(cluster, backend, policy)
    return { result: 'backend', backend: this.backend(cluster, backend) }
  }

  async #ready(command: BackendCommand, actor: Actor): Promise<CommandResult> {
    this.#drains.stop(command.cluster, command.backend)
    await this.#mark(command, null, actor)
    return { result: 'backend', backend: this.backend(command.cluster, command.backend) }
  }

  async #maint(command: BackendCommand, actor: Actor): Promise<CommandResult> {
    this.#drains.stop(command.cluster, command.backend)
    await this.#mark(command, 'maint', actor)
    return { result: 'backend', backend: this.backend(command.cluster, command.backend) }
  }

  /** The mark is stored before it takes effect: what an operator was told must survive a crash. */
  async #mark(
    command: BackendCommand,
    mark: 'drain' | 'maint' | null,
    actor: Actor,
    policy?: DrainPolicy,
  ): Promise<void> {
    const { clusters, store, clock } = this.#deps
    const { cluster, backend } = command
    const before = clusters.backend(cluster, backend)
    const write: Write = mark
      ? {
          put: 'mark',
          record: { cluster, backend, mark, ...(policy ? { drain: recordOf(policy, clock) } : {}) },
        }
      : { delete: 'mark', cluster, backend }
    const verb = mark === 'drain' ? 'Draining' : mark === 'maint' ? 'Took to maintenance' : 'Made ready'
    await store.write([
      write,
      this.#historyOf(cluster, actor, before.state, mark ?? 'ready', `${verb} backend ${backend}`),
    ])
    clusters.mark(cluster, backend, mark)
  }

  async #register(
    command: Extract<Command, { kind: 'register_backend' }>,
    actor: Actor,
  ): Promise<CommandResult> {
    const { clusters, store } = this.#deps
    const { cluster, backend: id, host, port, weight } = command
    if (clusters.backends(cluster).some(backend => backend.id === id)) {
      throw new TidegateError('backend_exists', `Cluster \`${cluster}\` already has a backend \`${id}\`.`)
    }
    const incarnation = randomBytes(16).toString('base64url')
    await store.write([
      { put: 'backend', record: { cluster, id, address: { host, port }, weight, incarnation } },
      this.#historyOf(cluster, actor, null, id, `Registered backend ${id} at ${host}:${port}`),
    ])
    const added = { id, host, port, weight, incarnation, instance: null, verified: false, mark: null }
    await clusters.change(cluster, { add: [added] })
    return { result: 'backend', backend: this.backend(cluster, id) }
  }

  async #deregister(command: BackendCommand, actor: Actor): Promise<CommandResult> {
    const { clusters, store } = this.#deps
    const { cluster, backend: id } = command
    const view = clusters.backend(cluster, id)
    if (view.instance) {
      throw new TidegateError(
        'backend_is_instance',
        `Backend \`${id}\` is an instance; use \`scale\` or \`replace\` so that it is drained and destroyed.`,
      )
    }
    if (clusters.config(cluster).backends.some(backend => backend.id === id)) {
      throw new TidegateError(
        'invalid_request',
        `Backend \`${id}\` comes from the configuration file; remove it there, or use \`maint\` to take it out of rotation.`,
      )
    }
    this.#drains.stop(cluster, id)
    await store.write([
      { delete: 'backend', cluster, id },
      { delete: 'mark', cluster, backend: id },
      this.#historyOf(cluster, actor, id, null, `Deregistered backend ${id}`),
    ])
    const { drain } = clusters.config(cluster)
    await clusters.change(cluster, { remove: [id] })
    // What is in flight on it may end; nothing new reaches it from this generation on.
    void clusters.seeOut(cluster, id, drain).catch((error: unknown) => {
      this.#deps.log.error({ cluster, backend: id, err: error }, 'waiting for a deregistered backend failed')
    })
    return { result: 'removed' }
  }

  #historyOf(cluster: string, actor: Actor, from: Json, to: Json, reason: string): Write {
    return { put: 'history', record: { cluster, atMs: this.#deps.clock.now(), actor, from, to, reason } }
  }
}

const recordOf = (policy: DrainPolicy, clock: Clock): DrainRecord => ({
  deadlineAtMs: clock.now() + (policy.waitForConnections ? policy.gracePeriodMs : 0),
  policy,
})

function healthStatus(backends: readonly BackendView[]): ClusterStatus['health_status'] {
  const counted = backends.filter(backend => backend.state !== 'maint')
  const serving = counted.filter(
    backend => backend.health.status !== 'unhealthy' && backend.state !== 'warming',
  )
  if (serving.length === 0) return 'unhealthy'
  const well = serving.filter(backend => backend.health.status !== 'degraded')
  return well.length === counted.length ? 'healthy' : 'degraded'
}

async function nodeView(config: NodeConfig, driver: Driver): Promise<NodeView> {
  const base = { node_id: config.id, driver: config.driver, zone: config.zone }
  try {
    const held = await driver.inspect()
    return {
      ...base,
      reachable: true,
      reason: null,
      instances: held.instances.map(({ name, owner, state, pid, residentBytes }) => ({
        id: name,
        cluster: owner.cluster,
        state,
        pid,
        resident_bytes: residentBytes,
      })),
      snapshots: held.snapshots.map(({ name, owner, bytes, complete }) => ({
        id: name,
        cluster: owner.cluster,
        bytes,
        complete,
      })),
    }
  } catch (error) {
    const { message } = toTidegateError(error, 'hypervisor_unreachable')
    return { ...base, reachable: false, reason: message, instances: [], snapshots: [] }
  }
}
