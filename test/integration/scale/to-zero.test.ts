/** Scale to zero with real processes and real threads: a request that finds nobody waits, whatever protocol it speaks. */
import { connect } from 'node:http2'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { silentLog } from '../../../lib/log.ts'
import { type Server, startServer } from '../../../lib/server.ts'
import { type DemoOptions, demoCluster } from '../../support/demo-cluster.ts'
import { get } from '../../support/load.ts'
import { freePort } from '../../support/ports.ts'
import { until } from '../../support/wait.ts'

async function start(t: Test, options: Partial<DemoOptions>) {
  const scaleToZero = { idle_after: '1s', max_waiting: 8, wait_timeout: '60s', ...options.scaleToZero }
  const demo = await demoCluster(t, {
    driver: 'process',
    cloneFrom: 'golden',
    affinity: 'none',
    ...options,
    scaleToZero,
  })
  const server = await startServer(demo.config, { log: silentLog })
  t.teardown(() => server.close({ graceMs: 0 }))
  return { server, port: server.listeners[0]!.port }
}

const operations = async (server: Server) =>
  (await server.control.operations({ limit: 100 })).map(({ type, actor }) => `${type} ${actor}`).reverse()

const empty = (server: Server) => until('nobody is left', () => server.control.backends('demo').length === 0)

t.test('from zero, to zero, and from zero again: by HTTP, by HTTP/2 and by a WebSocket', async t => {
  const { server, port } = await start(t, { h2c: true })
  t.strictSame(server.control.backends('demo'), [])
  const first = await Promise.all([1, 2, 3, 4].map(() => get(port, '/healthz')))
  t.strictSame(
    first.map(({ status }) => status),
    [200, 200, 200, 200],
  )
  const body = await get(port, '/sessions/x', { method: 'POST', body: 'sent while somebody serves' })
  t.equal(body.status, 200)
  t.strictSame(await operations(server), ['scale_out demand'], 'one operation for all of them')

  await empty(server)
  const socket = new WebSocket(`ws://127.0.0.1:${port}/ws`)
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
  t.pass('a WebSocket was opened')
  socket.terminate()

  await empty(server)
  const session = connect(`http://127.0.0.1:${server.listeners[1]!.port}`)
  const stream = session.request({ ':path': '/sessions/y', ':method': 'POST' })
  stream.end('a body that waits too')
  const status = await new Promise((resolve, reject) => {
    stream.once('response', headers => resolve(headers[':status'])).once('error', reject)
  })
  t.equal(status, 200, 'an HTTP/2 request')
  session.destroy()

  const done = await server.control.operations({ limit: 100 })
  t.ok(done.every(({ status }) => status === 'completed' || status === 'running'))
})

t.test('too many, or too long: 503 with Retry-After', async t => {
  // A template that never answers: whoever waits, waits to the end.
  const port = await freePort()
  const { server, port: door } = await start(t, {
    threads: 1,
    scaleToZero: { max_waiting: 2, wait_timeout: '1500ms' },
    command: ['node', '-e', `require('node:net').createServer().listen(${port}, '127.0.0.1')`],
  })
  const answers = await Promise.all(
    [1, 2, 3].map(async () => {
      const response = await fetch(`http://127.0.0.1:${door}/`)
      return `${response.status} ${response.headers.get('retry-after')} ${(await response.text()).split(':')[0]}`
    }),
  )
  t.strictSame(answers.sort(), ['503 1 503 queue_full', '503 1 503 queue_timeout', '503 1 503 queue_timeout'])
  t.strictSame(server.control.backends('demo'), [])
})
