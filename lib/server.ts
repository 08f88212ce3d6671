/**
 * The composition root, read top to bottom: config → store → drivers → clusters → proxy → scaling → admin.
 * `close()` is the reverse. The only file that names concrete drivers and stores, by way of their registries.
 */
import { randomBytes } from 'node:crypto'
import { createAdminServer } from '../routes/server.ts'
import { type Clock, systemClock } from './clock.ts'
import { Board } from './cluster/board.ts'
import { Clusters } from './cluster/clusters.ts'
import type { Config, ListenerConfig, NodeConfig } from './config/config.ts'
import type { ConfigResult } from './config/parse.ts'
import { Audit } from './control/audit.ts'
import { Policies } from './control/policies.ts'
import { Control } from './control.ts'
import { TidegateError } from './errors.ts'
import { Events } from './events.ts'
import type { Driver } from './hypervisor/driver.ts'
import { createDriver } from './hypervisor/registry.ts'
import { hasKeys, loadKeys, rotateKeys } from './keyring.ts'
import { createLog, type Log } from './log.ts'
import type { MetricSources } from './metrics/metrics.ts'
import { SpareThreads } from './proxy/event-loop.ts'
import { Observation } from './proxy/observe/observation.ts'
import { Plane } from './proxy/plane.ts'
import { columnsMax } from './proxy/plane-memory.ts'
import { TlsHolder } from './proxy/tls/holder.ts'
import { TlsKeeper } from './proxy/tls/keeper.ts'
import type { Wanted } from './proxy/waking.ts'
import { Reload } from './reload.ts'
import { Scaling } from './scaling/scaling.ts'
import { ChangingJobs, type Job, startSchedule } from './schedule.ts'
import { openStore } from './store/open.ts'
import type { MarkRecord, Store } from './store/store.ts'
import type { MetricsText, ReloadView } from './views.ts'

export interface ServerOptions {
  readonly log?: Log
  readonly clock?: Clock
  /** Parts to use instead of those that the configuration names: for embedding, and to inject faults in tests. */
  readonly store?: Store
  readonly drivers?: Readonly<Record<string, Driver>>
  /** Where a reload reads the configuration: the file that this one came from. Without it there is nothing to reload. */
  readonly source?: () => Promise<ConfigResult>
}

export interface Server {
  readonly listeners: readonly ListenerConfig[]
  readonly admin: ListenerConfig
  readonly control: Control
  /**
   * Resolves when what a former process left is finished or undone, and reality and the store were compared once. It serves before
   * that. Never rejects: what could not be recovered is logged, and tried again with every reconcile.
   */
  readonly recovered: Promise<void>
  /** Takes in a new configuration, all of it or nothing; without one, reads the source again. */
  reload(config?: Config): Promise<ReloadView>
  /** Stops accepting, finishes what is in flight within the grace period, leaves the instances running. Idempotent. */
  close(options?: { readonly graceMs?: number }): Promise<void>
}

/** Starts everything. Rejects with nothing left running: `image_missing`, `port_in_use`, `already_running`, `store_unavailable` … */
export async function startServer(config: Config, options: ServerOptions = {}): Promise<Server> {
  const log = options.log ?? createLog()
  const clock = options.clock ?? systemClock
  const undo: (() => Promise<void> | void)[] = []
  try {
    return await compose(await openGround(config, options, log, clock, undo))
  } catch (error) {
    for (const close of undo.reverse()) await close()
    throw error
  }
}

/** What every part is made with. */
interface Ground {
  readonly config: Config
  readonly options: ServerOptions
  readonly log: Log
  readonly clock: Clock
  readonly events: Events
  readonly store: Store
  readonly tls: TlsKeeper
  readonly observation: Observation
  readonly spares: SpareThreads
  /** What ends a part, in the order in which they were made. */
  readonly undo: (() => Promise<void> | void)[]
}

async function openGround(
  config: Config,
  options: ServerOptions,
  log: Log,
  clock: Clock,
  undo: (() => Promise<void> | void)[],
): Promise<Ground> {
  // They load while the store is read.
  const spares = new SpareThreads(config.threads, log)
  undo.push(() => spares.end())

  // Store.
  const store = options.store ?? (await openStore(config.store))
  undo.push(() => store.close())
  const events = new Events(clock.now)

  // Certificates.
  const tls = await TlsKeeper.open(config, { clock, log, events })
  undo.push(() => tls.close())
  const observation = new Observation(config.threads, config, columnsMax(config.threads))
  return { config, options, log, clock, events, store, tls, observation, spares, undo }
}

