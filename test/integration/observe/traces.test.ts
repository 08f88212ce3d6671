/**
 * Trace context through a whole Tidegate with two threads, over TLS: what each engine and each kind of backend is told, of whom it is
 * believed, and what the collector gets.
 */
import { once } from 'node:events'
import { createServer } from 'node:http'
import { connect, createSecureServer, type Http2Server } from 'node:http2'
import { type RequestOptions, request } from 'node:https'
import t, { type Test } from 'tap'
import { Authority, text } from '../../support/certificates.ts'
import { attributesOf, type Collector, collector } from '../../support/collector.ts'
import { reloadable } from '../../support/reloadable.ts'
import { closeServer, listenOn } from '../../support/traffic.ts'
import { until } from '../../support/wait.ts'

const directory = t.testdir()
const ca = new Authority(directory)
const pair = ca.issue('server')

/** A trusted proxy, and somebody. */
const [friend, stranger] = ['127.0.0.7', '127.0.0.8']
const traceId = '4bf92f3577b34da6a3ce929d0e0e4736'
const clientSpan = '00f067aa0ba902b7'
const sampled = `00-${traceId}-${clientSpan}-01`
const form = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/

/** What a backend got: each field as often as it came. */
interface Got {
  readonly parents: readonly string[]
  readonly states: readonly string[]
  readonly by: string
}

/** Name and value in turns. */
const valuesOf = (raw: readonly string[], name: string) =>
  raw.filter((_, at) => at % 2 === 1 && raw[at - 1]!.toLowerCase() === name)
const gotBy = (by: string, raw: readonly string[]): Got => ({
  parents: valuesOf(raw, 'traceparent'),
  states: valuesOf(raw, 'tracestate'),
  by,
})

/** Keeps what it got, and answers `failing` of its requests with a 503. */
async function plainBackend(t: Test, by: string, got: Got[], failing = false) {
  const server = createServer((request, response) => {
    const probe = request.url === '/healthz'
    if (!probe) got.push(gotBy(by, request.rawHeaders))
    response.writeHead(failing && !probe ? 503 : 200).end(by)
  })
  const port = await listenOn(server)
  t.teardown(() => {
    server.closeAllConnections()
    return closeServer(server)
  })
  return port
}

async function secureH2Backend(t: Test, by: string, got: Got[]) {
  const server = createSecureServer({ cert: text(pair.cert), key: text(pair.key) }) as unknown as Http2Server
  const sessions = new Set<{ destroy(): void }>()
  server.on('session', session => sessions.add(session))
  server.on('stream', (stream, headers, _flags, raw) => {
    stream.on('error', () => {})
    if (headers[':path'] !== '/healthz') got.push(gotBy(by, raw as unknown as readonly string[]))
    stream.respond({ ':status': 200 })
    stream.end(by)
  })
  const port = await listenOn(server)
  t.teardown(() => {
    for (const session of sessions) session.destroy()
    return closeServer(server)
  })
  return port
}

/** One for all of it. */
async function scene(t: Test) {
  const got: Got[] = []
  const spans = await collector(t)
  const ports = {
    web: [await plainBackend(t, 'web', got)],
    streams: [await secureH2Backend(t, 'streams', got)],
    again: [await plainBackend(t, 'bad', got, true), await plainBackend(t, 'good', got)],
  }
  const cluster = (id: keyof typeof ports, over: object) => ({
    id,
    routes: [{ path: id === 'web' ? '/' : `/${id}` }],
    backends: ports[id].map((port, i) => ({ id: `${id}${i}`, address: `127.0.0.1:${port}` })),
    health: { path: '/healthz', healthy_threshold: 1 },
    balance: 'round_robin',
    ...over,
  })
  const listener = (address: string, engine: string) => ({
    address,
    engine,
    tls: { certificates: [{ cert: pair.cert, key: pair.key }], alpn: ['h2', 'http/1.1'] },
  })
  const document = (tracing: object) => ({
    listeners: [listener('127.0.0.1:0', 'relay'), listener('127.0.0.2:0', 'http-proxy-3')],
    threads: 2,
    trusted_proxies: [`${friend}/32`],
    admin: { address: '127.0.0.1:0' },
    store: { kind: 'memory' },
    overload: { max_event_loop_delay: '60s' },
    tracing: { otlp: { endpoint: spans.url }, ...tracing },
    clusters: [
      cluster('web', {}),
      cluster('streams', { protocol: 'h2', tls: { ca: ca.cert } }),
      cluster('again', { retries: { attempts: 1, on: [503] } }),
    ],
  })
  // Of strangers nothing is recorded, so that it shows whose flag is believed.
  const door = await reloadable(t, document({ sample: 0 }))
  for (const id of ['web', 'streams', 'again'])
    await until(`${id} to be ready`, () =>
      door.server.control.backends(id).every(one => one.state === 'ready'),
    )
  const become = (tracing: object) => door.become(document(tracing))
  const newest = () => got.at(-1)!
  return { door, got, newest, spans, become }
}

