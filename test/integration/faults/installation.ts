/**
 * The cluster that faults are done to, made so that a case is cheap: two nodes whose files are in memory, small machines, short intervals that still
 * bear a machine with much else to do. The same for a controller in this process and for one in a process of its own.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Config } from '../../../lib/config/config.ts'
import { endInstances, parseDemo } from '../../support/demo-cluster.ts'
import { vmImageOf } from '../../support/vm-image.ts'
import { until } from '../../support/wait.ts'
import type { ClusterKind } from './cases.ts'
import { SmallDisk } from './small-disk.ts'

export type MatrixDriver = 'process' | 'qemu'

export interface Installation {
  readonly config: Config
  /** With `tidegate.json` in it. */
  readonly directory: string
  /** Of the nodes. Empty: whoever runs this may not mount any. */
  readonly disks: readonly SmallDisk[]
  /** Ends whatever is left, and removes the folder. */
  remove(): Promise<void>
}

export interface InstallationOptions {
  readonly driver: MatrixDriver
  readonly cluster: ClusterKind
  readonly maxInstances: number
}

/** Of the affinity cookie. */
export const ttlSeconds = 30
const root = join(import.meta.dirname, '../../..')
/** With a way to be killed. */
const main = 'test/support/mortal-app.ts'
/** A VM's memory is a file with holes: it ends when it touches another page of it on a disk that is quite full. */
const spareBytes: Readonly<Record<MatrixDriver, number>> = { process: 0, qemu: 24 * 2 ** 20 }

export async function install(options: InstallationOptions): Promise<Installation> {
  const directory = mkdtempSync(join(tmpdir(), 'tidegate-faults-'))
  const text = JSON.stringify(await document(options, directory))
  writeFileSync(join(directory, 'tidegate.json'), text)
  const config = parseDemo(text, directory)
  const disks =
    process.getuid?.() === 0
      ? config.nodes.map(node => new SmallDisk(node.directory, spareBytes[options.driver]))
      : []
  const remove = async () => {
    // What runs is known by what is on the disk.
    await until('its instances to end', () => endInstances(config).then(() => true))
    for (const disk of disks) disk.remove()
    rmSync(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 })
  }
  return { config, directory, disks, remove }
}

async function document({ driver, cluster, maxInstances }: InstallationOptions, directory: string) {
  const vm = driver === 'qemu'
  return {
    listeners: [{ address: '127.0.0.1:0' }],
    threads: 1,
    debug_headers: true,
    admin: { address: '127.0.0.1:0' },
    store: { kind: 'sqlite', path: join(directory, 'tidegate.db') },
    // What else this machine has to do is no reason to refuse a client here.
    overload: { max_event_loop_delay: '60s' },
    nodes: ['n1', 'n2'].map(id => ({
      ...{ id, driver, zone: `zone-${id}` },
      capacity: { cpus: 8 * maxInstances, memory: '32GiB', disk: '100GiB' },
      options: { directory: join(directory, id), ...(vm ? { boot_timeout_ms: 600_000 } : {}) },
    })),
    clusters: [
      {
        id: 'web',
        routes: [{ host: '*', path: '/' }],
        balance: 'least_request',
        affinity: { method: 'cookie', name: 'tidegate', ttl_seconds: ttlSeconds },
        // A client without a session whose instance dies under it is served by another.
        retries: { on: ['connect', 'reused', 'reset'] },
        instance: {
          ...{ driver, port: 8080, clone_from: cluster === 'golden' ? 'golden' : 'live' },
          resources: { cpus: 1, memory: vm ? '384MiB' : '64MiB', disk: '64MiB' },
          template: vm
            ? await vmImageOf(main, join(directory, 'image'))
            : { command: ['node', join(root, main)] },
        },
        drain: { grace_period_seconds: 1, sessions: 'keep', tunnels: 'close' },
        health: {
          ...{ path: '/healthz', interval: '500ms', timeout: vm ? '2s' : '1s' },
          ...{ healthy_threshold: 1, unhealthy_threshold: 2 },
          // Nobody is well on a machine that stands still, and nobody is ill for that.
          panic_threshold: 50,
        },
        timeouts: { connect: '60s', header: '3m' },
        scaling: {
          ...{ min_instances: 1, max_instances: maxInstances },
          ...{ scale_in_cooldown_seconds: 0, scale_out_cooldown_seconds: 0 },
          disruption_budget: maxInstances,
          scale_in_cancel_in_flight: 0,
          ...(vm ? { resize_first_cpus: 2 } : {}),
          // Made when there is none, and never again.
          ...(cluster === 'standby'
            ? { standby: { count: 1, refresh: '0 0 29 2 *', max_waiting: 100, wait_timeout: '60s' } }
            : {}),
        },
      },
    ],
  }
}
