import { createServer, type RequestListener } from 'node:http'
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { systemClock } from '../../../lib/clock.ts'
import type { Verdict } from '../../../lib/cluster/health.ts'
import { probeOnce, startProbing } from '../../../lib/cluster/prober.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { until } from '../../support/wait.ts'

const config = { path: '/health', timeoutMs: 5000 }

async function listen(t: Test, server: Server): Promise<{ host: string; port: number }> {
  const sockets = new Set<Socket>()
  server.on('connection', socket => sockets.add(socket))
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    return new Promise(resolve => server.close(resolve))
  })
  return { host: '127.0.0.1', port: (server.address() as AddressInfo).port }
}

const web = (t: Test, handler: RequestListener) => listen(t, createServer(handler))
const tcp = (t: Test, handler: (socket: Socket) => void) =>
  listen(
    t,
    createTcpServer(socket => {
      socket.on('error', () => undefined)
      handler(socket)
    }),
  )

t.test('200 … 399 pass, the rest fails, and the reason says which', async t => {
  const target = await web(t, (request, response) => {
    response.statusCode = Number(request.url?.slice(1))
    response.end('body')
  })
  for (const [status, ok] of [
    [200, true],
    [204, true],
    [301, true],
    [399, true],
    [400, false],
    [404, false],
    [500, false],
    [503, false],
  ] as const) {
    const verdict = await probeOnce(target, { ...config, path: `/${status}` })
    t.strictSame(verdict, { ok, reason: `answered ${status}` })
  }
})

t.test('asks with a GET for the path, naming host and port, on a connection of its own', async t => {
  const seen: unknown[] = []
  const target = await web(t, (request, response) => {
    seen.push([request.method, request.url, request.headers.host, request.headers.connection])
    response.end()
  })
  await probeOnce(target, { ...config, path: '/health?deep=1' })
  t.strictSame(seen, [['GET', '/health?deep=1', `127.0.0.1:${target.port}`, 'close']])
})

t.test('nobody listens', async t => {
  const server = createTcpServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise(resolve => server.close(resolve))
  t.strictSame(await probeOnce({ host: '127.0.0.1', port }, config), {
    ok: false,
    reason: 'connect ECONNREFUSED',
  })
  t.match(await probeOnce({ host: 'localhost', port }, config), { ok: false, reason: /ECONNREFUSED/ })
})

t.test('the deadline covers the whole exchange: no answer, half a head, half a body', async t => {
  const timeoutMs = 60
  const silent = await tcp(t, () => undefined)
  t.strictSame(await probeOnce(silent, { ...config, timeoutMs }), {
    ok: false,
    reason: 'no answer within 60ms',
    silent: true,
  })
  const halfHead = await tcp(t, socket => socket.write('HTTP/1.1 200 OK\r\nx-a: '))
  t.notOk((await probeOnce(halfHead, { ...config, timeoutMs })).ok)
  const dripping = await web(t, (_, response) => {
    response.write('a')
    const timer = setInterval(() => response.write('a'), 10)
    response.on('close', () => clearInterval(timer))
  })
  t.notOk((await probeOnce(dripping, { ...config, timeoutMs })).ok)
  t.equal((await probeOnce(silent, { ...config, timeoutMs: 1 })).reason, 'no answer within 1ms')
})

t.test('an endless body is not read to its end', async t => {
  const target = await web(t, (_, response) => {
    const pour = () => {
      while (!response.destroyed && response.write(Buffer.alloc(16_384)));
    }
    response.on('drain', pour)
    pour()
  })
  t.strictSame(await probeOnce(target, config), { ok: true, reason: 'answered 200' })
})

t.test('what is not HTTP, or ends in the middle, fails in plain words', async t => {
  const noise = await tcp(t, socket => socket.end('SSH-2.0-OpenSSH\r\n\r\n'))
  t.match(await probeOnce(noise, config), { ok: false, reason: /not HTTP/ })
  const closes = await tcp(t, socket => socket.end())
  t.match(await probeOnce(closes, config), { ok: false, reason: /closed before/ })
  const torn = await tcp(t, socket => {
    socket.end('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc')
  })
  t.match(await probeOnce(torn, config), { ok: false, reason: /^answered 200, then/ })
  const upgrades = await tcp(t, socket => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n')
  })
  t.match(await probeOnce(upgrades, config), { ok: false, reason: /101/ })
})

