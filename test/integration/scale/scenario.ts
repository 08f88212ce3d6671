/**
 * The main job, end to end and on real parts: one instance grows to four, shrinks to one and is replaced, under continuous load.
 * Run on each driver by the tests beside this file.
 */
import { Agent } from 'node:http'
import t, { type Test } from 'tap'
import type { DriverKind } from '../../../lib/config/config.ts'
import { silentLog } from '../../../lib/log.ts'
import { type Server, startServer } from '../../../lib/server.ts'
import { demoCluster } from '../../support/demo-cluster.ts'
import { get, Load, type LoadReport, tellTunnel } from '../../support/load.ts'
import { until } from '../../support/wait.ts'

const sessionsCount = 40
/** Between emulated machines that share a processor with others' it may take long; that it comes at all is what is asked. */
const askTimeoutMs = 120_000

export interface ScenarioOptions {
  readonly driver: DriverKind
  readonly connections: number
  readonly webSockets: number
  readonly pauseMs: number
  readonly operationTimeoutMs: number
}

/** The load ends by itself after this, whatever became of the test. */
const limitMs = 800_000

export function scaleScenario(options: ScenarioOptions): void {
  t.test(
    `1 → 4 → 1 → replace on ${options.driver}, ${options.connections} connections and ${options.webSockets} WebSockets`,
    async t => {
      const { config } = await demoCluster(t, { driver: options.driver, drainSeconds: 2 })
      const server = await startServer(config, { log: silentLog })
      t.teardown(() => server.close({ graceMs: 0 }))
      tellStates(t, server)
      const port = server.listeners[0]!.port
      await until('the first instance serves', () => ready(server).length === 1, options.operationTimeoutMs)

      await putSessions(port)
      const [source] = ready(server)
      const load = new Load({ ...options, port, limitMs, reopen: true, timeoutMs: askTimeoutMs })
      t.teardown(() => load.stop())
      await load.start()

      await scale(t, server, 4, options)
      const clones = ready(server).filter(id => id !== source)
      t.equal(clones.length, 3, 'three clones serve')
      await everySessionOnEveryInstance(t, server)
      await load.further(options.connections * 2)
      t.same(load.failures, [], 'no request failed while growing')

      // Clients who come now go to the clones: these have sessions and tunnels to lose when they leave.
      const newcomers = new Load({
        ...options,
        connections: 16,
        webSockets: 8,
        port,
        limitMs,
        reopen: true,
        timeoutMs: askTimeoutMs,
      })
      t.teardown(() => newcomers.stop())
      await newcomers.start()
      const tunnels = server.control
        .backends('demo')
        .filter(({ id }) => id !== source)
        .map(backend => backend.tunnels)
      t.ok(Math.max(...tunnels) > 0, `the clones have tunnels: ${tunnels}`)

      await scale(t, server, 1, options)
      const [survivor] = ready(server)
      await load.further(options.connections)
      t.same([...load.failures, ...newcomers.failures], [], 'no request failed while shrinking')

      const replaced = await operate(
        server,
        { kind: 'replace', cluster: 'demo', instanceId: survivor! },
        options,
      )
      t.equal(replaced.status, 'completed', JSON.stringify(replaced.error))
      const [heir, ...others] = ready(server)
      t.not(heir, survivor, 'another instance serves')
      t.same(others, [], 'and only one')
      await everySessionOnEveryInstance(t, server)
      await load.further(options.connections)

      for (const report of [await load.stop(), await newcomers.stop()]) {
        t.comment(`${report.answers.length} answers, ${report.tunnels.length} tunnels`)
        judge(t, report)
      }
      await nothingLeftBehind(t, server)
    },
  )
}

/** Whoever reads a failure wants to know who served when. */
function tellStates(t: Test, server: Server): void {
  server.control.subscribe(({ at, event }) => {
    if (event.type === 'backend_state')
      t.comment(`${at} ${event.backend}: ${event.from} → ${event.to} (${event.reason})`)
    if (event.type === 'operation_step' && event.status !== 'started')
      t.comment(`${at} ${event.step} ${event.status}`)
  })
}

