/**
 * What can go wrong while a cluster grows, done to a whole Tidegate on a real driver and under load: each fault ends the operation
 * with its own error, leaves everything as it was, and costs no client a request.
 */
import { readdirSync, readFileSync, renameSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { systemClock } from '../../../lib/clock.ts'
import type { DriverKind } from '../../../lib/config/config.ts'
import type { Held } from '../../../lib/hypervisor/driver.ts'
import { createDriver } from '../../../lib/hypervisor/registry.ts'
import { silentLog } from '../../../lib/log.ts'
import type { OperationView } from '../../../lib/scaling/operation.ts'
import { type Server, startServer } from '../../../lib/server.ts'
import { type Demo, demoCluster } from '../../support/demo-cluster.ts'
import { fullDisk } from '../../support/full-disk.ts'
import { get, Load, tellTunnel } from '../../support/load.ts'
import { until } from '../../support/wait.ts'

const waitMs = 400_000

export interface FaultOptions {
  readonly driver: DriverKind
  readonly pauseMs: number
}

interface Scene {
  readonly t: Test
  readonly server: Server
  readonly demo: Demo
  readonly source: string
  readonly held: () => Promise<Held>
}

export function faultSuite(options: FaultOptions): void {
  t.test(`faults while growing on ${options.driver}`, async t => {
    const scene = await open(t, options.driver)
    const port = scene.server.listeners[0]!.port
    const load = new Load({
      ...{ port, connections: 8, webSockets: 2, pauseMs: options.pauseMs },
      ...{ limitMs: 800_000, reopen: false },
    })
    await load.start()
    await cloneKilled(scene)
    await snapshotDiskFull(scene)
    await neverHealthy(scene)
    await socketGone(scene)
    const { answers, failures, tunnels } = await load.stop()
    t.same(failures, [], 'no request failed in all this')
    const odd = tunnels.filter(({ code, faults }) => code !== null || faults.length > 0)
    t.same(odd.map(tellTunnel), [], 'no tunnel was closed')
    t.comment(`${answers.length} answers`)
    await sourceKilled(scene)
  })
}

async function open(t: Test, driver: DriverKind): Promise<Scene> {
  const demo = await demoCluster(t, { driver, healthyThreshold: 1, healthInterval: '500ms' })
  const server = await startServer(demo.config, { log: silentLog })
  t.teardown(() => server.close({ graceMs: 0 }))
  await until('the first instance serves', () => ready(server).length === 1, waitMs)
  await get(server.listeners[0]!.port, '/sessions/kept', { method: 'POST', body: 'treasure' })
  const node = createDriver(demo.config.nodes[0]!, { clock: systemClock, log: silentLog })
  return { t, server, demo, source: ready(server)[0]!, held: () => node.inspect() }
}

/** At every try, for it is made again. */
async function cloneKilled(scene: Scene): Promise<void> {
  const operation = await grow(scene)
  let killed = 0
  await until('it has ended', async () => {
    for (const pid of processesOf(cloneOf(operation)).slice(0, 1)) {
      process.kill(pid, 'SIGKILL')
      killed++
    }
    return (await scene.server.control.operation(operation.id)).status !== 'running'
  })
  scene.t.ok(killed > 1, `killed ${killed} times`)
  await undone(
    scene,
    operation,
    /^(instance_died|hypervisor_failed|guest_unreachable|snapshot_failed)$/,
    'a clone killed while it was made',
  )
}

async function snapshotDiskFull(scene: Scene): Promise<void> {
  const snapshots = join(scene.demo.config.nodes[0]!.directory, 'snapshots')
  // More than the small disk has room for, where the application's state is all that is saved.
  const bulk = 'x'.repeat(8_000)
  for (let i = 0; i < 20; i++) {
    await get(scene.server.listeners[0]!.port, `/sessions/bulk${i}`, { method: 'POST', body: bulk })
  }
  await fullDisk(scene.t, snapshots, async () => {
    await undone(scene, await grow(scene), /^disk_full$/, 'the snapshot disk full')
  })
}

/** It takes its identity and then answers nobody: stopped in the very turn, before anybody could find it well. */
async function neverHealthy(scene: Scene): Promise<void> {
  let clone = ''
  const stopped = step(scene, 'identify', 'done', () => {
    const found = processesOf(clone)
    if (found.length === 0) throw new Error(`no process of ${clone} was found`)
    for (const pid of found) process.kill(pid, 'SIGSTOP')
  })
  const operation = await grow(scene)
  clone = cloneOf(operation)
  await stopped
  await undone(scene, operation, /^instance_unhealthy$/, 'a clone that never becomes healthy')
}

/** The sockets are put back afterwards: a socket is its inode, not its name. */
async function socketGone(scene: Scene): Promise<void> {
  const sockets = socketsOf(scene)
  scene.t.ok(sockets.length > 0, 'there are sockets to take away')
  for (const socket of sockets) renameSync(socket, `${socket}.away`)
  const what = "the hypervisor's socket gone"
  try {
    await undone(scene, await grow(scene), /^(hypervisor_unreachable|guest_unreachable)$/, what)
  } catch (error) {
    // Refused at the door, where it is noticed before anything begins.
    scene.t.match(error, { code: 'hypervisor_unreachable' }, what)
    scene.t.strictSame(ready(scene.server), [scene.source], `${what}: the source serves`)
  }
  for (const socket of sockets) renameSync(`${socket}.away`, socket)
}

/** Nothing can be undone about that: the operation fails, and the cluster comes back to its minimum by itself. */
async function sourceKilled(scene: Scene): Promise<void> {
  const { t, server, source } = scene
  const saving = step(scene, 'prepare', 'started')
  const operation = await grow(scene)
  const { pid } = (await scene.held()).instances.find(({ name }) => name === source)!
  await saving
  process.kill(pid!, 'SIGKILL')
  const ended = await server.control.waitOperation(operation.id, waitMs)
  t.equal(ended.status, 'failed', `the source killed while it was saved: ${ended.error?.code}`)
  await until(
    'another instance serves',
    () => ready(server).length === 1 && ready(server)[0] !== source,
    waitMs,
  )
  t.equal((await get(server.listeners[0]!.port, '/healthz')).status, 200)
  await until(
    'nothing is left of the dead one',
    async () => (await scene.held()).instances.length === 1,
    waitMs,
  )
}

async function grow({ server }: Scene): Promise<OperationView> {
  const result = await server.control.execute(
    {
      kind: 'scale',
      cluster: 'demo',
      direction: null,
      targetCount: 2,
      immediate: false,
      drainConnections: true,
    },
    'test',
  )
  if (result.result !== 'operation') throw new Error(JSON.stringify(result))
  return result.operation
}

/** The operation failed for its own reason, and everything is as it was. */
async function undone(scene: Scene, { id }: OperationView, code: RegExp, what: string): Promise<void> {
  const { t, server, source } = scene
  const ended = await server.control.waitOperation(id, waitMs)
  t.equal(ended.status, 'failed', what)
  t.match(ended.error?.code, code, `${what}: ${ended.error?.message}`)
  t.strictSame(ready(server), [source], `${what}: the source serves, and it alone`)
  const { instances, snapshots } = await scene.held()
  t.strictSame(
    instances.map(({ name }) => name),
    [source],
    `${what}: no instance is left over`,
  )
  t.same(snapshots, [], `${what}: no snapshot is left over`)
  const { body } = await get(server.listeners[0]!.port, '/sessions/kept')
  t.match(body, /treasure/, `${what}: the sessions are there`)
}

/** Resolves when the step has the status; `act` is called in that very turn. */
function step({ server }: Scene, name: string, status: string, act = () => {}): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = server.control.subscribe(({ event }) => {
      if (event.type !== 'operation_step' || event.step !== name || event.status !== status) return
      stop()
      try {
        resolve(act())
      } catch (error) {
        reject(error)
      }
    })
  })
}

const cloneOf = ({ id }: OperationView) => `demo-${id}-1`

/** Found at once and without asking the driver: processes that have the instance's name in their command line or environment. */
function processesOf(instance: string): readonly number[] {
  return readdirSync('/proc').flatMap(name => {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) return []
    try {
      const text = ['cmdline', 'environ'].map(file => readFileSync(`/proc/${name}/${file}`, 'utf8')).join('')
      return text.includes(instance) ? [Number(name)] : []
    } catch {
      return []
    }
  })
}

function socketsOf({ demo, source }: Scene): readonly string[] {
  const directory = join(demo.config.nodes[0]!.directory, 'instances', source)
  return readdirSync(directory)
    .map(name => join(directory, name))
    .filter(path => statSync(path).isSocket())
}

function ready(server: Server): readonly string[] {
  return server.control
    .backends('demo')
    .filter(backend => backend.state === 'ready')
    .map(backend => backend.id)
}
