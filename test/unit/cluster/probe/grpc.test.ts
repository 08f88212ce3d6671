import t from 'tap'
import { decodeResponse, encodeRequest } from '../../../../lib/cluster/probe/grpc-message.ts'
import { probeOnce } from '../../../../lib/cluster/prober.ts'
import { healthConfig } from '../../../support/health-config.ts'
import { type GrpcAnswer, grpcHealth, http2, web } from '../../../support/health-servers.ts'
import { seed, seeded } from '../../../support/members.ts'

const config = healthConfig({ type: 'grpc', timeoutMs: 5000 })

t.test('serving passes, everything else does not, in plain words', async t => {
  const answers: Readonly<Record<string, GrpcAnswer>> = {
    serving: { status: 1 },
    unknown: { status: 0 },
    'not-serving': { status: 2 },
    missing: { status: null, grpcStatus: 5 },
    unimplemented: { status: null, grpcStatus: 12 },
    internal: { status: 1, grpcStatus: 13 },
    garbage: { body: Buffer.from('not a message at all') },
    compressed: { body: Buffer.from([1, 0, 0, 0, 2, 8, 1]) },
    huge: { body: Buffer.alloc(10_000) },
  }
  const target = await grpcHealth(t, service => answers[service]!)
  const ask = (service: string) => probeOnce(target, { ...config, service })
  t.strictSame(await ask('serving'), { ok: true, reason: 'answered SERVING', says: 'ready' })
  t.match(await ask('unknown'), { ok: false, reason: 'answered UNKNOWN' })
  t.match(await ask('not-serving'), { ok: false, reason: 'answered NOT_SERVING' })
  t.match(await ask('missing'), { ok: false, reason: 'does not know the service missing' })
  t.match(await ask('unimplemented'), { ok: false, reason: 'does not offer grpc.health.v1.Health' })
  t.match(await ask('internal'), { ok: false, reason: 'answered with gRPC status 13' })
  for (const service of ['garbage', 'compressed'])
    t.match(await ask(service), { ok: false, reason: /not a health status/ }, service)
  t.match(await ask('huge'), { ok: false, reason: /more than/ })
})

t.test('without a service it asks after the whole server; the name asked for may be told', async t => {
  const seen: unknown[] = []
  const target = await http2(t, (stream, headers) => {
    const chunks: Buffer[] = []
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    stream.on('end', () => {
      seen.push([headers[':authority'], headers.te, Buffer.concat(chunks)])
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
      stream.respond({ 'content-type': 'application/grpc+proto' }, { waitForTrailers: true })
      stream.end(Buffer.from([0, 0, 0, 0, 2, 8, 1]))
    })
  })
  t.match(await probeOnce(target, config), { ok: true })
  t.match(await probeOnce(target, { ...config, host: 'grpc.example.com' }), { ok: true })
  t.strictSame(seen, [
    [`127.0.0.1:${target.port}`, 'trailers', Buffer.from([0, 0, 0, 0, 0])],
    ['grpc.example.com', 'trailers', Buffer.from([0, 0, 0, 0, 0])],
  ])
})

t.test('metadata says more of the application', async t => {
  const target = await grpcHealth(t, service => ({
    status: 2,
    headers: { 'x-tidegate-health': service },
  }))
  const ask = (service: string) => probeOnce(target, { ...config, service })
  t.match(await ask('draining'), {
    ok: true,
    says: 'draining',
    reason: 'answered NOT_SERVING and said draining',
  })
  t.match(await ask('ready'), { ok: false, says: 'ready' })
})

t.test('what is not gRPC', async t => {
  const http1 = await web(t, (_, response) => response.end('hello'))
  t.match(await probeOnce(http1, config), { ok: false, reason: /not HTTP\/2|closed/ })
  const page = await http2(t, stream => {
    stream.respond({ ':status': 404, 'content-type': 'text/html' })
    stream.end('no')
  })
  t.match(await probeOnce(page, config), { ok: false, reason: 'answered 404, which is not gRPC' })
  const resets = await http2(t, stream => stream.close(7))
  t.match(await probeOnce(resets, config), { ok: false, reason: /HTTP\/2|closed|gRPC/ })
})

t.test('the request is what protobuf makes of it', async t => {
  t.strictSame(encodeRequest(''), Buffer.from([0, 0, 0, 0, 0]))
  t.strictSame(encodeRequest('ab'), Buffer.from([0, 0, 0, 0, 4, 10, 2, 97, 98]))
  const long = encodeRequest('x'.repeat(200))
  t.strictSame([...long.subarray(0, 8)], [0, 0, 0, 0, 203, 10, 200, 1])
  t.equal(long.length, 5 + 203)
})

t.test('the response is read within its bounds, with fields that are not known passed over', async t => {
  const framed = (...bytes: number[]) => Buffer.from([0, 0, 0, 0, bytes.length, ...bytes])
  t.equal(decodeResponse(framed(8, 1)), 'SERVING')
  t.equal(decodeResponse(framed()), 'UNKNOWN', 'the zero value is left out')
  t.equal(decodeResponse(framed(8, 0x82, 0)), 'NOT_SERVING', 'a longer way to write 2')
  t.equal(decodeResponse(framed(18, 2, 1, 2, 8, 1, 29, 1, 2, 3, 4, 33, 1, 2, 3, 4, 5, 6, 7, 8)), 'SERVING')
  t.equal(decodeResponse(framed(8, 2, 8, 1)), 'SERVING', 'the last one counts')
  for (const broken of [
    framed(8),
    framed(8, 0x80),
    framed(8, 99),
    framed(18, 9, 1),
    framed(11),
    framed(29, 1),
  ])
    t.equal(decodeResponse(broken), null, broken.toString('hex'))
  t.equal(decodeResponse(Buffer.from([0, 0, 0, 0, 3, 8, 1])), null, 'shorter than it says')
  t.equal(decodeResponse(Buffer.alloc(3)), null)
})

t.test('no bytes can make the reader throw or run away', async t => {
  const start = seed()
  t.comment(`SEED=${start}`)
  const random = seeded(start)
  for (let i = 0; i < 5_000; i++) {
    const bytes = Buffer.from(
      Array.from({ length: Math.floor(random() * 24) }, () => Math.floor(random() * 256)),
    )
    decodeResponse(Buffer.concat([Buffer.from([0, 0, 0, 0, bytes.length]), bytes]))
    decodeResponse(bytes)
  }
})
