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
import type { BackendView, DrainPolicy, DrainProof, NewBackend } from './backend.ts'
import type { Board } from './board.ts'
import { Departed, nothingLeft } from './departed.ts'
import { Generations } from './generations.ts'
import { unknownHealth } from './health.ts'
import { staticIncarnation } from './incarnation.ts'
import {
  type Change,
  type Cluster,
  membersOf,
  prepareTurn,
  removedBy,
  turnOf,
  undoOf,
  unknownBackend,
} from './membership.ts'
import type { DataPlanePort, SessionSighting } from './ports.ts'
import { type Probe, type ProbeTarget, probeOnce } from './prober.ts'
import { leave, type MembershipAccess, type Reconfigured, reconfigure } from './reconfigure.ts'
import { SessionLedger } from './sessions.ts'
import { Slots } from './slots.ts'
import type { Count, Standing } from './standing.ts'
import type { AffinityKey, LostMember, TableData } from './table.ts'
import { Tenant, type TenantDeps } from './tenant.ts'
import { type FirstCheck, Watch, type WatchDeps } from './watch.ts'

export interface ClustersDeps {
  readonly configs: readonly ClusterConfig[]
  readonly board: Board
  readonly port: DataPlanePort
  readonly clock: Clock
  readonly events: Events
  readonly log: Log
  readonly affinityKeys: readonly AffinityKey[]
  /** This Tidegate's; absent or null: not said. */
  readonly zone?: string | null
  /** Cookies that an earlier process issued may still live: until they cannot, nobody knows that no session is left. */
  readonly earlierSessions?: boolean
  /** How a backend is checked; tests may give another. */
  readonly probe?: Probe
  /** How checks of a cluster's backends speak TLS; absent: in the clear. */
  readonly tls?: WatchDeps['tls']
  /** Chance, for the rhythm of checks: 0 ≤ x < 1. */
  readonly random?: () => number
}

export class Clusters {
  readonly #deps: ClustersDeps
  #clusters: ReadonlyMap<string, Cluster>
  readonly #slots: Slots
  readonly #ledger = new SessionLedger()
  readonly #tenantDeps: Omit<TenantDeps, 'poll'>
  readonly #watch: Watch
  readonly #departed: Departed
  readonly #generations: Generations
  readonly #access: MembershipAccess

