/**
 * The installation that `npm run bench:operations` measures: a thousand instances in twenty clusters on ten simulated nodes, each made
 * and cloned by Tidegate itself. `breakOff` leaves it as a death in the middle of twenty operations does, with the rubbish of former ones.
 */
import { join } from 'node:path'
import type { Config } from '../../lib/config/config.ts'
import { parseConfig } from '../../lib/config/load.ts'
import { silentLog } from '../../lib/log.ts'
import { type Server, startServer } from '../../lib/server.ts'
import { createMemoryStore } from '../../lib/store/memory.ts'
import type { FakeNode, Fault } from '../../test/support/fake-driver.ts'
import { driversOf } from './simulated.ts'

export interface Size {
  readonly nodes: number
  readonly clusters: number
  /** In each cluster, when all is well. */
  readonly instances: number
}

/** One of each cluster's is found dead: a thousand are left to serve. */
export const thousand: Size = { nodes: 10, clusters: 20, instances: 51 }

export const clusterIds = (size: Size) => numbered('c', size.clusters)
export const nodeIds = (size: Size) => numbered('n', size.nodes)
const numbered = (letter: string, count: number) =>
  Array.from({ length: count }, (_, i) => `${letter}${i + 1}`)

export type StoreKind = 'sqlite' | 'memory'

export interface Installation {
  readonly size: Size
  readonly directory: string
  readonly nodes: readonly FakeNode[]
  readonly store: StoreKind
  /** From now on; none by default. */
  fault: (point: string, name: string) => Fault
}

export function startWorld(world: Installation): Promise<Server> {
  return startServer(configOf(world), {
    log: silentLog,
    drivers: driversOf(world.nodes, (point, name) => world.fault(point, name)),
    ...(world.store === 'memory' ? { store: createMemoryStore() } : {}),
  })
}

/** All instances of all clusters, a few clusters at once; resolves when they serve. */
export async function fill({ control }: Server, size: Size): Promise<void> {
  const waiting = [...clusterIds(size)]
  const work = async () => {
    for (let id = waiting.pop(); id !== undefined; id = waiting.pop())
      await ended(control, await operate(control, id, size.instances))
  }
  await Promise.all([work(), work(), work()])
}

export async function operate(
  control: Server['control'],
  cluster: string,
  targetCount: number,
): Promise<string> {
  const options = { direction: null, immediate: true, drainConnections: false }
  const done = await control.execute({ kind: 'scale', cluster, targetCount, ...options }, 'bench')
  if (done.result !== 'operation') throw new Error(`scaling ${cluster} made no operation`)
  return done.operation.id
}

export async function ended(control: Server['control'], id: string): Promise<void> {
  const view = await control.waitOperation(id, 300_000)
  if (view.status !== 'completed') throw new Error(`operation ${id} ${view.status}: ${view.error?.message}`)
}

/**
 * Brings an operation under way in each cluster, half of them replaces, and resolves when all stand in the middle of a clone, as a
 * death finds them. What it then leaves besides: in each cluster a dead member and an orphan, and in some a source that is paused.
 */
export async function breakOff(world: Installation, { control }: Server): Promise<void> {
  const clusters = clusterIds(world.size)
  let hanging = new Set<string>()
  const all = new Promise<void>(resolve => {
    world.fault = (point, name) => {
      if (point !== 'clone:running') return null
      hanging = hanging.add(name.slice(0, name.indexOf('-')))
      if (hanging.size === clusters.length) resolve()
      return 'hang'
    }
  })
  const members = new Map(clusters.map(cluster => [cluster, control.backends(cluster).map(({ id }) => id)]))
  for (const [index, cluster] of clusters.entries()) {
    if (index % 2 === 0) await operate(control, cluster, world.size.instances + 4)
    else
      await control.execute({ kind: 'replace', cluster, instanceId: members.get(cluster)!.at(-1)! }, 'bench')
  }
  await all
  for (const [index, cluster] of clusters.entries()) {
    const [dead, paused] = members.get(cluster)!
    const node = world.nodes.find(({ instances }) => instances.has(dead!))!
    node.kill(dead!)
    const source = world.nodes.find(({ instances }) => instances.has(paused!))!.instances.get(paused!)!
    if (index % 4 === 0) source.state = 'paused'
    // Older than what is left alone for its youth.
    const old = { createdAtMs: source.createdAtMs - 3_600_000 }
    Object.assign(node.instances.get(dead!)!, old)
    const orphan = `${cluster}-former-1`
    node.instances.set(orphan, {
      ...source,
      name: orphan,
      state: 'stopped',
      ...old,
    })
  }
}

