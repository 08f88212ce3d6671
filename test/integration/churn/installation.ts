/**
 * The Tidegate that is churned: one cluster or several, each on two nodes of its own, with sessions by cookie and drains that wait for sessions
 * to end.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Config } from '../../../lib/config/config.ts'
import { endInstances, parseDemo } from '../../support/demo-cluster.ts'
import { vmImage, vmImageOf } from '../../support/vm-image.ts'
import { until } from '../../support/wait.ts'

export type ChurnDriver = 'process' | 'qemu'

export interface Installation {
  readonly config: Config
  readonly directory: string
  /** Ends whatever is left, and removes the folder. */
  remove(): Promise<void>
}

export interface InstallationOptions {
  /** Left out: `web`. */
  readonly id?: string
  readonly driver: ChurnDriver
  readonly maxInstances: number
  readonly ttlSeconds: number
  readonly graceSeconds: number
  /** Left out: `live`. */
  readonly cloneFrom?: 'live' | 'golden'
  /** Of the application, relative to the repository. Left out: the demo. */
  readonly main?: string
}

const root = join(import.meta.dirname, '../../..')

/** The name by which a cluster is asked for, where there are several. */
export const hostOf = (cluster: string): string => `${cluster}.churn`

export async function install(...clusters: readonly InstallationOptions[]): Promise<Installation> {
  const directory = mkdtempSync(join(tmpdir(), 'tidegate-churn-'))
  const config = parseDemo(JSON.stringify(await document(clusters, directory)), directory)
  const remove = async () => {
    await until('its instances to end', () => endInstances(config).then(() => true))
    rmSync(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 })
  }
  return { config, directory, remove }
}

async function document(clusters: readonly InstallationOptions[], directory: string) {
  const alone = clusters.length === 1
  return {
    listeners: [{ address: '127.0.0.1:0' }],
    threads: 2,
    admin: { address: '127.0.0.1:0' },
    store: { kind: 'sqlite', path: join(directory, 'tidegate.db') },
    // What else this machine has to do is no reason to refuse a client here.
    overload: { max_event_loop_delay: '60s' },
    nodes: clusters.flatMap(cluster => nodes(cluster, directory, alone)),
    clusters: await Promise.all(clusters.map(one => cluster(one, directory, alone))),
  }
}

function nodes({ id = 'web', driver, maxInstances }: InstallationOptions, directory: string, alone: boolean) {
  return ['n1', 'n2'].map(zone => {
    const node = alone ? zone : `${id}-${zone}`
    return {
      ...{ id: node, driver, zone: `zone-${zone}` },
      capacity: { cpus: 4 * maxInstances, memory: '32GiB', disk: '100GiB' },
      options: {
        directory: join(directory, node),
        ...(driver === 'qemu' ? { boot_timeout_ms: 600_000 } : {}),
      },
    }
  })
}

async function cluster(options: InstallationOptions, directory: string, alone: boolean) {
  const { id = 'web', driver, maxInstances } = options
  const vm = driver === 'qemu'
  return {
    id,
    routes: [{ host: alone ? '*' : hostOf(id), path: '/' }],
    balance: 'least_request',
    affinity: { method: 'cookie', name: 'tidegate', ttl_seconds: options.ttlSeconds },
    // A client without a session whose instance dies under it is served by another.
    retries: { on: ['connect', 'reused', 'reset'] },
    instance: {
      ...{ driver, port: 8080, clone_from: options.cloneFrom ?? 'live' },
      resources: { cpus: 1, memory: vm ? '384MiB' : '64MiB', disk: '64MiB' },
      template: await template(options, directory),
    },
    drain: { grace_period_seconds: options.graceSeconds, sessions: 'keep', tunnels: 'close' },
    health: {
      path: '/healthz',
      interval: '1s',
      timeout: vm ? '10s' : '5s',
      healthy_threshold: 1,
      unhealthy_threshold: 6,
    },
    // A machine that is stopped for a while with everything on it is late, not ill.
    timeouts: { connect: '60s', header: '3m' },
    // What comes back at once when everything ran again is no load that returns.
    scaling: {
      min_instances: 1,
      max_instances: maxInstances,
      ...{ scale_in_cooldown_seconds: 0, scale_out_cooldown_seconds: 0 },
      disruption_budget: maxInstances,
      scale_in_cancel_in_flight: 0,
    },
  }
}

function template({ driver, main }: InstallationOptions, directory: string) {
  if (driver === 'process') return { command: ['node', join(root, main ?? 'examples/app/server.ts')] }
  return main === undefined ? vmImage() : vmImageOf(main, join(directory, 'image'))
}
