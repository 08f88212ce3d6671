import t from 'tap'
import { probeOnce } from '../../../../lib/cluster/prober.ts'
import { healthConfig } from '../../../support/health-config.ts'
import { tcp, web } from '../../../support/health-servers.ts'

const config = healthConfig({ path: '/health', timeoutMs: 5000 })

t.test('200 … 399 pass unless told otherwise, the rest fails, and the reason says which', async t => {
  const target = await web(t, (request, response) => {
    response.statusCode = Number(request.url?.slice(1))
    response.end('body')
  })
  const ask = async (status: number, over = {}) =>
    (await probeOnce(target, { ...config, path: `/${status}`, ...over })).ok
  for (const status of [200, 204, 301, 399]) t.ok(await ask(status), `${status}`)
  for (const status of [400, 404, 500, 503]) t.notOk(await ask(status), `${status}`)
  t.strictSame(await probeOnce(target, { ...config, path: '/503' }), {
    ok: false,
    reason: 'answered 503',
    says: 'ready',
  })
  const expectStatus = [
    { from: 200, to: 200 },
    { from: 401, to: 403 },
  ]
  t.ok(await ask(200, { expectStatus }))
  t.ok(await ask(403, { expectStatus }))
  t.notOk(await ask(204, { expectStatus }))
})

t.test('asks with a GET for the path, on a connection of its own, by the name it is told', async t => {
  const seen: unknown[] = []
  const target = await web(t, (request, response) => {
    seen.push([request.method, request.url, request.headers.host, request.headers.connection])
    response.end()
  })
  await probeOnce(target, { ...config, path: '/health?deep=1' })
  await probeOnce(target, { ...config, host: 'shop.example.com' })
  t.strictSame(seen, [
    ['GET', '/health?deep=1', `127.0.0.1:${target.port}`, 'close'],
    ['GET', '/health', 'shop.example.com', 'close'],
  ])
})

t.test('what the application says of itself outranks its status', async t => {
  const target = await web(t, (request, response) => {
    const [, status, word] = request.url!.split('/')
    response.statusCode = Number(status)
    if (word) response.setHeader('X-Tidegate-Health', word)
    response.end()
  })
  const ask = (path: string) => probeOnce(target, { ...config, path })
  t.match(await ask('/200/draining'), {
    ok: true,
    says: 'draining',
    reason: 'answered 200 and said draining',
  })
  t.match(await ask('/503/draining'), { ok: true, says: 'draining' })
  t.match(await ask('/500/Degraded'), { ok: true, says: 'degraded' })
  t.match(await ask('/500/ready'), { ok: false, says: 'ready' }, 'that it is ready proves nothing')
  t.match(await ask('/200/drainign'), { ok: true, says: 'ready', reason: /not known/ })
})

t.test('a status may stand for the word', async t => {
  const target = await web(t, (request, response) => {
    response.statusCode = Number(request.url!.slice(1))
    if (request.url === '/429') response.setHeader('X-Tidegate-Health', 'ready')
    response.end()
  })
  const told = { drainingStatus: [{ from: 404, to: 404 }], degradedStatus: [{ from: 420, to: 429 }] }
  const ask = (path: string) => probeOnce(target, { ...config, ...told, path })
  t.match(await ask('/404'), { ok: true, says: 'draining', reason: 'answered 404, which means draining' })
  t.match(await ask('/421'), { ok: true, says: 'degraded' })
  t.match(await ask('/429'), { ok: false, says: 'ready' }, 'the word itself comes first')
})

t.test('the deadline covers the whole exchange: half a head, half a body', async t => {
  const timeoutMs = 60
  const halfHead = await tcp(t, socket => socket.write('HTTP/1.1 200 OK\r\nx-a: '))
  t.match(await probeOnce(halfHead, { ...config, timeoutMs }), { ok: false, silent: true })
  const dripping = await web(t, (_, response) => {
    response.write('a')
    const timer = setInterval(() => response.write('a'), 10)
    response.on('close', () => clearInterval(timer))
  })
  t.notOk((await probeOnce(dripping, { ...config, timeoutMs })).ok)
})

t.test('an endless body is not read to its end', async t => {
  const target = await web(t, (_, response) => {
    const pour = () => {
      while (!response.destroyed && response.write(Buffer.alloc(16_384)));
    }
    response.on('drain', pour)
    pour()
  })
  t.match(await probeOnce(target, config), { ok: true, reason: 'answered 200' })
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

t.test('a path that cannot be sent fails and does not throw', async t => {
  t.match(await probeOnce({ host: '127.0.0.1', port: 80 }, { ...config, path: '/ a' }), {
    ok: false,
    reason: /cannot ask/,
  })
})
