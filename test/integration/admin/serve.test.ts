/** `serve` and `check` as processes: signals, exit codes, what a faulty start says. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { asker } from '../../support/admin.ts'
import { until } from '../../support/wait.ts'

const main = join(import.meta.dirname, '../../../lib/cli/main.ts')

function start(t: { teardown(fn: () => void): void }, ...argv: string[]) {
  const child = spawn(process.execPath, [main, ...argv], { stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => child.kill('SIGKILL'))
  let out = ''
  let err = ''
  child.stdout.on('data', chunk => {
    out += chunk
  })
  child.stderr.on('data', chunk => {
    err += chunk
  })
  const exit = once(child, 'close').then(([code, signal]) => ({ code, signal, out, err }))
  return { child, exit, out: () => out }
}

t.test('serve serves until SIGTERM: what is in flight ends, exit 0', async t => {
  const release = Promise.withResolvers<void>()
  const arrived = Promise.withResolvers<void>()
  const backend = createServer(async (request, response) => {
    if (request.url === '/slow') {
      arrived.resolve()
      await release.promise
    }
    response.end('hello')
  }).listen(0, '127.0.0.1')
  t.teardown(() => backend.close())
  await once(backend, 'listening')
  const { port } = backend.address() as AddressInfo
  const directory = t.testdir({
    'tidegate.yaml': `
listeners: [{ address: "127.0.0.1:0" }]
admin: { address: "127.0.0.1:0" }
threads: 0
store: { kind: memory }
clusters: [{ id: web, backends: [{ id: a, address: "127.0.0.1:${port}" }], health: { interval: 100ms } }]`,
  })
  const { child, exit, out } = start(
    t,
    'serve',
    '-c',
    join(directory, 'tidegate.yaml'),
    '--json',
    '--log-level',
    'error',
  )
  const { listeners, admin } = await until('the announcement', () => JSON.parse(out()))
  const front = asker(listeners[0].port)
  await until('a backend', async () => (await front('/')).status === 200)
  t.match(await asker(admin.port)('/api/v1/clusters/web/status'), {
    status: 200,
    body: { cluster_id: 'web' },
  })
  let slow = front('/slow')
  // On a machine that is too busy for its health checks the backend may be out for a moment.
  const answered = () => Promise.race([slow.then(() => true), arrived.promise.then(() => false)])
  while (await answered()) slow = front('/slow')
  child.kill('SIGTERM')
  await until('the admin API to close', () =>
    asker(admin.port)('/healthz').then(
      () => false,
      () => true,
    ),
  )
  release.resolve()
  t.match(await slow, { status: 200, text: 'hello' })
  t.match(await exit, { code: 0, signal: null })
})

t.test('a second signal ends at once', async t => {
  const hanging = createServer(() => {}).listen(0, '127.0.0.1')
  t.teardown(() => {
    hanging.closeAllConnections()
    hanging.close()
  })
  await once(hanging, 'listening')
  const { port } = hanging.address() as AddressInfo
  const directory = t.testdir({
    'tidegate.yaml': `
listeners: [{ address: "127.0.0.1:0" }]
admin: { address: "127.0.0.1:0" }
threads: 0
store: { kind: memory }
shutdown_grace: 1h
clusters: [{ id: web, backends: [{ id: a, address: "127.0.0.1:${port}" }], timeouts: { header: 1h }, health: { interval: 1h } }]`,
  })
  const { child, exit, out } = start(
    t,
    'serve',
    '-c',
    join(directory, 'tidegate.yaml'),
    '--json',
    '--log-level',
    'error',
  )
  const { listeners, admin } = await until('the announcement', () => JSON.parse(out()))
  const stuck = asker(listeners[0].port)('/').then(
    () => 'answered',
    () => 'cut',
  )
  await once(hanging, 'request')
  child.kill('SIGINT')
  await until('the first signal to be heard', () =>
    asker(admin.port)('/healthz').then(
      () => false,
      () => true,
    ),
  )
  t.equal(child.exitCode, null, 'it waits for what is in flight')
  child.kill('SIGINT')
  t.match(await exit, { code: 1 })
  t.equal(await stuck, 'cut')
})

t.test('a port in use is exit 1 and one line', async t => {
  const taken = createTcpServer().listen(0, '127.0.0.1')
  t.teardown(() => taken.close())
  await once(taken, 'listening')
  const { port } = taken.address() as AddressInfo
  const config = (listener: number, admin: number) => `
listeners: [{ address: "127.0.0.1:${listener}" }]
admin: { address: "127.0.0.1:${admin}" }
threads: 0
store: { kind: memory }
clusters: [{ id: web, backends: [{ id: a, address: "127.0.0.1:1" }] }]`
  const directory = t.testdir({ 'admin.yaml': config(0, port), 'listener.yaml': config(port, 0) })
  for (const name of ['admin.yaml', 'listener.yaml']) {
    const { code, out, err } = await start(t, 'serve', '-c', join(directory, name), '--log-level', 'silent')
      .exit
    t.equal(code, 1, name)
    t.equal(out, '')
    t.match(err, new RegExp(`^tidegate: cannot start: .*${port}.*in use.*\n$`), name)
  }
})

t.test('a faulty config is exit 2 with every fault', async t => {
  const directory = t.testdir({ 'tidegate.yaml': 'thread: 2\nclusters: []\n' })
  const file = join(directory, 'tidegate.yaml')
  for (const verb of ['check', 'serve']) {
    const { code, out, err } = await start(t, verb, '-c', file).exit
    t.equal(code, 2)
    t.equal(out, '')
    t.equal(
      err,
      `${file}:1:1 thread: unknown key \`thread\` — did you mean \`threads\`?\n${file}:2:11 clusters: an empty list is too short — at least 1\ntidegate: 2 faults in ${file}; nothing was started.\n`,
    )
  }
  const json = await start(t, 'check', '-c', file, '--json').exit
  t.equal(json.code, 2)
  t.equal(JSON.parse(json.out).error.details.faults.length, 2)
  const missing = await start(t, 'check', '-c', join(directory, 'none.yaml')).exit
  t.match(missing, { code: 2, err: /there is no file/ })
})
