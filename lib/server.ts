/**
 * The composition root, read top to bottom: config → store → drivers → clusters → proxy → scaling → admin.
 * `close()` is the reverse. The only file that names concrete drivers and stores, by way of their registries.
 */
import { randomBytes } from 'node:crypto'
import { createAdminServer } from '../routes/server.ts'
import { type Clock, systemClock } from './clock.ts'
import { Board } from './cluster/board.ts'
import { Clusters } from './cluster/clusters.ts'
import type { Config, ListenerConfig } from './config/config.ts'
import { Control } from './control.ts'
import { TidegateError } from './errors.ts'
import { Events } from './events.ts'
import type { Driver } from './hypervisor/driver.ts'
import { createDriver } from './hypervisor/registry.ts'
import { loadKeys, rotateKeys } from './keyring.ts'
import { createLog, type Log } from './log.ts'
import { Plane } from './proxy/plane.ts'
import { Scaling } from './scaling/scaling.ts'
import { startSchedule } from './schedule.ts'
import { openStore } from './store/open.ts'
import type { Store } from './store/store.ts'

export interface ServerOptions {
  readonly log?: Log
  readonly clock?: Clock
  /** Parts to use instead of those that the configuration names: for embedding, and to inject faults in tests. */
  readonly store?: Store
  readonly drivers?: Readonly<Record<string, Driver>>
}

export interface Server {
  readonly listeners: readonly ListenerConfig[]
  readonly admin: ListenerConfig
  readonly control: Control
  /** Stops accepting, finishes what is in flight within the grace period, leaves the instances running. Idempotent. */
  close(options?: { readonly graceMs?: number }): Promise<void>
}

/** Starts everything. Rejects with nothing left running: `image_missing`, `port_in_use`, `already_running`, `store_unavailable` … */
export async function startServer(config: Config, options: ServerOptions = {}): Promise<Server> {
  const log = options.log ?? createLog()
  const clock = options.clock ?? systemClock
  const undo: (() => Promise<void> | void)[] = []
  try {
    return await compose(config, options, log, clock, undo)
  } catch (error) {
    for (const close of undo.reverse()) await close()
    throw error
  }
}

async function compose(
  config: Config,
  options: ServerOptions,
  log: Log,
  clock: Clock,
  undo: (() => Promise<void> | void)[],
): Promise<Server> {
  const events = new Events(clock.now)

  // Store.
  const store = options.store ?? (await openStore(config.store))
  undo.push(() => store.close())
  const installation = await installationId(store)

  // Drivers.
  const nodes = config.nodes.map(node => ({
    config: node,
    driver: options.drivers?.[node.id] ?? createDriver(node, { clock, log: log.child({ node: node.id }) }),
  }))
  await checkTemplates(config, nodes)

  // Clusters.
  const board = Board.create(config.threads)
  const affinityKeys = await loadKeys(store, clock.now())
  const { listeners: addresses, threads, trustedProxies, debugHeaders } = config
  const plane = new Plane({
    ...{ listeners: addresses, threads, trustedProxies, debugHeaders, board, clock, events, log },
    onSessions: seen => clusters.noteSessions(seen),
  })
  const clusters = new Clusters({
    configs: config.clusters,
    board,
    port: plane,
    clock,
    events,
    log,
    affinityKeys,
  })
  undo.push(() => clusters.close())

  // Scaling reads reality before the first request is let in.
  const scaling = new Scaling({ clusters, nodes, store, clock, events, log, installation })
  clusters.start(await scaling.membership())
  await restoreMarks(store, clusters)

  // Proxy.
  const listeners = await plane.start(clusters.table())
  undo.push(() => plane.stop(0))

  // Admin.
  let closing: Promise<void> | null = null
  const ready = () => {
    if (closing) return { ready: false, reason: 'shutting down' }
    return plane.serving().length > 0
      ? { ready: true, reason: 'serving' }
      : { ready: false, reason: 'no data-plane thread serves' }
  }
  const control = new Control({ clusters, scaling, store, nodes, events, clock, log, ready })
  const admin = await createAdminServer(control, { host: config.admin.host, port: config.admin.port, log })
  undo.push(() => admin.close())

  // What works by itself from here on.
  const stopSchedule = startSchedule(housekeeping(config, { scaling, clusters, store, clock }), log)
  undo.push(stopSchedule)
  const recovery = scaling.recover().catch((error: unknown) => log.error({ err: error }, 'recovery failed'))

  const close = async (graceMs: number) => {
    await stopSchedule()
    await admin.close()
    await Promise.all([plane.stop(graceMs), scaling.close()])
    await recovery
    control.close()
    clusters.close()
    await store.close()
  }
  return {
    listeners,
    admin: admin.address,
    control,
    close: ({ graceMs } = {}) => {
      closing ??= close(graceMs ?? config.shutdownGraceMs)
      return closing
    },
  }
}

/** Names this installation on everything that it makes. Lives as long as the store. */
async function installationId(store: Store): Promise<string> {
  const kept = await store.value('installation')
  if (typeof kept === 'string') return kept
  const fresh = randomBytes(12).toString('hex')
  await store.write([{ put: 'value', key: 'installation', value: fresh }])
  return fresh
}

/** Operators' marks on the backends of the config file; those of all others came with the membership. */
async function restoreMarks(store: Store, clusters: Clusters): Promise<void> {
  for (const { cluster, backend, mark } of (await store.membership()).marks) {
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

function housekeeping(
  config: Config,
  parts: { scaling: Scaling; clusters: Clusters; store: Store; clock: Clock },
) {
  const { scaling, clusters, store, clock } = parts
  const ttlMaxMs = Math.max(
    0,
    ...config.clusters.map(({ affinity }) => (affinity.method === 'cookie' ? affinity.ttlSeconds * 1000 : 0)),
  )
  return [
    { name: 'reconcile', cron: '*/10 * * * * *', run: () => scaling.reconcile() },
    {
      name: 'rotate affinity keys',
      cron: '0 3 * * *',
      run: async () => {
        await clusters.setAffinityKeys(await rotateKeys(store, clock.now(), ttlMaxMs))
      },
    },
  ]
}
