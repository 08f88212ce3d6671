/**
 * Scaling: the door to operations. It keeps one operation a cluster, hands each to a runner, and after a restart takes every
 * unfinished one from where its journal stands. What an operation consists of is in `recipes.ts`; when one is wanted is not
 * known here, but for the repair of a cluster in which somebody died.
 */
import type { LostMember } from '../cluster/table.ts'
import type { RollingWish } from '../command.ts'
import { TidegateError } from '../errors.ts'
import type { Held } from '../hypervisor/driver.ts'
import type { InstanceRecord, OperationFilter, OperationRecord, Write } from '../store/store.ts'
import { mustBePossible, mustScale, newOperation, notCancellable, notStuck, refusedBy } from './admission.ts'
import { Cooldowns } from './cooldown.ts'
import { limits } from './limits.ts'
import { type OperationRequest, type OperationView, operationView } from './operation.ts'
import { OperationViews } from './operation-views.ts'
import { watchLoad } from './placement/load-watch.ts'
import { NodeDrains } from './placement/node-drains.ts'
import { protect } from './placement/protection.ts'
import { Readiness } from './readiness/readiness.ts'
import { listSnapshots, removeSnapshot, type SnapshotView } from './readiness/snapshots.ts'
import { recipeOf } from './recipes.ts'
import { closedAtStart } from './recovery/doors.ts'
import { Failovers } from './recovery/failovers.ts'
import { type InitialBackend, readMembership, resumePaused } from './recovery/membership.ts'
import { Quarantine } from './recovery/quarantine.ts'
import type { ScalingNode } from './recovery/reality.ts'
import { Reconciler } from './recovery/reconciler.ts'
import { RecoveryReport } from './recovery/recovery-report.ts'
import { Repairs } from './recovery/repairs.ts'
import { Standing } from './recovery/standing.ts'
import { planRolling } from './rolling/rolling-plan.ts'
import { Run } from './runner.ts'
import { checkTarget, cpusIn } from './sizing/capacity.ts'
import { UnderWay } from './under-way.ts'
import { waitForEnd } from './waiting.ts'
import { createWorld, reread, type ScalingDeps, type World } from './world.ts'

export class Scaling {
  readonly readiness: Readiness
  readonly report: RecoveryReport
  readonly repairs: Repairs
  readonly cooldowns: Cooldowns
  readonly #world: World
  readonly #active = new UnderWay()
  /** Clusters in which an operation is being admitted right now. */
  readonly #admitting = new Set<string>()
  readonly #standing: Standing
  readonly #quarantine: Quarantine
  readonly #views: OperationViews
  readonly #drains: NodeDrains
  readonly #reconciler: Reconciler
  #recovered = false
  #closed = false

