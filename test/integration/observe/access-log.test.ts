/**
 * The access log of a whole Tidegate, as a process with two threads: what its lines say of real exchanges, that a rotation loses and
 * repeats none, and that the last are there when the process is gone.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { connect as connectH2 } from 'node:http2'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import t, { type Test } from 'tap'
import { Authority } from '../../support/certificates.ts'
import { origin } from '../../support/origin.ts'
import { Echoing } from '../../support/reloadable.ts'
import { closeServer, listenOn, rawClient } from '../../support/traffic.ts'
import { until } from '../../support/wait.ts'

const main = join(import.meta.dirname, '../../../lib/cli/main.ts')
const directory = t.testdir()
const ca = new Authority(directory)
const pair = ca.issue('server')

type Line = Readonly<Record<string, string | number | null>>

const linesOf = (path: string): readonly Line[] =>
  existsSync(path)
    ? readFileSync(path, 'latin1')
        .split('\n')
        .slice(0, -1)
        .map(line => JSON.parse(line))
    : []

/** A port on which nobody listens. */
async function deadPort(): Promise<number> {
  const server = createServer()
  const port = await listenOn(server)
  await closeServer(server)
  return port
}

async function serve(t: Test) {
  const web = await origin(t, 'web', (request, response) => {
    request.resume()
    request.once('end', () => (request.url === '/hang' ? response.write('begun') : response.end('hello')))
  })
  const [file, log] = [join(directory, 'tidegate.yaml'), join(directory, 'access.log')]
  const tls = `{ certificates: [{ cert: ${pair.cert}, key: ${pair.key} }], alpn: [h2, http/1.1] }`
  writeFileSync(
    file,
    `
listeners: [{ address: "127.0.0.1:0" }, { address: "127.0.0.2:0", tls: ${tls} }]
admin: { address: "127.0.0.1:0" }
threads: 2
store: { kind: memory }
overload: { max_event_loop_delay: 60s }
shutdown: { grace: 0s, tunnels: cut }
access_log: { path: ${log}, user_agent: true }
clusters:
  - { id: web, backends: [{ id: a, address: "127.0.0.1:${web.port}" }] }
  - id: half
    routes: [{ host: half.test, path: / }]
    balance: round_robin
    health: { interval: 1h, unhealthy_threshold: 10 }
    backends: [{ id: dead, address: "127.0.0.1:${await deadPort()}" }, { id: alive, address: "127.0.0.1:${web.port}" }]
`,
  )
  const child = spawn(process.execPath, [main, 'serve', '-c', file, '--log-level', 'silent'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  let [out, err] = ['', '']
  child.stdout.on('data', chunk => {
    out += chunk
  })
  child.stderr.on('data', chunk => {
    err += chunk
  })
  const exit = once(child, 'close')
  const announced = until('the announcement', () => {
    const ports = [...out.matchAll(/127\.0\.0\.\d:(\d+)/g)].map(([, port]) => Number(port))
    return ports.length === 3 ? (ports as [number, number, number]) : null
  })
  const ended = exit.then(() => Promise.reject(new Error(err)))
  ended.catch(() => {})
  const [plain, secure] = await Promise.race([announced, ended])
  return { child, exit, plain, secure, log, said: () => err }
}

async function overTls(port: number, request: string): Promise<string> {
  const socket = connectTls({ port, host: '127.0.0.2', servername: 'localhost', ca: ca.pem })
  let got = ''
  socket.on('data', chunk => {
    got += chunk
  })
  socket.write(request)
  await once(socket, 'close')
  return got
}

async function overH2(port: number, path: string) {
  const client = connectH2(`https://127.0.0.2:${port}`, { ca: ca.pem, servername: 'localhost' })
  const stream = client.request({ ':path': path, 'user-agent': 'two "2"' })
  await once(stream.resume(), 'close')
  client.close()
}

const ask = async (port: number, text: string) => (await rawClient(port, text)).waitClosed()

t.test('every line of it, through a rotation and to the end of the process', async t => {
  const { child, exit, plain, secure, log, said } = await serve(t)
  const trace = '4bf92f3577b34da6a3ce929d0e0e4736'
  const post = `POST /post?a=1 HTTP/1.1\r\nHost: shop.test:8443\r\nConnection: close\r\nContent-Length: 6\r\nTraceparent: 00-${trace}-00f067aa0ba902b7-00\r\n\r\nsecret`
  t.match(await overTls(secure, post), /^HTTP\/1\.1 200[\s\S]*hello$/)
  await overH2(secure, '/two')
  await ask(plain, 'GET /old HTTP/1.0\r\nHost: shop.test\r\n\r\n')
  await ask(plain, 'GET / / HTTP/1.1\r\nHost: shop.test\r\n\r\n')
  // By turns, in each of two threads: one of them is sent to the dead one first.
  for (let i = 0; i < 4; i++)
    await ask(plain, 'GET /half HTTP/1.1\r\nHost: half.test\r\nConnection: close\r\n\r\n')
  const socket = await Echoing.open(plain)
  await socket.echo()
  socket.socket.close()
  await socket.closed
  const all = await until('the lines', () => (linesOf(log).length >= 9 ? linesOf(log) : null))
  const line = (target: string) => all.find(one => one.target === target)
  const common = { client: '127.0.0.1', cluster: 'web', backend: 'a', attempts: 1, ending: '--', error: null }
  t.match(line('/post?a=1'), {
    ...common,
    ...{ method: 'POST', host: 'shop.test:8443', status: 200, bytes_in: 6, bytes_out: 5 },
    ...{ protocol: 'HTTP/1.1', tls: 'TLSv1.3', trace_id: trace, user_agent: null },
  })
  t.match(line('/two'), {
    ...common,
    ...{ method: 'GET', status: 200, bytes_in: 0, bytes_out: 5 },
    ...{ protocol: 'HTTP/2', tls: 'TLSv1.3', trace_id: null, user_agent: 'two "2"' },
  })
  t.match(line('/old'), { ...common, status: 200, protocol: 'HTTP/1.0', tls: null })
  t.match(
    all.find(({ status }) => status === 400),
    { cluster: null, backend: null, attempts: 0, head_ms: null, ending: 'PR', error: 'bad_request' },
  )
  t.match(line('/ws'), { ...common, status: 101, bytes_in: /\d/, bytes_out: /\d/, ending: 'CT' })
  const half = all.filter(({ target }) => target === '/half')
  t.ok(half.every(({ status, backend, ending }) => status === 200 && backend === 'alive' && ending === '--'))
  t.ok(
    half.some(({ attempts }) => attempts === 2),
    'one that was sent twice',
  )
  for (const { time, duration_ms, head_ms, status } of all) {
    t.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    if (status !== 400) t.ok(Number(head_ms) > 0 && Number(duration_ms) >= Number(head_ms))
  }

  const counted = new Set<string>()
  const further = (count: number) =>
    Promise.all(
      Array.from({ length: count }, () => {
        const target = `/n${counted.size}`
        counted.add(target)
        return ask(plain, `GET ${target} HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n`)
      }),
    )
  await further(40)
  await until('their lines', () => linesOf(log).length >= all.length + 40)
  const moved = `${log}.1`
  renameSync(log, moved)
  const during = further(40)
  child.kill('SIGHUP')
  await until('the reload to be told', () => said().includes('reloaded'))
  await during
  await further(40)
  const hanging = await rawClient(plain, 'GET /hang HTTP/1.1\r\nHost: shop.test\r\n\r\n')
  await hanging.expect('begun')
  const tunnel = await Echoing.open(plain)
  child.kill('SIGTERM')
  t.equal(await tunnel.closed, 1006, 'cut, without a word')
  t.strictSame(await exit, [0, null])
  const [before, after] = [linesOf(moved), linesOf(log)].map(lines =>
    lines.map(({ target }) => String(target)).filter(target => /^\/n\d/.test(target)),
  )
  t.ok(before!.length >= 40 && after!.length >= 40, `${before!.length} before, ${after!.length} after`)
  t.match(
    linesOf(log)
      .filter(({ target }) => target === '/hang' || target === '/ws')
      .toSorted((a, b) => String(a.target).localeCompare(String(b.target))),
    [
      { target: '/hang', status: 200, ending: 'PD', error: 'upstream_reset', bytes_out: 5 },
      { target: '/ws', status: 101, ending: 'PT', error: null },
    ],
    'what the end of the process broke off',
  )
  t.strictSame([...before!, ...after!].toSorted(), [...counted].toSorted(), 'each once')
})