async function compose(ground: Ground): Promise<Server> {
  const { config, options, log, clock, events, store, tls, observation, undo } = ground
  const installation = await installationId(store)

  // Drivers.
  const driverOf = (node: NodeConfig) =>
    options.drivers?.[node.id] ?? createDriver(node, { clock, log: log.child({ node: node.id }) })
  const nodes = config.nodes.map(node => ({ config: node, driver: driverOf(node) }))
  await checkTemplates(config, nodes)

  // Clusters.
  const { plane, clusters } = await createPlanes(ground, wanted => {
    for (const { cluster } of wanted) void scaling.readiness.wanted(cluster)
  })

  // Scaling reads reality before the first request is let in.
  const scaling: Scaling = new Scaling({ clusters, nodes, store, clock, events, log, installation })
  const policies = new Policies({ clusters, store, audit: new Audit(ground) })
  await policies.restore(config)
  clusters.start(await scaling.membership(), scaling.lost())
  const marks = await store.marks()
  restoreMarks(marks, clusters)

  // Proxy.
  await plane.start(clusters.table())

  // Admin.
  const reload = new Reload(config, nodes, {
    ...{ ...ground, clusters, scaling, plane, checkTemplates, createDriver: driverOf },
    parts: [tls, observation, policies],
  })
  undo.push(() => reload.close())
  const closing = new AbortController()
  const control = createControl(ground, {
    clusters,
    scaling,
    policies,
    plane,
    reload,
    closing: closing.signal,
  })
  control.resume(marks)
  const admin = await createAdminServer(control, { host: config.admin.host, port: config.admin.port, log })
  undo.push(() => admin.close())

  // What works by itself from here on.
  const stopSchedule = keepHouse({ scaling, clusters, store, clock, reload, tls }, log)
  undo.push(stopSchedule)
  const recovered = scaling.recover().catch((error: unknown) => log.error({ err: error }, 'recovery failed'))

  const close = async (graceMs: number | undefined) => {
    closing.abort()
    const { shutdown } = reload.config
    // All at once: whatever one of them waits for, the grace period of the traffic runs from now.
    const traffic = plane.stop(graceMs ?? shutdown.graceMs, shutdown)
    await Promise.all([stopSchedule(), admin.close(), traffic, scaling.close()])
    await recovered
    reload.close()
    control.close()
    clusters.close()
    tls.close()
    await store.close()
  }
  let closed: Promise<void> | null = null
  return {
    get listeners() {
      return plane.listeners()
    },
    admin: admin.address,
    ...{ control, recovered },
    reload: given => control.reload('embedding', given),
    close: ({ graceMs } = {}) => {
      closed ??= close(graceMs)
      return closed
    },
  }
}

/** Both planes, with nobody listening yet. */
async function createPlanes(
  ground: Ground,
  onWanted: (wanted: readonly Wanted[]) => void,
): Promise<{ readonly plane: Plane; readonly clusters: Clusters }> {
  const { config, store, clock, tls, undo } = ground
  const board = Board.create(config.threads, columnsMax(config.threads))
  const { listeners, threads, trustedProxies, debugHeaders, overload } = config
  const plane: Plane = new Plane({
    ...{ ...ground, board, listeners, threads, trustedProxies, debugHeaders, overload },
    onSessions: seen => clusters.noteSessions(seen),
    onWanted,
    tls: () => tls.material(),
  })
  const holder = new TlsHolder(tls.material())
  tls.onChange(material => {
    holder.renew(material)
    plane.renewTls(material)
  })
  const earlierSessions = await hasKeys(store)
  const affinityKeys = await loadKeys(store, clock.now())
  const clusters = new Clusters({
    ...{ ...ground, configs: config.clusters, board, port: plane, affinityKeys, earlierSessions },
    tls: cluster => (cluster.tls ? holder.upstream(cluster.tls).probeOptions() : null),
    zone: config.zone,
  })
  undo.push(() => plane.stop(0))
  undo.push(() => clusters.close())
  return { plane, clusters }
}

function createControl(
  ground: Ground,
  parts: {
    readonly clusters: Clusters
    readonly scaling: Scaling
    readonly policies: Policies
    readonly plane: Plane
    readonly reload: Reload
    readonly closing: AbortSignal
  },
): Control {
  const { clusters, scaling, policies, plane, reload, closing } = parts
  const read = ground.options.source ?? noSource
  const { observation } = ground
  const metrics = metricsOf({
    ...{ observation, generation: () => clusters.generation() },
    certificates: () => ground.tls.certificates(),
    scaling: () => scaling.report.numbers(),
    clusters: () =>
      clusters.ids().map(id => ({
        ...{ id, instances: scaling.count(id), wanted: scaling.repairs.wanted(id) },
        warm: scaling.readiness.warm(id),
        backends: clusters.backends(id),
      })),
  })
  const control = new Control({
    ...{ ...ground, clusters, scaling, policies, audit: new Audit(ground) },
    nodes: () => reload.nodes,
    certificates: () => ground.tls.certificates(),
    metrics,
    reload: (actor, given) => reload.run(actor, given ? async () => ({ config: given }) : read),
    ready: () => {
      if (closing.aborted) return { ready: false, reason: 'shutting down' }
      return plane.serving().length > 0
        ? { ready: true, reason: 'serving' }
        : { ready: false, reason: 'no data-plane thread serves' }
    },
  })
  ground.undo.push(() => control.close())
  return control
}