  constructor(deps: ClustersDeps) {
    const { board, clock, port } = deps
    this.#deps = deps
    this.#slots = new Slots(board)
    this.#departed = new Departed(clock, ({ place }) => {
      this.#ledger.close(place.slot, place.epoch)
      this.#slots.release(place)
    })
    const { events, log, random = Math.random, probe = probeOnce, tls } = deps
    const clusters = () => this.#clusters.values()
    this.#watch = new Watch({ clock, random, probe, events, log, clusters, ...(tls ? { tls } : {}) })
    const { changed, healthChanged } = this.#watch
    this.#tenantDeps = { board, clock, port, ledger: this.#ledger, changed, healthChanged }
    this.#clusters = new Map(deps.configs.map(config => [config.id, this.#fromConfig(config)]))
    this.#generations = new Generations({
      ...deps,
      zone: deps.zone ?? null,
      members: () => [...this.#clusters.values()].map(membersOf),
    })
    this.#access = {
      generations: this.#generations,
      clusters: () => this.#clusters,
      hold: clusters => {
        this.#clusters = clusters
        this.#watch.configured()
      },
      admit: (config, backend) => this.#admitted({ config }, backend),
      letGo: (tenant, why) => this.#letGo(tenant, why),
      probe: (cluster, tenant, first) => this.#probe(cluster, tenant, first),
    }
  }

  ids(): readonly string[] {
    return [...this.#clusters.keys()]
  }

  /** The cluster; and, if it is named, the backend in its newest table. */
  has(cluster: string, backend: string | null = null): boolean {
    const tenants = this.#clusters.get(cluster)?.tenants
    return tenants !== undefined && (backend === null || tenants.has(backend))
  }

  /** Exchanges and tunnels on a backend; 0 where there is none. */
  left(cluster: string, backend: string): number {
    return this.#clusters.get(cluster)?.tenants.get(backend)?.left() ?? 0
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
    return this.#generations.table
  }

  generation(): number {
    return this.table().generation
  }

  /**
   * Takes in what the store knew, in one table that is not published (nobody listens yet), and begins the checks. What the
   * config has by the same id comes first, with the stored mark; a cluster that is no longer configured is left out and logged.
   */
  start(
    initial: readonly { readonly cluster: string; readonly backend: NewBackend }[],
    lost: ReadonlyMap<string, readonly LostMember[]> = new Map(),
  ): void {
    for (const cluster of this.#clusters.values()) cluster.lost = lost.get(cluster.config.id)
    for (const { cluster: id, backend } of initial) {
      const cluster = this.#clusters.get(id)
      const configured = cluster?.tenants.get(backend.id)
      if (!cluster || configured) {
        const why = cluster ? 'the config has one of this id' : 'the config has no such cluster'
        this.#deps.log.warn({ cluster: id, backend: backend.id }, `stored backend left out: ${why}`)
        if (backend.mark) configured?.set({ mark: backend.mark }, `marked ${backend.mark}`)
        continue
      }
      cluster.tenants.set(backend.id, this.#admitted(cluster, backend))
    }
    if (initial.length + lost.size > 0) this.#generations.recompile()
    this.#watch.configured()
    for (const cluster of this.#clusters.values())
      for (const tenant of cluster.tenants.values()) {
        const { affinity } = cluster.config
        if (this.#deps.earlierSessions && affinity.method === 'cookie')
          tenant.sessionsKnownAtMs = this.#deps.clock.now() + affinity.ttlSeconds * 1000
        tenant.show('known at start')
        this.#probe(cluster, tenant, tenant.spec.instance ? 'asked' : 'spread')
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
   * added in one change (a new life of it). With `close` and `open` it holds for all threads in one instant, when the last of them
   * has it: until then those who come admit nobody. Throws `unknown_backend` or `backend_exists` with nothing changed; when the
   * data plane does not take the table, the former membership goes out as a newer generation and the cause is thrown.
   */
  async change(clusterId: string, change: Change): Promise<number> {
    return this.#generations.inTurn(async () => {
      const cluster = this.#cluster(clusterId)
      this.#departed.sweep()
      const { tenants, lost, guarded } = cluster
      const undo = undoOf(cluster)
      const gone = removedBy(cluster, change)
      const turn = turnOf(cluster, change)
      const added = this.#addedBy(cluster, change)
      for (const { spec } of gone) tenants.delete(spec.id)
      for (const tenant of added) tenants.set(tenant.spec.id, tenant)
      cluster.lost = change.lost ?? lost
      cluster.guarded = change.guarded ?? guarded
      const turning = prepareTurn(turn, added)
      try {
        await this.#generations.publishOr(undo)
      } catch (error) {
        for (const tenant of turning) tenant.prepareTurn(null)
        for (const tenant of added) this.#letGo(tenant, 'the change was not taken')
        throw error
      }
      if (turn) this.#deps.board.turn()
      for (const tenant of turning) tenant.turned()
      for (const tenant of gone) this.#letGo(tenant, 'deregistered')
      for (const tenant of added) {
        tenant.show('registered')
        this.#probe(cluster, tenant, 'at once')
      }
      return this.generation()
    })
  }

  setAffinityKeys(keys: readonly AffinityKey[]): Promise<number> {
    return this.#generations.setAffinityKeys(keys)
  }

  /** Scaling's own fence: no new clients; whatever the operator marked stays as it is. */
  fence(cluster: string, id: string, why: string): void {
    this.#tenant(cluster, id).set({ fenced: true }, why)
  }

  unfence(cluster: string, id: string): void {
    this.#tenant(cluster, id).set({ fenced: false }, 'fence lifted')
  }

  /** Null: there is no such backend. */
  fenced(cluster: string, id: string): boolean | null {
    return this.#clusters.get(cluster)?.tenants.get(id)?.facts.fenced ?? null
  }

  /**
   * While anybody holds it, its silence does not count: a paused or starved backend is not dead. That it refuses
   * connections, or answers badly, counts as ever.
   */
  holdHealth(cluster: string, id: string, held: boolean, by = 'snapshot'): void {
    this.#watch.hold(this.#tenant(cluster, id), by, held)
  }

  /** How many of a cluster's backends in rotation are well, and what follows. */
  standing(cluster: string): Standing & Count {
    const { standing, count } = this.#watch.poll(this.#cluster(cluster).config)
    return { ...standing, ...count }
  }

  /** What a check of a backend of this cluster at that address needs to know. */
  target(cluster: string, address: ProbeTarget): ProbeTarget {
    return this.#watch.target(this.#cluster(cluster).config, address)
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
    if (mark === null) this.#watch.pardon(tenant)
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
    await tenant.drain(policy, forGood, signal)
    return tenant.proof()
  }

  /** Bound clients go elsewhere from now on, as at the end of a drain. */
  seal(cluster: string, id: string): void {
    this.#tenant(cluster, id).set({ sealed: true }, 'bound clients go elsewhere')
  }

  /** How long its oldest tunnel has been open; null: it has none, or nobody said in time. */
  async oldestTunnelMs(cluster: string, id: string): Promise<number | null> {
    const place = this.#clusters.get(cluster)?.tenants.get(id)?.place
    return (place && (await this.#deps.port.oldestTunnelMs?.(place.slot, place.epoch))) ?? null
  }

  /** Takes in a new configuration, in one generation or not at all; `reconfigure.ts` says what becomes of each backend. */
  reconfigure(configs: readonly ClusterConfig[]): Promise<Reconfigured> {
    this.#departed.sweep()
    return reconfigure(this.#access, configs)
  }

  /** Drains a backend that the configuration does not name any more, and takes it out. */
  leave(cluster: string, id: string, policy: DrainPolicy, signal: AbortSignal): Promise<void> {
    return leave(this.#access, this.#tenant(cluster, id), policy, signal)
  }

  /** After it was taken out: sees out what is in flight on it by the policy, and frees its slot. */
  seeOut(cluster: string, id: string, policy: DrainPolicy): Promise<void> {
    return this.#departed.seeOut(`${cluster}/${id}`, policy)
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
    for (const { id, host, port, weight, zone = null } of config.backends) {
      const incarnation = staticIncarnation(config.id, id, host, port)
      // Ready from the start: a restart never begins with an outage.
      const spec = { id, host, port, weight, zone, incarnation, instance: null, verified: true, mark: null }
      cluster.tenants.set(id, this.#admitted(cluster, spec))
    }
    return cluster
  }

  #admitted({ config }: Pick<Cluster, 'config'>, backend: NewBackend): Tenant {
    const countsSessions = config.affinity.method === 'cookie'
    const deps = { ...this.#tenantDeps, poll: this.#watch.poll(config) }
    return new Tenant(config.id, backend, this.#slots.allocate(), countsSessions, deps)
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
      for (const tenant of added) tenant.opened()
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

  #probe({ config }: Cluster, tenant: Tenant, first: FirstCheck): void {
    if (tenant.facts.mark !== 'maint') this.#watch.begin(config, tenant, first)
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