/** What a life that recovered came to, as seen from outside. */
export interface Recovered {
  /** Ready to be picked, of all clusters. */
  readonly serving: number
  readonly paused: number
  /** Instances and snapshots that nobody answers for: they do not serve, and no operation under way has them. */
  readonly strays: number
  /** Operations of before that have not ended. */
  readonly unfinished: number
  /** Operations that this life has undone. */
  readonly undone: number
}

export async function look({ control }: Server, { nodes, size }: Installation): Promise<Recovered> {
  const clusters = clusterIds(size)
  const backends = clusters.flatMap(id => control.backends(id))
  const operations = (await Promise.all(clusters.map(cluster => control.operations({ cluster })))).flat()
  const running = operations.filter(({ status }) => status === 'running')
  // The dead are made up for: that is work of this life.
  const own = running.filter(({ actor }) => actor === 'reconcile')
  const answered = new Set(backends.map(({ id }) => id))
  const names = nodes.flatMap(({ instances, snapshots }) => [...instances.keys(), ...snapshots.keys()])
  const strays = names.filter(name => !answered.has(name) && !own.some(({ id }) => name.includes(id)))
  const instances = nodes.flatMap(node => [...node.instances.values()])
  return {
    serving: backends.filter(({ state }) => state === 'ready').length,
    // A source is while it is saved.
    paused: own.length > 0 ? 0 : instances.filter(({ state }) => state === 'paused').length,
    strays: strays.length,
    unfinished: running.length - own.length,
    undone: operations.filter(({ error }) => error?.code === 'operation_interrupted').length,
  }
}

function configOf({ size, directory, store }: Installation): Config {
  const text = JSON.stringify({
    listeners: [{ address: '127.0.0.1:0' }],
    threads: 2,
    admin: { address: '127.0.0.1:0' },
    store: store === 'sqlite' ? { kind: store, path: join(directory, 'tidegate.db') } : { kind: store },
    shutdown_grace: '1s',
    nodes: nodeIds(size).map((id, index) => ({
      ...{ id, driver: 'process', zone: 'abc'[index % 3] },
      capacity: { cpus: 1_000, memory: '1TiB', disk: '1TiB' },
      options: { directory: join(directory, id) },
    })),
    clusters: clusterIds(size).map(id => ({
      ...{ id, routes: [{ host: `${id}.example.com`, path: '/' }], balance: 'least_request' },
      // What else this machine has to do makes nobody ill.
      health: { path: '/', interval: '2s', timeout: '30s', healthy_threshold: 2, unhealthy_threshold: 10 },
      instance: {
        ...{ driver: 'process', port: 8080, clone_from: 'live' },
        resources: { cpus: 1, memory: '64MiB', disk: '64MiB' },
        template: { command: ['none'] },
      },
      scaling: {
        min_instances: 1,
        max_instances: 100,
        scale_out_cooldown_seconds: 0,
        scale_in_cooldown_seconds: 0,
      },
    })),
  })
  const parsed = parseConfig(text, { file: 'tidegate.yaml', directory, cpus: 2 })
  if ('faults' in parsed) throw new Error(JSON.stringify(parsed.faults))
  return parsed.config
}