type Fields = Record<string, string | readonly string[]>
type Ask = (path: string, from: string, fields: Fields) => Promise<number>
type Ports = { port(listener?: number): number }

/** A connection of its own for each request: either thread may get it. */
const overHttp1 =
  (door: Ports, listener: number): Ask =>
  async (path, from, fields) => {
    const options: RequestOptions = { host: `127.0.0.${listener + 1}`, port: door.port(listener), path }
    const secure = { ca: ca.pem, servername: 'localhost', agent: false, localAddress: from }
    const asked = request({ ...options, ...secure, headers: fields as RequestOptions['headers'] }).end()
    const [response] = await once(asked, 'response')
    response.resume()
    await once(response, 'end')
    return response.statusCode
  }

const overHttp2 =
  (door: Ports): Ask =>
  async (path, from, fields) => {
    const client = connect(`https://127.0.0.1:${door.port()}`, {
      ...{ ca: ca.pem, servername: 'localhost', localAddress: from },
    })
    const stream = client.request({ ':path': path, ...(fields as Record<string, string>) })
    const [head] = await once(stream, 'response')
    stream.resume()
    await once(stream, 'close')
    client.close()
    return head[':status']
  }

/** The spans of one trace, when the collector has so many of them. */
async function spansOf(spans: Collector, trace: string, count: number) {
  const all = () => spans.spans().filter(span => span.traceId === trace)
  await until(`${count} spans of ${trace}`, () => all().length >= count)
  return all()
}

/** Another trace id for each case, so that its spans are known from the others'. */
let traces = 0
const another = () => {
  const id = traceId.slice(0, -4) + (++traces).toString(16).padStart(4, '0')
  return { id, parent: `00-${id}-${clientSpan}-01` }
}

const { door, got, newest, spans, become } = await scene(t)

