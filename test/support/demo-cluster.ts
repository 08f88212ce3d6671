/** A whole Tidegate with the demo application behind it, on either driver, in a folder of its own. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { systemClock } from '../../lib/clock.ts'
import type { Config, DriverKind } from '../../lib/config/config.ts'
import { parseConfig } from '../../lib/config/load.ts'
import { createDriver } from '../../lib/hypervisor/registry.ts'
import { silentLog } from '../../lib/log.ts'
import { vmImage } from './vm-image.ts'
import { until } from './wait.ts'

const examples = join(import.meta.dirname, '../../examples')

export interface DemoOptions {
  readonly driver: DriverKind
  readonly cloneFrom?: 'live' | 'golden'
  readonly warmRequests?: readonly { readonly method?: string; readonly path: string }[]
  readonly affinity?: 'none'
  /** A second listener, for HTTP/2 in the clear. */
  readonly h2c?: boolean
  /** Of the process driver, instead of the demo application's. */
  readonly command?: readonly string[]
  readonly standby?: Readonly<Record<string, unknown>>
  readonly warmPool?: Readonly<Record<string, unknown>>
  /** As in the file; there is no minimum then. */
  readonly scaleToZero?: Readonly<Record<string, unknown>>
  readonly threads?: number
  readonly maxInstances?: number
  readonly resizeFirstCpus?: number
  readonly drainSeconds?: number
  readonly minInstances?: number
  readonly directory?: string
  readonly healthyThreshold?: number
  readonly healthInterval?: string
}

export interface Demo {
  readonly config: Config
  readonly directory: string
  /** The configuration as text, for a server in another process. */
  readonly text: string
}

/** The configuration of a demo cluster; whatever its instances leave behind ends with the test. */
export async function demoCluster(t: Test, options: DemoOptions): Promise<Demo> {
  const directory = options.directory ?? mkdtempSync(join(tmpdir(), 'tidegate-'))
  const text = JSON.stringify(await document(options, directory))
  const config = parseDemo(text, directory)
  t.teardown(async () => {
    // Again if need be: a process that is killed on a busy machine takes its time to be gone.
    await until('its instances to end', () => endInstances(config).then(() => true))
    rmSync(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 })
  })
  return { config, directory, text }
}

export function parseDemo(text: string, directory: string): Config {
  const parsed = parseConfig(text, { file: 'tidegate.yaml', directory, cpus: 2 })
  if ('faults' in parsed) throw new Error(JSON.stringify(parsed.faults))
  return parsed.config
}

async function document(options: DemoOptions, directory: string) {
  const vm = options.driver === 'qemu'
  return {
    listeners: [
      { address: '127.0.0.1:0' },
      ...(options.h2c ? [{ address: '127.0.0.1:0', protocol: 'h2c' }] : []),
    ],
    threads: options.threads ?? 2,
    admin: { address: '127.0.0.1:0' },
    store: { kind: 'sqlite', path: join(directory, 'tidegate.db') },
    shutdown_grace: '2s',
    // What else this machine has to do is no reason to refuse a client here.
    overload: { max_event_loop_delay: '60s' },
    nodes: [
      {
        id: 'local',
        driver: options.driver,
        capacity: { cpus: 16, memory: '16GiB', disk: '40GiB' },
        options: {
          directory: join(directory, 'local'),
          // On a machine with much else to do a boot takes its time.
          ...(vm ? { boot_timeout_ms: 600_000 } : {}),
        },
      },
    ],
    clusters: [
      {
        id: 'demo',
        routes: [{ host: '*', path: '/' }],
        balance: 'least_request',
        affinity: options.affinity ?? { method: 'cookie', name: 'tidegate', ttl_seconds: 3600 },
        instance: {
          driver: options.driver,
          port: 8080,
          clone_from: options.cloneFrom ?? 'live',
          warm_requests: options.warmRequests ?? [],
          resources: { cpus: 1, memory: vm ? '384MiB' : '64MiB', disk: '64MiB' },
          template: vm
            ? await vmImage()
            : { command: options.command ?? ['node', join(examples, 'app/server.ts')] },
        },
        drain: {
          grace_period_seconds: options.drainSeconds ?? 2,
          wait_for_connections: true,
          notify_clients: true,
        },
        health: {
          path: '/healthz',
          interval: options.healthInterval ?? '1s',
          // An emulated machine that many ask at once is slow, not ill.
          timeout: vm ? '5s' : '1s',
          healthy_threshold: options.healthyThreshold ?? 2,
          unhealthy_threshold: vm ? 6 : 3,
        },
        // QEMU's own network takes new connections one at a time: a crowd that comes back at once waits in line.
        ...(vm ? { timeouts: { connect: '30s', header: '120s' } } : {}),
        scaling: {
          min_instances: options.minInstances ?? (options.scaleToZero ? 0 : 1),
          max_instances: options.maxInstances ?? 8,
          // Tests scale as fast as they can.
          ...{ scale_in_cooldown_seconds: 0, scale_out_cooldown_seconds: 0 },
          ...(options.resizeFirstCpus ? { resize_first_cpus: options.resizeFirstCpus } : {}),
          ...(options.standby ? { standby: options.standby } : {}),
          ...(options.warmPool ? { warm_pool: options.warmPool } : {}),
          ...(options.scaleToZero ? { scale_to_zero: options.scaleToZero } : {}),
        },
      },
    ],
  }
}

export async function endInstances(config: Config): Promise<void> {
  for (const node of config.nodes) {
    const driver = createDriver(node, { clock: systemClock, log: silentLog })
    const held = await driver.inspect()
    await Promise.all([...held.instances, ...held.snapshots].map(({ name }) => driver.destroy(name)))
  }
}