t.test('what cannot even be asked fails and does not throw', async t => {
  t.match(await probeOnce({ host: '127.0.0.1', port: 70_000 }, config), { ok: false, reason: /cannot ask/ })
  t.match(await probeOnce({ host: '127.0.0.1', port: 80 }, { ...config, path: '/ a' }), {
    ok: false,
    reason: /cannot ask/,
  })
})

t.test('a signal ends it, before and in the middle', async t => {
  const target = await tcp(t, () => undefined)
  t.strictSame(await probeOnce(target, config, AbortSignal.abort()), { ok: false, reason: 'check cancelled' })
  const abort = new AbortController()
  const verdict = probeOnce(target, config, abort.signal)
  abort.abort()
  t.strictSame(await verdict, { ok: false, reason: 'check cancelled' })
})

const health = {
  path: '/',
  intervalMs: 1000,
  timeoutMs: 500,
  healthyThreshold: 1,
  unhealthyThreshold: 1,
}
const passed: Verdict = { ok: true, reason: 'answered 200' }

t.test('one after another, an interval apart give or take a tenth', async t => {
  const clock = new ManualClock(0)
  const starts: number[] = []
  let chance = 0
  const stop = startProbing(
    {
      clock,
      random: () => chance,
      probe: async () => {
        starts.push(clock.now())
        return passed
      },
    },
    { target: { host: 'h', port: 1 }, health, firstDelayMs: 50, gate: () => 0, report: () => undefined },
  )
  await clock.advance(50)
  chance = 0.5
  await clock.advance(900)
  await clock.advance(1000)
  t.strictSame(starts, [50, 950, 1950])
  stop()
  await clock.advance(5000)
  t.equal(starts.length, 3)
  t.equal(clock.pending, 0)
})

t.test('never two at once: a check longer than the interval holds the next one up', async t => {
  const clock = new ManualClock(0)
  let running = 0
  let most = 0
  const probe = async () => {
    most = Math.max(most, ++running)
    await clock.sleep(2500)
    running--
    return passed
  }
  let reports = 0
  const stop = startProbing(
    { clock, random: () => 0.5, probe },
    {
      target: { host: 'h', port: 1 },
      health,
      firstDelayMs: 0,
      gate: () => 0,
      report: () => reports++,
    },
  )
  await clock.advance(10_100)
  stop()
  t.equal(most, 1)
  t.equal(reports, 4)
})

t.test('silence that met a hold does not count; an answer or a refusal always does', async t => {
  const clock = new ManualClock(0)
  let gate: number | null = 0
  let verdict: Verdict = { ok: false, reason: 'no answer within 100ms', silent: true }
  const reports: string[] = []
  const probe = async () => {
    await clock.sleep(100)
    return verdict
  }
  const report = ({ reason }: Verdict) => reports.push(reason)
  const stop = startProbing(
    { clock, random: () => 0.5, probe },
    { target: { host: 'h', port: 1 }, health, firstDelayMs: 0, gate: () => gate, report },
  )
  await clock.advance(50)
  gate = null
  await clock.advance(20)
  gate = 1
  await clock.advance(100)
  t.strictSame(reports, [], 'held and released while it was under way')
  gate = null
  await clock.advance(1000)
  t.strictSame(reports, [], 'silence while held')
  verdict = { ok: false, reason: 'connect ECONNREFUSED' }
  await clock.advance(1000)
  t.strictSame(reports, ['connect ECONNREFUSED'], 'a refusal while held')
  verdict = passed
  await clock.advance(1000)
  t.equal(reports.at(-1), 'answered 200', 'an answer while held')
  gate = 2
  verdict = { ok: false, reason: 'no answer within 100ms', silent: true }
  await clock.advance(1000)
  t.equal(reports.at(-1), 'no answer within 100ms', 'silence when nobody holds')
  stop()
})

t.test('stopped in the middle of a real check it lets go of the connection', async t => {
  const closed: boolean[] = []
  let open = 0
  const target = await tcp(t, socket => {
    open++
    socket.resume()
    socket.on('close', () => closed.push(true))
  })
  let reports = 0
  const stop = startProbing(
    { clock: systemClock, random: Math.random, probe: probeOnce },
    {
      target,
      health: { ...health, timeoutMs: 10_000 },
      firstDelayMs: 0,
      gate: () => 0,
      report: () => reports++,
    },
  )
  await until('connected', () => open === 1)
  stop()
  await until('let go', () => closed.length === 1)
  t.equal(reports, 0)
})
