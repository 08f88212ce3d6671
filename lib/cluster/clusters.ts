/**
 * The control side's truth of membership: which backends each cluster has, in what state, and the generations that carry
 * membership to the data plane.
 *
 *   change ──► compile the whole table, number + 1 ──► publish ──► every thread acknowledged ──► resolves
 *   fence · mark · health ──► one word on the board, at once, no generation
 *
 * Changes are carried out one after another. A backend's word is on the board before a table names it, and is closed only
 * after every thread has a table that does not: in between nobody is sent to a closed door without another one open.
 */
import type { Clock } from '../clock.ts'
import type { ClusterConfig, ScalingPolicy } from '../config/config.ts'
import { TidegateError } from '../errors.ts'
import type { Events } from '../events.ts'
import type { Log } from '../log.ts'
import type { BackendState, BackendView, DrainPolicy, DrainProof, NewBackend } from './backend.ts'
import type { Board } from './board.ts'
import { compileTable } from './compile.ts'
import { Departed } from './departed.ts'
import { drainOut } from './drain.ts'
import { observe, unknownHealth } from './health.ts'
import { staticIncarnation } from './incarnation.ts'
import type { DataPlanePort, SessionSighting } from './ports.ts'
import { type Probe, probeOnce } from './prober.ts'
import { SessionLedger } from './sessions.ts'
import { Slots } from './slots.ts'
import type { AffinityKey, TableData } from './table.ts'
import { Tenant, type TenantDeps } from './tenant.ts'
import { Watch } from './watch.ts'

export interface ClustersDeps {
  readonly configs: readonly ClusterConfig[]
  readonly board: Board
  readonly port: DataPlanePort
  readonly clock: Clock
  readonly events: Events
  readonly log: Log
  readonly affinityKeys: readonly AffinityKey[]
  /** How a backend is checked; tests may give another. */
  readonly probe?: Probe
  /** Chance, for the rhythm of checks: 0 ≤ x < 1. */
  readonly random?: () => number
}

export interface Change {
  readonly add?: readonly NewBackend[]
  readonly remove?: readonly string[]
}

interface Cluster {
  readonly config: ClusterConfig
  policy: ScalingPolicy
  /** In the newest table, by id. Replaced whole. */
  tenants: ReadonlyMap<string, Tenant>
}

export class Clusters {
  readonly #deps: ClustersDeps
  readonly #clusters: ReadonlyMap<string, Cluster>
  readonly #slots: Slots
  readonly #ledger = new SessionLedger()
  readonly #tenantDeps: TenantDeps
  readonly #watch: Watch
  readonly #departed: Departed
  #affinityKeys: readonly AffinityKey[]
  #table: TableData
  #changes: Promise<unknown> = Promise.resolve()