/** Loaded when somebody asks for the first time: the library takes a tenth of what a start may take. */
function metricsOf(sources: Omit<MetricSources, 'version'>): () => Promise<MetricsText> {
  const make = async () => {
    const { Metrics, packageVersion } = await import('./metrics/metrics.ts')
    return new Metrics({ ...sources, version: packageVersion })
  }
  let made: ReturnType<typeof make> | null = null
  return async () => {
    made ??= make()
    return (await made).text()
  }
}

/** Names this installation on everything that it makes. Lives as long as the store. */
async function installationId(store: Store): Promise<string> {
  const keys = ['installation', 'installation_copy']
  const kept = await Promise.all(keys.map(key => store.value(key)))
  const name = kept.find(value => typeof value === 'string') ?? null
  const flaws = name === null ? await store.flaws() : []
  const damaged = flaws.filter(({ of, id }) => of === 'value' && keys.includes(id))
  if (damaged.length > 0)
    throw new TidegateError(
      'store_unavailable',
      `the store does not say any more what it calls this installation (${damaged[0]?.why}); without that Tidegate cannot tell its own instances from others. Put the store back from a copy`,
    )
  const said = typeof name === 'string' ? name : randomBytes(12).toString('hex')
  // Twice: with it every instance is lost.
  if (kept.some(value => value !== said))
    await store.write(keys.map(key => ({ put: 'value', key, value: said }) as const))
  return said
}

/** Operators' marks on the backends of the config file; those of all others came with the membership. */
function restoreMarks(marks: readonly MarkRecord[], clusters: Clusters): void {
  for (const { cluster, backend, mark } of marks) {
    const configured =
      clusters.has(cluster) && clusters.config(cluster).backends.some(({ id }) => id === backend)
    if (configured) clusters.mark(cluster, backend, mark)
  }
}

/** A template that cannot work is refused at the door, not at the first scale-out. */
async function checkTemplates(
  config: Config,
  nodes: readonly { readonly config: { readonly id: string }; readonly driver: Driver }[],
): Promise<void> {
  for (const cluster of config.clusters) {
    const instance = cluster.instance
    if (!instance) continue
    for (const { driver } of nodes.filter(node => node.driver.kind === instance.driver)) {
      const faults = (await driver.check(instance.template)).filter(row => !row.ok && !row.advice)
      if (faults.length === 0) continue
      const lines = faults.map(({ name, detail, fix }) => `${name}: ${detail}${fix ? ` (${fix})` : ''}`)
      throw new TidegateError(
        faults[0]!.code ?? 'template_invalid',
        `Cluster \`${cluster.id}\` cannot run its instances: ${lines.join('; ')}`,
        { details: { cluster: cluster.id, faults } },
      )
    }
  }
}

const noSource = async (): Promise<never> => {
  throw new TidegateError(
    'invalid_request',
    'this Tidegate was not started from a file; its program calls `reload` with a configuration',
  )
}

/** Returns the way to stop it. */
function keepHouse(parts: Omit<Parameters<typeof housekeeping>[0], 'refreshes'>, log: Log) {
  const refreshes = new ChangingJobs(log)
  const stop = startSchedule(housekeeping({ ...parts, refreshes }), log)
  return async () => {
    await stop()
    await refreshes.close()
  }
}

/** Of clusters with clones that stand by: when they are made anew. */
function refreshJobs(clusters: Clusters, scaling: Scaling): readonly Job[] {
  return clusters.ids().flatMap(id => {
    const { clones } = clusters.config(id).standby
    const run = async () => scaling.readiness.refresh(id)
    return clones ? [{ name: `refresh the clones of ${id}`, cron: clones.refresh, run }] : []
  })
}

function housekeeping(parts: {
  readonly scaling: Scaling
  readonly clusters: Clusters
  readonly store: Store
  readonly clock: Clock
  readonly reload: Reload
  readonly tls: TlsKeeper
  readonly refreshes: ChangingJobs
}) {
  const { scaling, clusters, store, clock, reload, tls, refreshes } = parts
  return [
    { name: 'reconcile', cron: '*/10 * * * * *', run: () => scaling.reconcile() },
    { name: 'scale to zero', cron: '* * * * * *', run: () => scaling.readiness.lookForIdle() },
    {
      name: 'stand ready',
      cron: '* * * * * *',
      run: async () => {
        await refreshes.hold(refreshJobs(clusters, scaling))
        await scaling.readiness.keepReady()
      },
    },
    {
      name: 'rotate affinity keys',
      cron: '0 3 * * *',
      run: async () => {
        await clusters.setAffinityKeys(await rotateKeys(store, clock.now(), reload.cookieLifeMaxMs))
      },
    },
    { name: 'rotate ticket keys', cron: '30 3 * * *', run: async () => tls.rotateTicketKeys() },
  ]
}
