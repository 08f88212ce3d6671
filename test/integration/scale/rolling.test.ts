/**
 * New releases put into service batch by batch, on real processes behind a real front door and under load: a good one replaces
 * everybody, one that falls ill in its second batch is taken back as a whole, and no client sees either.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import { silentLog } from '../../../lib/log.ts'
import { startServer } from '../../../lib/server.ts'
import { demoCluster, parseDemo } from '../../support/demo-cluster.ts'
import { get, Load, tellTunnel } from '../../support/load.ts'
import { until } from '../../support/wait.ts'

const app = join(import.meta.dirname, '../../../examples/app/server.ts')
const waitMs = 300_000

/**
 * Loaded before the application: it says which release it is, and of the release that is named in ILL every start but the first
 * tells its checks after a while that it is ill. It goes on serving all the same.
 */
const preload = `
  import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
  import http from 'node:http'
  import { join } from 'node:path'
  const { RELEASE = '1', MARKS } = process.env
  mkdirSync(join(MARKS, RELEASE), { recursive: true })
  writeFileSync(join(MARKS, RELEASE, String(process.pid)), '')
  const first = readdirSync(join(MARKS, RELEASE)).length === 1
  let checks = 0
  const { emit } = http.Server.prototype
  http.Server.prototype.emit = function (event, request, response, ...rest) {
    if (event !== 'request') return emit.call(this, event, request, response, ...rest)
    response.setHeader('x-release', RELEASE)
    if (request.url === '/release') return response.end(RELEASE)
    if (request.url === '/healthz' && RELEASE === 'ill' && !first && ++checks > 3)
      return response.writeHead(503).end()
    return emit.call(this, event, request, response, ...rest)
  }
`

t.test('a good release replaces everybody, an ill one nobody, and no request fails', async t => {
  const { config, directory, text } = await demoCluster(t, {
    driver: 'process',
    minInstances: 2,
    healthInterval: '200ms',
    drainSeconds: 1,
  })
  const marks = join(directory, 'marks')
  mkdirSync(marks)
  const file = join(directory, 'release.mjs')
  writeFileSync(file, preload)
  /** The configuration with this release. */
  const release = (name: string) => {
    const document = JSON.parse(text) as { clusters: { instance: { template: object } }[] }
    const env = { RELEASE: name, MARKS: marks }
    document.clusters[0]!.instance.template = { command: ['node', '--import', file, app], env }
    return parseDemo(JSON.stringify(document), directory)
  }
  t.equal(config.clusters.length, 1)
  const server = await startServer(release('1'), { log: silentLog })
  t.teardown(() => server.close({ graceMs: 0 }))
  const backends = () => server.control.backends('demo')
  await until('both instances serve', () => backends().filter(({ state }) => state === 'ready').length === 2)
  const releases = async () =>
    (await Promise.all(backends().map(({ port }) => get(port, '/release')))).map(({ body }) => body)
  const roll = async () => {
    const wish = { batch_size: 1, pause_seconds: 1, max_failure_ratio: 0.01 }
    const result = await server.control.execute({ kind: 'replace_rolling', cluster: 'demo', wish }, 'test')
    if (result.result !== 'operation') throw new Error('no operation')
    return server.control.waitOperation(result.operation.id, waitMs)
  }
  const options = { connections: 6, webSockets: 4, pauseMs: 50 }
  const load = new Load({ ...options, port: server.listeners[0]!.port, limitMs: 2 * waitMs, reopen: true })
  t.teardown(() => load.stop())
  await load.start()
  t.strictSame(await releases(), ['1', '1'])
  // Those under load are bound and stay where they are as long as they can: a new instance is tried by newcomers.
  const newcomers = comeAndGo(server.listeners[0]!.port)
  t.teardown(() => newcomers.stop())

  await server.control.reload('test', release('2'))
  const good = await roll()
  t.match(
    good,
    { status: 'completed', error: null, rolling: { batches: 2, passed: 2 } },
    JSON.stringify(good.error),
  )
  t.strictSame(await releases(), ['2', '2'])
  for (const { checkpoint } of good.rolling?.rows ?? [])
    t.ok((checkpoint?.exchanges ?? 0) > 0 && checkpoint?.failed === 0, JSON.stringify(checkpoint))
  t.strictSame(load.failures, [], 'no request failed while a release came')

  const before = backends().map(({ id }) => id)
  await server.control.reload('test', release('ill'))
  const ill = await roll()
  t.match(ill, { status: 'failed', phase: 'rolled_back', error: { code: 'checkpoint_failed' } })
  t.match(ill.error?.message, /the checkpoint was not met: \S+ (is unhealthy|does not answer its check)/)
  t.strictSame(
    ill.rolling?.rows.map(({ status }) => status),
    ['taken_back', 'taken_back'],
  )
  t.strictSame(await releases(), ['2', '2'])
  const after = backends().map(({ id }) => id)
  t.strictSame(
    before.map(id => after.includes(id)),
    [false, true],
    'the first was replaced and replaced back, the second never left',
  )
  await load.further(50)
  const came = await newcomers.stop()
  t.strictSame(came.failures, [], 'no newcomer was turned away')
  t.ok(came.answers > 20, `${came.answers} newcomers`)

  const report = await load.stop()
  t.comment(`${report.answers.length} answers, ${report.tunnels.length} WebSockets`)
  t.strictSame(report.failures, [], 'no request failed at all')
  const odd = report.tunnels.filter(
    ({ faults, code }) => faults.length > 0 || (code !== null && code !== 1001),
  )
  t.strictSame(odd.map(tellTunnel), [], 'every WebSocket was closed with 1001 at most')
  const [node] = await server.control.nodes()
  t.strictSame(node?.instances.map(({ id }) => id).sort(), after.toSorted(), 'nobody else is left')
})

/** Clients without a cookie, one after another. */
function comeAndGo(port: number) {
  const failures: string[] = []
  let answers = 0
  let stopped = false
  const coming = (async () => {
    while (!stopped) {
      const answer = await get(port, '/whoami').catch((error: Error) => ({ status: 0, body: error.message }))
      if (answer.status === 200) answers++
      else failures.push(`${answer.status} ${answer.body}`)
      await setTimeout(20)
    }
  })()
  const stop = async () => {
    stopped = true
    await coming
    return { failures, answers }
  }
  return { stop }
}
