/**
 * A new configuration taken into a Tidegate that serves: all of it, or nothing.
 *
 *   read ──► compare ──► prepare ──► take in: one generation ──► commit ──► see out those who leave, in the background
 *     │         │           │              │
 *     ▼         ▼           ▼              ▼
 *   faults   refused     undone         undone                  (each: nothing has changed)
 *
 * `prepare` is whatever can fail and nobody sees: new listeners listen, templates are checked, drivers are made. What stays, stays:
 * no member that is named before and after loses a connection, a session or a counter. One reload at a time, which is the caller's
 * care.
 */
import type { Clock } from './clock.ts'
import type { DrainPolicy } from './cluster/backend.ts'
import type { Clusters } from './cluster/clusters.ts'
import type { BackendRef, Reconfigured } from './cluster/reconfigure.ts'
import type { Config, NodeConfig } from './config/config.ts'
import { type Change, difference, type HeldNow } from './config/difference.ts'
import type { ConfigResult } from './config/parse.ts'
import { TidegateError, toTidegateError } from './errors.ts'
import type { Events } from './events.ts'
import type { Driver } from './hypervisor/driver.ts'
import type { Log } from './log.ts'
import type { PlaneConfig, Prepared } from './proxy/plane-settings.ts'
import type { Scaling } from './scaling/scaling.ts'
import type { Store, Write } from './store/store.ts'
import type { ReloadView } from './views.ts'

export interface ReloadNode {
  readonly config: NodeConfig
  readonly driver: Driver
}

/** Whatever else takes in its part of a configuration. Its `prepare` rejects with nothing changed. */
export interface ReloadPart {
  prepare(config: Config): Promise<Prepared>
  /** The configuration is as it was; what it names may not be. */
  look?(): Promise<void>
}

export interface ReloadDeps {
  readonly clusters: Clusters
  readonly scaling: Scaling
  readonly plane: { prepare(config: PlaneConfig): Promise<Prepared> }
  /** Made ready in this order before the data plane, and committed before it. */
  readonly parts: readonly ReloadPart[]
  readonly store: Store
  readonly events: Events
  readonly clock: Clock
  readonly log: Log
  readonly createDriver: (node: NodeConfig) => Driver
  /** Rejects when a cluster's template cannot work on these nodes. */
  readonly checkTemplates: (config: Config, nodes: readonly ReloadNode[]) => Promise<void>
}

/** How long those who leave wait for those who came to be ready. */
const handOverMs = 30_000
const handOverPollMs = 50

export class Reload {
  readonly #deps: ReloadDeps
  #config: Config
  #nodes: readonly ReloadNode[]
  #cookieLifeMaxMs: number
  /** By `cluster/backend`. */
  readonly #leaving = new Map<string, AbortController>()

  constructor(config: Config, nodes: readonly ReloadNode[], deps: ReloadDeps) {
    this.#config = config
    this.#nodes = nodes
    this.#cookieLifeMaxMs = cookieLifeMaxMs(config)
    this.#deps = deps
  }

  /** What is in force. */
  get config(): Config {
    return this.#config
  }

  /** The longest life of any cookie that was issued since the start. */
  get cookieLifeMaxMs(): number {
    return this.#cookieLifeMaxMs
  }

  get nodes(): readonly ReloadNode[] {
    return this.#nodes
  }

  /**
   * Reads and takes in. Rejects with nothing changed: `invalid_config` with every fault, `reload_refused` with every refusal,
   * `port_in_use`, `template_invalid`, `no_capacity`, `store_unavailable` …
   */
  async run(actor: string, read: () => Promise<ConfigResult>): Promise<ReloadView> {
    const { events, log } = this.#deps
    try {
      const view = await this.#takeIn(configOf(await read()), actor)
      events.publish({ type: 'reloaded', changes: view.changes, error: null })
      log.info({ actor, changes: view.changes }, 'configuration reloaded')
      return view
    } catch (error) {
      const { code, message, details } = toTidegateError(error)
      events.publish({ type: 'reloaded', changes: [], error: { code, message } })
      log.error({ actor, code, details }, `configuration not reloaded: ${message}`)
      throw error
    }
  }