  constructor(deps: ScalingDeps) {
    this.#world = createWorld(deps, {
      begin: (...asked) => this.#begin(...asked),
      cancel: id => this.cancel(id),
      driven: id => this.#active.get(id)?.driven ?? null,
    })
    this.#standing = new Standing(deps.clock)
    this.#quarantine = new Quarantine(this.#world)
    this.#views = new OperationViews(this.#world, this.#quarantine)
    this.readiness = new Readiness(this.#world, {
      start: (...asked) => this.start(...asked),
      running: cluster => this.#active.rolling(cluster) ?? this.#active.ordinary(cluster),
      cancel: id => this.cancel(id),
      ended: id => this.#ended(id).then(fault => fault === null),
      busy: cluster => this.#busy(cluster),
      look: () => this.reconcile(),
      open: () => this.#recovered && !this.#closed,
    })
    this.cooldowns = new Cooldowns(this.#world)
    this.repairs = new Repairs(this.#world, (...asked) => this.#begin(...asked))
    const failovers = new Failovers(this.#world, {
      busy: cluster => this.#closed || this.#busy(cluster),
      begin: (cluster, request, actor) => this.#begin(cluster, request, actor),
      discard: (cluster, name) => this.readiness.discard(cluster, name),
      again: () => void this.reconcile(),
    })
    this.#drains = new NodeDrains(this.#world, {
      busy: cluster =>
        this.#closed || !this.#recovered || this.#busy(cluster) || this.#active.rolling(cluster) !== null,
      begin: (...asked) => this.#begin(...asked),
      cancel: id => this.cancel(id),
    })
    this.#reconciler = new Reconciler({
      ...{ world: this.#world, quarantine: this.#quarantine, repairs: this.repairs },
      busy: cluster => this.#busy(cluster),
      closed: () => this.#closed,
      failOver: (cluster, dead) => failovers.begin(cluster, dead),
      takeUp: () => this.#takeUp(),
      tryAgain: held => this.#tryAgain(held),
      emptyNodes: () => this.#drains.advance(),
    })
    this.report = new RecoveryReport({
      ...{
        world: this.#world,
        quarantine: this.#quarantine,
        reconciler: this.#reconciler,
        repairs: this.repairs,
        drains: this.#drains,
      },
      running: cluster => this.running(cluster) !== null,
      stuck: cluster => this.stuck(cluster),
    })
  }

  /** Before the plane listens: what may serve now, by reality first and the store second. */
  async membership(): Promise<readonly InitialBackend[]> {
    const { nodeMarks, templates, losses, wanted, scaled, store, clusters } = this.#world
    const ids = clusters.ids()
    await Promise.all([
      nodeMarks.load(store),
      ...[templates, losses, wanted, scaled].map(kept => kept.load(store, ids)),
      ...ids.map(id => this.#world.pools.load(this.#world, id)),
    ])
    const initial = await readMembership(this.#world, this.#quarantine)
    // From here on a second operation in their clusters is refused.
    await this.#reviveAll()
    return closedAtStart(initial, [...this.#active.all().map(({ run }) => run), ...this.#standing.all()])
  }

  /** After `membership`: who is gone, by cluster, and whose clients may come back. */
  lost(): ReadonlyMap<string, readonly LostMember[]> {
    return this.#world.losses.all()
  }

  /**
   * Finishes or undoes what a former process left, collects what it left lying, and makes up for who died.
   * Paused sources are resumed before anything else. Resolves when the unfinished operations have ended.
   */
  async recover(): Promise<void> {
    await this.#reviveAll()
    const held = await this.#world.reality.inspectAll()
    const members = new Set(this.#world.members.all().map(record => record.id))
    await resumePaused(this.#world, held, members)
    const waiting = this.#active.all().filter(active => active.driven === null)
    const driven = waiting.map(({ run }) => {
      const ended = this.#drive(run, () => run.noteRestart())
      // It takes as long as its pauses; of what it consists is waited for.
      return run.record.type === 'rolling_replace' ? null : ended
    })
    await this.#reconciler.attempt('warm pools', () => this.readiness.adopt())
    this.#recovered = true
    await Promise.all(driven)
    await this.reconcile()
  }

  /** One round at a time; a call during a round joins it. Does nothing before `recover` has been through. */
  reconcile(): Promise<void> {
    if (!this.#recovered || this.#closed) return Promise.resolve()
    return this.#reconciler.round()
  }

  /**
   * Begins an operation and returns it under way. Throws, with nothing begun: `unknown_cluster`, `not_scalable`,
   * `operation_running` (its id in the details), `target_out_of_bounds`, `invalid_request`, `unknown_instance`,
   * `no_capacity`, `hypervisor_unreachable`, `store_unavailable`, `operation_stuck`. `beside`: a rolling replace under way does not
   * mind it.
   */
  async start(
    cluster: string,
    request: OperationRequest,
    actor: string,
    beside = false,
  ): Promise<OperationView> {
    const config = this.#world.clusters.config(cluster)
    if (this.#closed) throw new TidegateError('shutting_down', 'Tidegate is stopping')
    mustScale(config)
    if (this.#busy(cluster) || (!beside && this.#active.rolling(cluster)))
      throw refusedBy(cluster, this.running(cluster))
    checkTarget(this.#world, cluster, request)
    this.#standing.refuseMore(cluster, this.#quarantine.of(cluster))
    this.#admitting.add(cluster)
    try {
      const standsStill = (id: string) => this.#standsStill(id)
      await mustBePossible(this.#world, cluster, request, { standsStill, beside })
      const run = await this.#create(cluster, request, actor)
      void this.#drive(run)
      return operationView(run.record, run.entries)
    } finally {
      this.#admitting.delete(cluster)
    }
  }

  /** Replaces all instances batch by batch. Throws what `start` throws, and `rollback_impossible`. */
  async replaceRolling(cluster: string, wish: RollingWish, actor: string): Promise<OperationView> {
    if (this.running(cluster) !== null) throw refusedBy(cluster, this.running(cluster))
    return this.start(cluster, await planRolling(this.#world, cluster, wish), actor)
  }

  /** The operation when it has ended, however. Throws `wait_timeout` when it has not by then, `unknown_operation`. */
  wait(id: string, timeoutMs: number): Promise<OperationView> {
    const driven = () => this.#active.get(id)?.driven
    return waitForEnd(this.#world.clock, timeoutMs, { driven, view: () => this.view(id) })
  }

  /** With `lines` in one transaction. Throws `unknown_operation`, or `operation_not_cancellable` when it ended or is past its pivot. */
  async cancel(id: string, lines: readonly Write[] = []): Promise<OperationView> {
    const view = await this.view(id)
    const active = this.#active.get(id)
    if (view.status !== 'running' || !active) throw notCancellable(view)
    await active.run.cancel({}, lines)
    return operationView(active.run.record, active.run.entries)
  }

  /**
   * Ends a stuck operation as it stands; what is left of it is an orphan then. Throws `operation_not_stuck` when it runs or has
   * ended, `unknown_operation`.
   */
  async acknowledge(id: string, actor: string, lines: readonly Write[] = []): Promise<OperationView> {
    const quarantined = await this.#quarantine.acknowledge(id, actor, lines)
    if (quarantined) return quarantined
    const run = this.#standing.get(id)
    if (!run) throw notStuck(await this.view(id))
    await run.acknowledge(actor, lines)
    this.#standing.drop(id)
    return operationView(run.record, run.entries)
  }

  /** The cluster's operations that stand still until reality is mended or somebody acknowledges them. */
  stuck(cluster: string): readonly string[] {
    return [...this.#standing.of(cluster), ...this.#quarantine.of(cluster)]
  }

  /** The id of the cluster's operation under way, also while it is being recovered: the whole, not its part. */
  running(cluster: string): string | null {
    return (this.#active.rolling(cluster) ?? this.#active.ordinary(cluster))?.id ?? null
  }

  /** What the nodes hold, and who uses it. */
  snapshots(): Promise<readonly SnapshotView[]> {
    return listSnapshots(this.#world)
  }

  /** Throws `unknown_snapshot`, `snapshot_in_use`. */
  removeSnapshot(id: string, line: (found: SnapshotView) => Write): Promise<void> {
    return removeSnapshot(this.#world, id, line)
  }

  /** The nodes of a reloaded configuration: what a node has room for may have changed, and there may be more of them. */
  setNodes(nodes: readonly ScalingNode[]): void {
    this.#world.reality.hold(nodes)
  }

  /** Scale-in leaves it alone, or may take it again. Throws `unknown_cluster`, `unknown_instance`. */
  protect(cluster: string, id: string, on: boolean, line: Write): Promise<void> {
    return protect(this.#world, cluster, id, on, line)
  }

  /** What is known of an instance beside what its backend shows; null where it is none. */
  instance(id: string): InstanceRecord | null {
    return this.#world.members.get(id)
  }

  /** Empties the node. Throws `unknown_node`, `hypervisor_unreachable`, `no_capacity`, with nothing changed. */
  drainNode(node: string, actor: string): Promise<void> {
    return this.#drains.drain(node, actor)
  }

  /** Takes a drain back. Throws `unknown_node`. */
  readyNode(node: string, actor: string): Promise<void> {
    return this.#drains.ready(node, actor)
  }

  /** How many instances the cluster has: members, not what is being made. */
  count(cluster: string): number {
    return this.#world.members.of(cluster).length
  }

  /** How many CPUs they have together. */
  cpus(cluster: string): number {
    return cpusIn(this.#world, cluster)
  }

  /** Throws `unknown_operation`. */
  view(id: string): Promise<OperationView> {
    return this.#views.one(id)
  }

  list(filter: OperationFilter): Promise<readonly OperationView[]> {
    return this.#views.list(filter)
  }

  /** Breaks off what is under way, between steps or within one, and leaves the rest to `recover` of the next process. */
  async close(): Promise<void> {
    this.#closed = true
    const standing = this.readiness.close()
    for (const { run } of this.#active.all()) run.stop()
    await Promise.all(this.#active.all().map(active => active.driven))
    await Promise.all([this.#reconciler.settled(), standing])
  }

  async #create(cluster: string, request: OperationRequest, actor: string): Promise<Run> {
    const record = newOperation(this.#world, cluster, request, actor)
    const run = new Run(this.#world, recipeOf(record), record, [])
    await run.begin()
    this.#active.add(run)
    return run
  }

  async #reviveAll(): Promise<void> {
    const unfinished = await this.#world.store.operations({ unfinished: true, limit: limits.unfinishedMax })
    await Promise.all(unfinished.map(async record => this.#known(record) || this.#revive(record)))
  }

  #known(record: OperationRecord): boolean {
    return this.#standsStill(record.id) || this.#active.taken(record)
  }

  #standsStill(id: string): boolean {
    return this.#standing.get(id) !== null || this.#quarantine.has(id)
  }

  /** An unfinished operation as this process's own; null when it stands still, or cannot be believed. */
  async #revive(record: OperationRecord): Promise<Run | null> {
    const journal = await this.#world.store.journal(record.id)
    if (this.#quarantine.take(record, journal)) return null
    const run = new Run(this.#world, recipeOf(record), record, journal)
    if (run.stuck) this.#standing.keep(run, true)
    else this.#active.add(run)
    return run.stuck ? null : run
  }

  /** Never rejects. An operation that the store stopped is let go: the next reconcile reads its journal afresh. */
  #drive(run: Run, first?: () => Promise<void>): Promise<void> {
    const { id } = run.record
    const stopWatching = watchLoad(this.#world, run)
    const driven = (async () => {
      try {
        await first?.()
        await run.drive()
      } catch (error) {
        this.#world.log.error(
          { operation: id, err: error },
          'operation stands still until the store takes it',
        )
      } finally {
        stopWatching()
        this.#active.drop(run)
        if (run.stuck) this.#standing.keep(run, false)
      }
    })()
    const active = this.#active.get(id)
    if (active?.run === run) active.driven = driven
    return driven
  }

  async #takeUp(): Promise<void> {
    const standing = await this.#world.store.operations({ unfinished: true, limit: limits.unfinishedMax })
    for (const record of standing) {
      if (this.#admitting.has(record.cluster) || this.#known(record)) continue
      const run = await this.#revive(record)
      if (run) await reread(this.#world, record.cluster)
      if (run) void this.#drive(run, () => run.noteRestart())
    }
  }

  #tryAgain(held: ReadonlyMap<string, Held | null>): void {
    for (const run of this.#standing.due(held)) {
      const { id, cluster } = run.record
      if (this.#busy(cluster) || this.#active.taken(run.record) || this.#closed) continue
      this.#standing.drop(id)
      this.#active.add(run)
      void this.#drive(run, () => run.resume('the nodes that it needs can be asked'))
    }
  }

  #busy(cluster: string): boolean {
    return this.#active.ordinary(cluster) !== null || this.#admitting.has(cluster)
  }

  /** An operation of our own. */
  async #begin(cluster: string, request: OperationRequest, actor: string) {
    const { id } = await this.start(cluster, request, actor, true)
    return { id, ended: this.#ended(id) }
  }

  /** Of an operation that has just begun: null when it went well, else why not. Never rejects. */
  #ended(id: string): Promise<{ readonly code: string; readonly message: string } | null> {
    const driven = this.#active.get(id)?.driven ?? Promise.resolve()
    const unknown = { code: 'operation_failed', message: `operation ${id} did not end` }
    return driven
      .then(() => this.view(id))
      .then(view => (view.status === 'completed' ? null : (view.error ?? unknown)))
      .catch(() => unknown)
  }
}