t.test(
  'each field once, by every engine to every kind of backend; a flag is believed of a friend',
  async t => {
    const ways = { relay: overHttp1(door, 0), 'http-proxy-3': overHttp1(door, 1), 'HTTP/2': overHttp2(door) }
    const told: { id: string; parent: string }[] = []
    for (const [way, ask] of Object.entries(ways)) {
      for (const path of ['/', '/streams']) {
        const what = `${way} to ${path}`
        const { id, parent } = another()
        const fields = { traceparent: parent, tracestate: 'a=1,b=2' }
        t.equal(await ask(path, stranger, fields), 200)
        t.match(
          newest(),
          { parents: [parent], states: ['a=1,b=2'] },
          `${what}: untouched where it is not recorded`,
        )

        t.equal(await ask(path, friend, fields), 200)
        const [, trace, span, flags] = form.exec(newest().parents[0]!) ?? []
        t.strictSame([trace, flags], [id, '01'], `${what}: the same trace, recorded`)
        t.not(span, clientSpan, `${what}: with a span of ours`)
        t.strictSame([newest().parents.length, newest().states], [1, ['a=1,b=2']], what)
        told.push({ id, parent: span! })

        const twice = { traceparent: [parent, sampled], tracestate: ['a=1', 'b=2'] }
        t.equal(await ask(path, friend, twice), 200)
        const [, own, , unsampled] = form.exec(newest().parents.join()) ?? []
        t.ok(own !== undefined && own !== id && own !== traceId, `${what}: two parents are none`)
        t.strictSame([unsampled, newest().states], ['02', []], `${what}: a trace begins here`)

        t.equal(await ask(path, friend, { traceparent: parent, tracestate: ['a=1', 'b=2'] }), 200)
        t.match(newest().states.join().replaceAll(' ', ''), 'a=1,b=2', `${what}: two states are one list`)
        t.equal(newest().states.length, 1, what)
        const asWritten = { TraceParent: 'nonsense', 'Connection-Id': '1' }
        t.equal(await ask(path, stranger, way === 'HTTP/2' ? { traceparent: 'nonsense' } : asWritten), 200)
        t.match(newest().parents, [form], `${what}: what cannot be read is replaced`)
        t.equal(newest().parents.length, 1)
      }
    }
    for (const { id, parent } of told) {
      // Two requests of the friend's: one with both fields once, one with a state in two.
      const all = await spansOf(spans, id, 4)
      const [server, client] = [2, 3].map(kind => all.filter(span => span.kind === kind))
      t.strictSame([server!.length, client!.length], [2, 2])
      t.ok(server!.every(span => span.parentSpanId === clientSpan && span.traceState === 'a=1,b=2'))
      const attempt = client!.find(span => span.spanId === parent)
      t.ok(attempt, 'the backend was told the span that was exported')
      t.ok(server!.some(({ spanId }) => spanId === attempt?.parentSpanId))
    }
    const of = new Set(told.map(({ id }) => id))
    const others = spans.spans().filter(({ traceId }) => !of.has(traceId))
    t.strictSame(others, [], 'and nothing of strangers')
  },
)

t.test('a span for each attempt, under one of the exchange', async t => {
  const seen: { id: string; got: readonly Got[] }[] = []
  for (const ask of [overHttp1(door, 0), overHttp1(door, 1), overHttp2(door)]) {
    // By turns, in each thread: one of two tries begins with the one that fails.
    do {
      got.length = 0
      const { id, parent } = another()
      t.equal(await ask('/again', friend, { traceparent: parent }), 200)
      if (got.length === 2) seen.push({ id, got: [...got] })
    } while (got.length !== 2)
  }
  for (const { id, got } of seen) {
    t.strictSame(
      got.map(({ by }) => by),
      ['bad', 'good'],
    )
    const all = await spansOf(spans, id, 3)
    const server = all.find(span => span.kind === 2)!
    const attempts = all.filter(span => span.kind === 3)
    t.strictSame(
      attempts.map(one => [one.parentSpanId, attributesOf(one)['http.response.status_code']]),
      [
        [server.spanId, '503'],
        [server.spanId, '200'],
      ],
    )
    t.strictSame(
      got.map(({ parents }) => parents),
      attempts.map(({ spanId }) => [`00-${id}-${spanId}-01`]),
    )
    t.equal(attributesOf(server)['http.response.status_code'], '200')
  }
})

t.test('a reload turns taking over off: a trace of our own, or no field at all', async t => {
  const ways = [overHttp1(door, 0), overHttp1(door, 1), overHttp2(door)]
  const fields = { traceparent: sampled, tracestate: 'a=1' }
  await become({ propagate: false })
  const begun: string[] = []
  for (const ask of ways) {
    t.equal(await ask('/', friend, fields), 200)
    const [, own] = form.exec(newest().parents.join()) ?? []
    t.ok(own !== undefined && own !== traceId, 'a trace that begins here')
    t.strictSame(newest().states, [])
    begun.push(own!)
  }
  for (const own of begun) {
    const all = await spansOf(spans, own, 2)
    t.equal(all.find(span => span.kind === 2)?.parentSpanId ?? '', '')
  }
  await become({ propagate: false, generate: 'never' })
  for (const ask of ways)
    for (const from of [friend, stranger]) {
      t.equal(await ask('/', from, fields), 200)
      t.strictSame([newest().parents, newest().states], [[], []])
    }
})
