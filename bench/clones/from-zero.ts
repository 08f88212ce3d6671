/** How long a request waits that finds no instance: a whole Tidegate with one cluster that scales to zero, on real VMs of the demo application. */
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { systemClock } from '../../lib/clock.ts'
import { parseConfig } from '../../lib/config/load.ts'
import { createDriver } from '../../lib/hypervisor/registry.ts'
import { silentLog } from '../../lib/log.ts'
import { type Server, startServer } from '../../lib/server.ts'

export interface FromZero {
  /** Of each waiting request, from the golden snapshot alone. */
  readonly cloneMs: readonly number[]
  /** With a paused clone in the warm pool. */
  readonly pooledMs: readonly number[]
}

const lookMs = 50
const waitMaxMs = 900_000
const settleMs = 500

/** The golden snapshot is built once, by a cold boot, and is there for both. */
export async function fromZero(
  directory: string,
  template: Readonly<Record<string, unknown>>,
  rounds: number,
): Promise<FromZero> {
  try {
    const cloneMs = await waits(directory, template, rounds, {})
    const pooledMs = await waits(directory, template, rounds, { warm_pool: { size: 1, state: 'paused' } })
    return { cloneMs, pooledMs }
  } finally {
    const [node] = configOf(directory, template, {}).nodes
    const driver = createDriver(node!, { clock: systemClock, log: silentLog })
    const { instances, snapshots } = await driver.inspect()
    for (const { name } of [...instances, ...snapshots]) await driver.destroy(name)
  }
}

async function waits(
  directory: string,
  template: Readonly<Record<string, unknown>>,
  rounds: number,
  more: Readonly<Record<string, unknown>>,
): Promise<readonly number[]> {
  const server = await startServer(configOf(directory, template, more), { log: silentLog })
  const times: number[] = []
  try {
    for (let i = 0; i < rounds; i++) {
      await atRest(server)
      const begun = performance.now()
      const { status } = await fetch(`http://127.0.0.1:${server.listeners[0]!.port}/sessions/warm`)
      times.push(performance.now() - begun)
      if (status !== 200) throw new Error(`the request that waited was answered with ${status}`)
    }
  } finally {
    await server.close({ graceMs: 0 })
  }
  return times
}

/** Nobody serves, nothing is under way, and what is to stand ready does. */
async function atRest(server: Server): Promise<void> {
  const deadline = performance.now() + waitMaxMs
  while (performance.now() < deadline) {
    await pause(lookMs)
    const { golden, warm_pool: pool, ...status } = await server.control.status('demo')
    const quiet = status.scaling_status === 'stable' && server.control.backends('demo').length === 0
    if (quiet && golden !== null && (pool === null || pool.ready === pool.size)) return pause(settleMs)
  }
  throw new Error('nothing came to rest')
}

function configOf(
  directory: string,
  template: Readonly<Record<string, unknown>>,
  more: Readonly<Record<string, unknown>>,
) {
  const options = { directory: join(directory, 'from-zero'), boot_timeout_ms: 900_000 }
  const capacity = { cpus: 4, memory: '4GiB', disk: '40GiB' }
  const text = JSON.stringify({
    listeners: [{ address: '127.0.0.1:0' }],
    threads: 1,
    admin: { address: '127.0.0.1:0' },
    store: { kind: 'sqlite', path: join(directory, 'from-zero.db') },
    overload: { max_event_loop_delay: '60s' },
    nodes: [{ id: 'local', driver: 'qemu', capacity, options }],
    clusters: [
      {
        id: 'demo',
        routes: [{ host: '*', path: '/' }],
        affinity: 'none',
        instance: {
          ...{ driver: 'qemu', port: 8080, clone_from: 'golden', template },
          warm_requests: [
            { path: '/' },
            { method: 'POST', path: '/sessions/warm' },
            { path: '/sessions/warm' },
          ],
          resources: { cpus: 1, memory: '384MiB', disk: '64MiB' },
        },
        drain: { grace_period_seconds: 0, wait_for_connections: true, notify_clients: false },
        health: {
          path: '/healthz',
          interval: '1s',
          timeout: '5s',
          healthy_threshold: 1,
          unhealthy_threshold: 6,
        },
        scaling: {
          ...{ min_instances: 0, max_instances: 2, ...more },
          scale_to_zero: { idle_after: '1s', wait_timeout: '120s' },
        },
      },
    ],
  })
  const parsed = parseConfig(text, { file: 'bench', directory, cpus: 2 })
  if ('faults' in parsed) throw new Error(JSON.stringify(parsed.faults))
  return parsed.config
}
