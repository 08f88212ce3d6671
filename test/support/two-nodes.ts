/** A whole Tidegate with the demo application on nodes of the process driver, in one folder, whose document a test shapes. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { Config } from '../../lib/config/config.ts'
import { parseConfig } from '../../lib/config/load.ts'
import { silentLog } from '../../lib/log.ts'
import type { OperationView } from '../../lib/scaling/operation.ts'
import { type Server, startServer } from '../../lib/server.ts'
import { asker } from './admin.ts'
import { endInstances } from './demo-cluster.ts'
import { until } from './wait.ts'

const app = join(import.meta.dirname, '../../examples/app/server.ts')

export interface NodesOptions {
  /** By node, how many instances fit. */
  readonly nodes?: Readonly<Record<string, number>>
  readonly scaling?: object
  readonly drain?: object
  readonly cluster?: object
}

export interface Installation {
  readonly config: Config
  /** One life of it; the instances stay when it is closed. */
  start(): Promise<Life>
}

export interface Life {
  readonly server: Server
  readonly url: string
  readonly ask: ReturnType<typeof asker>
  readonly front: ReturnType<typeof asker>
  /** Brings the cluster to so many instances. */
  scale(target: number): Promise<void>
  backends(): ReturnType<Server['control']['backends']>
  /** How many instances are on each node. */
  spread(): Readonly<Record<string, number>>
  last(): Promise<OperationView>
}

export function installation(t: Test, options: NodesOptions = {}): Installation {
  const directory = mkdtempSync(join(tmpdir(), 'tidegate-'))
  const nodes = Object.entries(options.nodes ?? { n1: 8, n2: 8 })
  const document = {
    listeners: [{ address: '127.0.0.1:0' }],
    threads: 0,
    admin: { address: '127.0.0.1:0' },
    store: { kind: 'sqlite', path: join(directory, 'tidegate.db') },
    shutdown: { grace: '100ms' },
    nodes: nodes.map(([id, cpus]) => ({
      ...{ id, driver: 'process', zone: `zone-${id}`, price: { hourly: 0.1 } },
      capacity: { cpus, memory: '16GiB', disk: '40GiB' },
      options: { directory: join(directory, id) },
    })),
    clusters: [
      {
        id: 'web',
        routes: [{ host: '*', path: '/' }],
        instance: {
          ...{ driver: 'process', clone_from: 'live', template: { command: ['node', app] } },
          resources: { cpus: 1, memory: '64MiB', disk: '1MiB' },
        },
        drain: { grace_period_seconds: 1, ...options.drain },
        health: { path: '/healthz', interval: '1s', healthy_threshold: 1 },
        // Tests scale as fast as they can.
        scaling: { scale_in_cooldown_seconds: 0, scale_out_cooldown_seconds: 0, ...options.scaling },
        ...options.cluster,
      },
    ],
  }
  const parsed = parseConfig(JSON.stringify(document), { file: 'tidegate.yaml', directory, cpus: 2 })
  if ('faults' in parsed) throw new Error(JSON.stringify(parsed.faults))
  const { config } = parsed
  t.teardown(async () => {
    await endInstances(config)
    rmSync(directory, { recursive: true, force: true })
  })
  return { config, start: () => begin(t, config) }
}

async function begin(t: Test, config: Config): Promise<Life> {
  const server = await startServer(config, { log: silentLog })
  t.teardown(() => server.close({ graceMs: 0 }))
  const { control } = server
  const ask = asker(server.admin.port)
  const backends = () => control.backends('web')
  await until('the minimum serves', () => backends().some(({ state }) => state === 'ready'))
  await until('nothing runs', async () => (await control.status('web')).scaling_status !== 'scaling')
  return {
    server,
    url: `http://127.0.0.1:${server.admin.port}`,
    ask,
    front: asker(server.listeners[0]!.port),
    backends,
    scale: async target => {
      const path = '/api/v1/clusters/web/scale?wait=60s'
      const answer = await ask(path, { method: 'POST', body: { target_count: target } })
      if (answer.status !== 200) throw new Error(answer.text)
    },
    spread: () => {
      const counts: Record<string, number> = {}
      for (const { instance } of backends()) {
        const node = instance?.node ?? 'none'
        counts[node] = (counts[node] ?? 0) + 1
      }
      return counts
    },
    last: async () => (await control.operations({ limit: 1 }))[0]!,
  }
}