  constructor(deps: ClustersDeps) {
    const { board, clock, port } = deps
    this.#deps = deps
    this.#slots = new Slots(board)
    this.#affinityKeys = deps.affinityKeys
    this.#departed = new Departed(clock, ({ place }) => {
      this.#ledger.close(place.slot, place.epoch)
      this.#slots.release(place)
    })
    this.#tenantDeps = { board, clock, port, ledger: this.#ledger, changed: (...told) => this.#tell(...told) }
    this.#watch = new Watch({ clock, random: deps.random ?? Math.random, probe: deps.probe ?? probeOnce })
    this.#clusters = new Map(deps.configs.map(config => [config.id, this.#fromConfig(config)]))
    this.#table = this.#compile(1)
  }

  ids(): readonly string[] {
    return [...this.#clusters.keys()]
  }

  has(cluster: string): boolean {
    return this.#clusters.has(cluster)
  }

  /** With the policy of now. Throws `unknown_cluster`. */
  config(cluster: string): ClusterConfig {
    const { config, policy } = this.#cluster(cluster)
    return { ...config, scaling: policy }
  }

  setPolicy(cluster: string, policy: ScalingPolicy): void {
    this.#cluster(cluster).policy = policy
  }

  /** The newest compiled: what a thread that starts now must be given. */
  table(): TableData {
    return this.#table
  }

  generation(): number {
    return this.#table.generation
  }

  /**
   * Takes in what the store knew, in one table that is not published (nobody listens yet), and begins the checks. What the
   * config has by the same id comes first, with the stored mark; a cluster that is no longer configured is left out and logged.
   */
  start(initial: readonly { readonly cluster: string; readonly backend: NewBackend }[]): void {
    for (const { cluster: id, backend } of initial) {
      const cluster = this.#clusters.get(id)
      const configured = cluster?.tenants.get(backend.id)
      if (!cluster || configured) {
        const why = cluster ? 'the config has one of this id' : 'the config has no such cluster'
        this.#deps.log.warn({ cluster: id, backend: backend.id }, `stored backend left out: ${why}`)
        if (backend.mark) configured?.set({ mark: backend.mark }, `marked ${backend.mark}`)
        continue
      }
      cluster.tenants = new Map([...cluster.tenants, [backend.id, this.#admitted(cluster, backend)]])
    }
    if (initial.length > 0) this.#table = this.#compile(this.#table.generation + 1)
    for (const cluster of this.#clusters.values())
      for (const tenant of cluster.tenants.values()) {
        tenant.show('known at start')
        this.#probe(cluster, tenant, 'spread')
      }
  }

  backends(cluster: string): readonly BackendView[] {
    return [...this.#cluster(cluster).tenants.values()].map(tenant => tenant.view())
  }

  /** Throws `unknown_cluster` or `unknown_backend`. */
  backend(cluster: string, id: string): BackendView {
    return this.#tenant(cluster, id).view()
  }

  /**
   * Adds and removes in one generation; resolves to its number when every thread acknowledged it. An id may be removed and
   * added in one change (a new life of it). Throws `unknown_backend` or `backend_exists` with nothing changed; when the data
   * plane does not take the table, the former membership goes out as a newer generation and the cause is thrown.
   */
  async change(clusterId: string, change: Change): Promise<number> {
    const cluster = this.#cluster(clusterId)
    return this.#exclusive(async () => {
      this.#departed.sweep()
      const before = cluster.tenants
      const gone = removedBy(cluster, change)
      const added = this.#addedBy(cluster, change)
      const keep = [...before].filter(([id]) => !gone.some(tenant => tenant.spec.id === id))
      cluster.tenants = new Map([...keep, ...added.map(tenant => [tenant.spec.id, tenant] as const)])
      try {
        await this.#publishOr(() => {
          cluster.tenants = before
        })
      } catch (error) {
        for (const tenant of added) this.#letGo(tenant, 'the change was not taken')
        throw error
      }
      for (const tenant of gone) this.#letGo(tenant, 'deregistered')
      for (const tenant of added) {
        tenant.show('registered')
        this.#probe(cluster, tenant, 'at once')
      }
      return this.#table.generation
    })
  }

  /**
   * New keys go out in two generations: first every thread learns to open with them, then they seal. In one, a cookie that
   * one thread has just sealed could reach another that does not know its key yet.
   */
  setAffinityKeys(keys: readonly AffinityKey[]): Promise<number> {
    return this.#exclusive(async () => {
      const before = this.#affinityKeys
      const undo = () => {
        this.#affinityKeys = before
      }
      const fresh = keys.filter(({ id }) => !before.some(known => known.id === id))
      if (fresh.length > 0) {
        this.#affinityKeys = [...before, ...fresh]
        await this.#publishOr(undo)
      }
      this.#affinityKeys = keys
      await this.#publishOr(undo)
      return this.#table.generation
    })
  }

  /** Scaling's own fence: no new clients; whatever the operator marked stays as it is. */
  fence(cluster: string, id: string, why: string): void {
    this.#tenant(cluster, id).set({ fenced: true }, why)
  }

  unfence(cluster: string, id: string): void {
    this.#tenant(cluster, id).set({ fenced: false }, 'fence lifted')
  }

  /**
   * While anybody holds it, its silence does not count: a paused or starved backend is not dead. That it refuses
   * connections, or answers badly, counts as ever.
   */
  holdHealth(cluster: string, id: string, held: boolean, by = 'snapshot'): void {
    this.#watch.hold(this.#tenant(cluster, id), by, held)
  }

  /** The operator's mark. Back from `maint` it warms up: nobody knows what was done to it. */
  mark(cluster: string, id: string, mark: 'drain' | 'maint' | null): void {
    const tenant = this.#tenant(cluster, id)
    const wasMaint = tenant.facts.mark === 'maint'
    if (mark === 'maint') {
      this.#watch.end(tenant)
      tenant.set({ mark }, 'marked maint')
      return
    }
    const why = mark === null ? 'marked ready' : 'marked drain'
    if (!wasMaint) return tenant.set({ mark }, why)
    tenant.setHealth(unknownHealth(this.#deps.clock.now()))
    tenant.set({ mark, warming: true }, why)
    this.#probe(this.#cluster(cluster), tenant, 'at once')
  }

  /**
   * Closes the backend to new clients and sees out what is left on it; see `drain.ts` for the end. It takes scaling's fence,
   * unless the operator's mark has closed it already, and leaves it as it is then: the caller opens it or removes it.
   * At the end of the grace period, and for scaling as soon as nothing is left, bound clients are not let in any more either.
   * Rejects with the signal's reason, or with `operation_cancelled` when somebody opens it meanwhile.
   */
  async drain(cluster: string, id: string, policy: DrainPolicy, signal?: AbortSignal): Promise<DrainProof> {
    const tenant = this.#tenant(cluster, id)
    const forGood = tenant.facts.mark === null
    if (forGood) tenant.set({ fenced: true }, 'draining')
    const outcome = await drainOut(tenant.leaving(forGood), policy, this.#deps.clock, signal)
    if (!tenant.removed) tenant.show('nothing is left on it')
    return tenant.proof(outcome)
  }

  /** What is left on it right now, also of one that was just removed. */
  proof(cluster: string, id: string): DrainProof {
    const tenant = this.#cluster(cluster).tenants.get(id) ?? this.#departed.newest(`${cluster}/${id}`)
    if (tenant) return tenant.proof()
    throw unknownBackend(cluster, id)
  }

  /**
   * After `change({ remove })`: resolves when nothing is in flight on it any more, cutting what is at the timeout. Its slot
   * is free then. Of one that is not known (any more) nothing is left, so that asking twice is harmless.
   */
  async waitGone(cluster: string, id: string, timeoutMs: number): Promise<DrainProof> {
    const sessions = this.#cluster(cluster).config.affinity.method === 'cookie' ? 0 : null
    return (await this.#departed.wait(`${cluster}/${id}`, timeoutMs)) ?? nothingLeft(sessions)
  }

  noteSessions(seen: readonly SessionSighting[]): void {
    const nowMs = this.#deps.clock.now()
    for (const sighting of seen) this.#ledger.note(sighting, nowMs)
  }

  /** Ends the checks. Membership stays readable. */
  close(): void {
    this.#watch.close()
  }

  #fromConfig(config: ClusterConfig): Cluster {
    const cluster: Cluster = { config, policy: config.scaling, tenants: new Map() }
    const tenants = config.backends.map(({ id, host, port, weight }) => {
      const incarnation = staticIncarnation(config.id, id, host, port)
      // Ready from the start: a restart never begins with an outage.
      const spec = { id, host, port, weight, incarnation, instance: null, verified: true, mark: null }
      return [id, this.#admitted(cluster, spec)] as const
    })
    cluster.tenants = new Map(tenants)
    return cluster
  }

  #admitted({ config }: Cluster, backend: NewBackend): Tenant {
    const countsSessions = config.affinity.method === 'cookie'
    return new Tenant(config.id, backend, this.#slots.allocate(), countsSessions, this.#tenantDeps)
  }

  /** All of them or none: what was taken is given back when a slot is missing. */
  #addedBy(cluster: Cluster, { add = [], remove = [] }: Change): readonly Tenant[] {
    const ids = new Set<string>()
    for (const { id } of add) {
      if (ids.has(id) || (cluster.tenants.has(id) && !remove.includes(id)))
        throw new TidegateError('backend_exists', `cluster ${cluster.config.id} has a backend ${id} already`)
      ids.add(id)
    }
    const added: Tenant[] = []
    try {
      for (const backend of add) added.push(this.#admitted(cluster, backend))
    } catch (error) {
      for (const { place } of added) this.#slots.release(place)
      throw error
    }
    return added
  }

  #letGo(tenant: Tenant, why: string): void {
    this.#watch.end(tenant)
    tenant.close(why)
    this.#departed.add(tenant)
  }

  #probe({ config }: Cluster, tenant: Tenant, first: 'at once' | 'spread'): void {
    if (tenant.facts.mark === 'maint') return
    this.#watch.begin(tenant, config.health, first, verdict => {
      const { clock } = this.#deps
      tenant.setHealth(observe(tenant.health, verdict, config.health, clock.now()))
      tenant.show(tenant.left() === 0 ? 'nothing is left on it' : 'clients are on it')
    })
  }

  #compile(generation: number): TableData {
    const clusters = [...this.#clusters.values()].map(({ config, tenants }) => ({
      config,
      members: [...tenants.values()].map(tenant => tenant.member()),
    }))
    return compileTable(generation, clusters, this.#affinityKeys)
  }

  async #publish(): Promise<void> {
    const table = this.#compile(this.#table.generation + 1)
    this.#table = table
    await this.#deps.port.publish(table)
    const members = table.clusters.reduce((sum, cluster) => sum + cluster.members.length, 0)
    this.#deps.events.publish({ type: 'generation', generation: table.generation, members })
  }

  /** When the data plane does not take the table: undoes the change, sends that as a newer generation, throws the cause. */
  async #publishOr(undo: () => void): Promise<void> {
    try {
      await this.#publish()
    } catch (error) {
      undo()
      await this.#publish().catch(again => this.#deps.log.error({ err: again }, 'former table not sent'))
      throw error
    }
  }

  /** One after another; a change that fails does not stop the next. */
  #exclusive<T>(act: () => Promise<T>): Promise<T> {
    const result = this.#changes.then(act)
    this.#changes = result.catch(() => undefined)
    return result
  }

  #tell(tenant: Tenant, from: BackendState | null, to: BackendState | null, reason: string): void {
    const { cluster, spec } = tenant
    this.#deps.events.publish({ type: 'backend_state', cluster, backend: spec.id, from, to, reason })
    this.#deps.log.info({ cluster, backend: spec.id, from, to, reason }, 'backend state')
  }

  #cluster(id: string): Cluster {
    const cluster = this.#clusters.get(id)
    if (cluster) return cluster
    throw new TidegateError(
      'unknown_cluster',
      `there is no cluster ${id}; there are: ${this.ids().join(', ')}`,
    )
  }

  #tenant(cluster: string, id: string): Tenant {
    const tenant = this.#cluster(cluster).tenants.get(id)
    if (tenant) return tenant
    throw unknownBackend(cluster, id)
  }
}

function removedBy({ config, tenants }: Cluster, { remove = [] }: Change): readonly Tenant[] {
  return [...new Set(remove)].map(id => {
    const tenant = tenants.get(id)
    if (tenant) return tenant
    throw unknownBackend(config.id, id)
  })
}

function unknownBackend(cluster: string, id: string): TidegateError {
  return new TidegateError('unknown_backend', `cluster ${cluster} has no backend ${id}`)
}

function nothingLeft(sessions: number | null): DrainProof {
  return { drained: true, in_flight: 0, tunnels: 0, sessions, waited_ms: 0, deadline_reached: false }
}