  /** Those who are still leaving stay as they are: the end of the process is theirs too. */
  close(): void {
    for (const abort of this.#leaving.values()) abort.abort(new Error('shutting down'))
    this.#leaving.clear()
  }

  async #takeIn(next: Config, actor: string): Promise<ReloadView> {
    const { clusters, plane, parts } = this.#deps
    const before = this.#config
    const changes = this.#compare(next)
    if (changes.length === 0) {
      for (const part of parts) await part.look?.()
      return { changed: false, changes: [], leaving: [], generation: clusters.generation() }
    }
    const nodes = this.#nodesOf(next)
    await this.#deps.checkTemplates(next, nodes)
    const prepared: Prepared[] = []
    let reconfigured: Reconfigured
    try {
      for (const part of [...parts, plane]) prepared.push(await part.prepare(next))
      // Things may have gone on while this was made ready.
      this.#compare(next)
      reconfigured = await this.#recorded(next, changes, actor, () => clusters.reconfigure(next.clusters))
    } catch (error) {
      for (const one of prepared.reverse()) await one.undo()
      throw error
    }
    this.#config = next
    this.#nodes = nodes
    this.#cookieLifeMaxMs = Math.max(this.#cookieLifeMaxMs, cookieLifeMaxMs(next))
    this.#deps.scaling.setNodes(nodes)
    for (const one of prepared)
      await this.#attempt('a part of the new configuration was not taken by a thread', () => one.commit())
    await this.#attempt('what the store knows of a new cluster could not be taken in', () =>
      this.#restore(before, next),
    )
    const leaving = this.#seeOut(before, reconfigured)
    return {
      changed: true,
      changes: changes.map(({ text }) => text),
      leaving: leaving.map(({ cluster, backend }) => ({ cluster_id: cluster, backend_id: backend })),
      generation: clusters.generation(),
    }
  }

  #compare(next: Config): readonly Change[] {
    const { changes, refusals } = difference(this.#config, next, this.#held())
    if (refusals.length === 0) return changes
    const sentences = refusals.map(({ path, reason }) => `\`${path}\` cannot change: ${reason}`)
    throw new TidegateError(
      'reload_refused',
      `${sentences.join('; ')}. Nothing was applied; take these back, or restart Tidegate.`,
      { details: { refusals } },
    )
  }

  #held(): HeldNow {
    const { clusters, scaling } = this.#deps
    return {
      instances: cluster => scaling.count(cluster),
      operation: cluster => scaling.running(cluster),
      holder: (cluster, id) => {
        if (!clusters.has(cluster) || this.#leaving.has(`${cluster}/${id}`)) return null
        const view = clusters.backends(cluster).find(backend => backend.id === id)
        return view ? (view.instance ? 'instance' : 'api') : null
      },
    }
  }

  #nodesOf(next: Config): readonly ReloadNode[] {
    const held = new Map(this.#nodes.map(node => [node.config.id, node.driver]))
    return next.nodes.map(config => ({
      config,
      driver: held.get(config.id) ?? this.#deps.createDriver(config),
    }))
  }

  /** Written before it takes effect; when it does not, that is written too. */
  async #recorded<T>(
    next: Config,
    changes: readonly Change[],
    actor: string,
    act: () => Promise<T>,
  ): Promise<T> {
    const { store } = this.#deps
    await store.write(this.#history(next, changes, actor, 'done'))
    try {
      return await act()
    } catch (error) {
      const failed = { cluster: null, text: `it failed and was undone: ${toTidegateError(error).message}` }
      await this.#attempt('the end of a reload was not written', () =>
        store.write(this.#history(this.#config, [failed], actor, 'failed')),
      )
      throw error
    }
  }

  async #attempt(failure: string, act: () => Promise<void>): Promise<void> {
    try {
      await act()
    } catch (error) {
      this.#deps.log.error({ err: error }, failure)
    }
  }

  /** What changes the whole is in the history of each cluster. */
  #history(
    next: Config,
    changes: readonly Change[],
    actor: string,
    outcome: 'done' | 'failed',
  ): readonly Write[] {
    const atMs = this.#deps.clock.now()
    const whole = changes.filter(({ cluster }) => cluster === null)
    const ids = new Set([
      ...next.clusters.map(({ id }) => id),
      ...changes.flatMap(({ cluster }) => cluster ?? []),
    ])
    return [...ids].flatMap((cluster): Write[] => {
      const own = [...changes.filter(change => change.cluster === cluster), ...whole].map(({ text }) => text)
      if (own.length === 0) return []
      const reason = `Reloaded the configuration: ${own.join('; ')}`
      const what = { action: 'reload', outcome } as const
      return [{ put: 'history', record: { cluster, atMs, actor, ...what, from: null, to: null, reason } }]
    })
  }

  /** A cluster that comes (back) brings what the store knows of it: backends of the API, and marks. */
  async #restore(before: Config, next: Config): Promise<void> {
    const { clusters, store } = this.#deps
    const known = new Set(before.clusters.map(({ id }) => id))
    const fresh = new Set(next.clusters.map(({ id }) => id).filter(id => !known.has(id)))
    if (fresh.size === 0) return
    const { backends, marks } = await store.membership()
    for (const { cluster, id, address, weight, incarnation, zone = null } of backends) {
      if (!fresh.has(cluster) || clusters.has(cluster, id)) continue
      const where = { id, host: address.host, port: address.port, weight, incarnation, zone }
      await clusters.change(cluster, { add: [{ ...where, instance: null, verified: false, mark: null }] })
    }
    for (const { cluster, backend, mark } of marks)
      if (fresh.has(cluster) && clusters.has(cluster, backend)) clusters.mark(cluster, backend, mark)
  }

  /** In the background. Those that are named again stay. */
  #seeOut(before: Config, { leaving, departed }: Reconfigured): readonly BackendRef[] {
    const { clusters, log } = this.#deps
    const drainOf = (cluster: string): DrainPolicy =>
      [...this.#config.clusters, ...before.clusters].find(({ id }) => id === cluster)!.drain
    for (const [name, abort] of [...this.#leaving]) {
      const [cluster = '', backend = ''] = name.split('/')
      const stays = this.#names(cluster, backend)
      if (!stays && clusters.has(cluster)) continue
      abort.abort(new Error('the configuration has another word for it now'))
      this.#leaving.delete(name)
      if (stays) clusters.unfence(cluster, backend)
    }
    for (const { cluster, backend } of departed)
      void clusters.seeOut(cluster, backend, drainOf(cluster)).catch((error: unknown) => {
        log.error({ cluster, backend, err: error }, 'what was left on a former backend could not be seen out')
      })
    const fresh = leaving.filter(({ cluster, backend }) => !this.#leaving.has(`${cluster}/${backend}`))
    // All are known to leave before one of them looks for a successor.
    for (const { cluster, backend } of fresh)
      this.#leaving.set(`${cluster}/${backend}`, new AbortController())
    for (const ref of fresh) void this.#leave(ref, drainOf(ref.cluster))
    return fresh
  }

  #names(cluster: string, backend: string): boolean {
    const config = this.#config.clusters.find(({ id }) => id === cluster)
    return config?.backends.some(({ id }) => id === backend) ?? false
  }

  /** Never rejects. */
  async #leave({ cluster, backend }: BackendRef, policy: DrainPolicy): Promise<void> {
    const { clusters, store, log } = this.#deps
    const name = `${cluster}/${backend}`
    const abort = this.#leaving.get(name)!
    try {
      await this.#successors(cluster, abort.signal)
      await clusters.leave(cluster, backend, policy, abort.signal)
      await clusters.waitGone(cluster, backend, 0)
      await store.write([{ delete: 'mark', cluster, backend }])
    } catch (error) {
      if (!abort.signal.aborted) log.error({ cluster, backend, err: error }, 'a backend could not leave')
    } finally {
      if (this.#leaving.get(name) === abort) this.#leaving.delete(name)
    }
  }

  /** New clients are not left without anybody: those who leave go on until one who stays is ready, or nobody warms up any more. */
  async #successors(cluster: string, signal: AbortSignal): Promise<void> {
    const { clusters, clock } = this.#deps
    const deadline = clock.monotonic() + handOverMs
    while (clock.monotonic() < deadline) {
      const others = clusters.backends(cluster).filter(({ id }) => !this.#leaving.has(`${cluster}/${id}`))
      if (others.some(({ state }) => state === 'ready')) return
      if (!others.some(({ state }) => state === 'warming')) return
      await clock.sleep(handOverPollMs, signal)
    }
  }
}

const cookieLifeMaxMs = ({ clusters }: Config): number =>
  Math.max(
    0,
    ...clusters.map(({ affinity }) => (affinity.method === 'cookie' ? affinity.ttlSeconds * 1000 : 0)),
  )

function configOf(result: ConfigResult): Config {
  if ('config' in result) return result.config
  const { faults } = result
  const first = faults[0]
  throw new TidegateError(
    'invalid_config',
    `The configuration has ${faults.length === 1 ? 'a fault' : `${faults.length} faults`}; nothing was applied. ${first ? `${first.path || 'file'}: ${first.message} (${first.fix})` : ''}`.trim(),
    { details: { faults } },
  )
}