/** Sessions written through the front door, before anything is cloned. */
async function putSessions(port: number): Promise<void> {
  for (let i = 0; i < sessionsCount; i++) {
    const { status, body } = await get(port, `/sessions/s${i}`, { method: 'POST', body: `value ${i}` })
    if (status >= 300) throw new Error(`session s${i}: status ${status}: ${body}`)
  }
}

/**
 * Asked of the instances themselves, past the front door, each on one connection: QEMU's user network takes new ones one at a time, and
 * under load one that it turned away is tried again only after seconds.
 */
async function everySessionOnEveryInstance(t: Test, server: Server): Promise<void> {
  for (const { id, port } of server.control.backends('demo')) {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    let readable = 0
    for (let i = 0; i < sessionsCount; i++) {
      const { status, body } = await get(port, `/sessions/s${i}`, { agent, timeoutMs: askTimeoutMs })
      if (status === 200 && (JSON.parse(body) as { value: string }).value === `value ${i}`) readable++
    }
    agent.destroy()
    t.equal(readable, sessionsCount, `every session is readable on ${id}`)
  }
}

function ready(server: Server): readonly string[] {
  return server.control
    .backends('demo')
    .filter(backend => backend.state === 'ready')
    .map(backend => backend.id)
}

async function scale(t: Test, server: Server, target: number, options: ScenarioOptions): Promise<void> {
  const command = {
    kind: 'scale',
    cluster: 'demo',
    direction: null,
    targetCount: target,
    immediate: false,
    drainConnections: true,
  } as const
  const operation = await operate(server, command, options)
  t.equal(operation.status, 'completed', `to ${target}: ${JSON.stringify(operation.error)}`)
  t.equal(ready(server).length, target, `${target} serve`)
}

async function operate(
  server: Server,
  command: Parameters<Server['control']['execute']>[0],
  options: ScenarioOptions,
) {
  const result = await server.control.execute(command, 'test')
  if (result.result !== 'operation') throw new Error(`no operation: ${JSON.stringify(result)}`)
  return server.control.waitOperation(result.operation.id, options.operationTimeoutMs)
}

/** Every answer good, every tunnel ended only when it was asked to, every client on one instance at a time. */
function judge(t: Test, report: LoadReport): void {
  const endedAtMs = performance.now()
  const clients = new Set(report.answers.map(answer => answer.client))
  t.same(report.failures, [], 'no request failed at all')
  t.ok(report.answers.length > clients.size * 5, 'there was load')
  const odd = report.tunnels.filter(
    ({ faults, code }) => faults.length > 0 || (code !== null && code !== 1001),
  )
  t.same(odd.map(tellTunnel), [], 'every WebSocket heard its echoes and was closed with 1001 at most')
  // One that comes to an emulated machine right before that is told to leave may not get so far; one that stays does.
  const silent = report.tunnels.filter(
    ({ echoed, openedAtMs, closedAtMs }) =>
      echoed === 0 && (closedAtMs ?? endedAtMs) - openedAtMs > askTimeoutMs,
  )
  t.same(silent.map(tellTunnel), [], 'every WebSocket that had the time spoke')
  const spoke = report.tunnels.filter(({ echoed }) => echoed > 0).length
  t.ok(spoke >= report.tunnels.length / 2, `${spoke} of ${report.tunnels.length} WebSockets spoke`)

  // A client may move when its instance leaves; it never comes back to one that it left, and nothing answers in between.
  const wanderers: string[] = []
  for (const client of clients) {
    const visited = report.answers.filter(answer => answer.client === client).map(answer => answer.instance)
    const runs = visited.filter((instance, i) => instance !== visited[i - 1])
    if (new Set(runs).size !== runs.length) wanderers.push(`client ${client}: ${runs.join(' → ')}`)
  }
  t.same(wanderers, [], 'no client was answered by two instances at a time')
}

async function nothingLeftBehind(t: Test, server: Server): Promise<void> {
  const [node] = await server.control.nodes()
  t.equal(node?.instances.length, 1, 'one instance is held')
  t.same(node?.snapshots, [], 'no snapshot is left')
}
