/** Spans reach a real collector, in batches, with retries, and never hold anything up. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { OtlpConfig } from '../../../../lib/config/config.ts'
import type { ExchangeRecord } from '../../../../lib/proxy/observe/exchange-record.ts'
import { parseHeaders, SpanExporter } from '../../../../lib/proxy/observe/span-exporter.ts'
import { Tracer } from '../../../../lib/proxy/observe/tracer.ts'
import { attributesOf, type Collector, collector } from '../../../support/collector.ts'
import { ManualClock } from '../../../support/manual-clock.ts'
import { observing, recordOf } from '../../../support/observation.ts'
import { until } from '../../../support/wait.ts'

const parent = { traceId: '12345678901234567890123456789012', spanId: '1234567890123456' }
const traceparent = `00-${parent.traceId}-${parent.spanId}-01`

function exporting(endpoint: string, over: Partial<OtlpConfig> = {}) {
  const clock = new ManualClock(Date.UTC(2026, 0, 2))
  const { shared, counters, said } = observing(clock)
  const otlp: OtlpConfig = { endpoint, headersFile: null, serviceName: 'front', query: 'drop', ...over }
  const exporter = new SpanExporter(otlp, { ...shared, instanceId: 'x-0' })
  const tracer = new Tracer({ propagate: true, generate: 'auto', sample: 1, otlp }, () => 0)
  /** An exchange with `attempts` attempts, the last of which went well. */
  const exchange = (over: Partial<ExchangeRecord> = {}, attempts = 1) => {
    const startMs = clock.monotonic()
    const trace = tracer.begin({ traceparent, tracestate: 'a=1' }, true)!
    for (let i = 0; i < attempts; i++) {
      const attempt = trace.attempt({ id: `b${i}`, host: '::1', port: 8080 + i }, startMs + i)
      if (i === attempts - 1) attempt.status = 200
      else attempt.error = 'upstream_connect_failed'
      attempt.endMs = startMs + i + 1
    }
    const record = recordOf({ ...over, trace })
    record.startMs = startMs
    record.endMs = startMs + 12.5
    exporter.record(record, trace)
    return record
  }
  return { exporter, exchange, clock, said, facts: () => counters.thread(0) }
}

async function arrived(at: Collector, requests: number): Promise<void> {
  await until('it arrived', () => at.requests.length >= requests)
}

t.test('one server span for the exchange, one client span for each attempt', async t => {
  const at = await collector(t)
  const { exporter, exchange, clock, facts } = exporting(at.url)
  exchange(
    {
      host: 'shop.example.com:8443',
      target: '/a/b?token=1',
      route: '/a',
      tls: 'TLSv1.3',
      userAgent: 'c"url',
    },
    2,
  )
  await clock.advance(1_000)
  await arrived(at, 1)
  await exporter.close()
  t.strictSame([facts().spansSent, facts().spansDropped], [3, 0])
  t.equal(at.requests[0]?.headers['content-type'], 'application/json')
  const [server, first, second] = at.spans()
  const start = BigInt(Date.UTC(2026, 0, 2)) * 1_000_000n
  t.match(server, {
    name: 'GET /a',
    kind: 2,
    parentSpanId: parent.spanId,
    traceState: 'a=1',
    flags: 0x301,
    status: {},
  })
  t.equal(BigInt(server!.startTimeUnixNano), start)
  t.equal(BigInt(server!.endTimeUnixNano), start + 12_500_000n)
  t.strictSame(attributesOf(server!), {
    'http.request.method': 'GET',
    'url.scheme': 'https',
    'url.path': '/a/b',
    'server.address': 'shop.example.com',
    'server.port': '8443',
    'client.address': '10.0.0.9',
    'network.protocol.name': 'http',
    'network.protocol.version': '1.1',
    'http.route': '/a',
    'http.response.status_code': '200',
    'user_agent.original': 'c"url',
    'tidegate.cluster': 'web',
    'tidegate.ending': '--',
  })
  for (const span of [first, second])
    t.match(span, { kind: 3, name: 'GET', parentSpanId: server?.spanId, traceId: parent.traceId })
  t.match(first?.status, { code: 2 })
  t.equal(attributesOf(first!)['error.type'], 'upstream_connect_failed')
  t.match(attributesOf(second!), {
    'url.full': 'http://[::1]:8081/a/b',
    'http.request.resend_count': '1',
    'http.response.status_code': '200',
    'tidegate.backend': 'b1',
  })
  t.match(JSON.parse(at.requests[0]!.body).resourceSpans[0].resource.attributes, [
    { key: 'service.name', value: { stringValue: 'front' } },
  ])
})

t.test('what failed is marked; a method that nobody knows is not a name', async t => {
  const at = await collector(t)
  const { exporter, exchange } = exporting(at.url, { query: 'keep' })
  exchange({
    method: 'BREW',
    status: 502,
    error: 'upstream_reset',
    ending: 'BH',
    target: '/x?y=1',
    route: null,
  })
  exchange({ status: 404, error: 'no_route', ending: 'PR', cluster: null, route: null })
  exchange({ status: 0, error: 'client_closed', ending: 'CH' })
  await exporter.close()
  const servers = at.spans().filter(({ kind }) => kind === 2)
  t.strictSame(
    servers.map(({ name, status }) => [name, status.code]),
    [
      ['_OTHER', 2],
      ['GET', undefined],
      ['GET /', 2],
    ],
    'a mistake of the client is no fault of the service',
  )
  t.match(attributesOf(servers[0]!), {
    'http.request.method': '_OTHER',
    'http.request.method_original': 'BREW',
    'error.type': 'upstream_reset',
    'url.query': 'y=1',
  })
  t.equal(attributesOf(servers[1]!)['error.type'], 'no_route')
})

t.test('a full batch goes at once, the rest waits for company', async t => {
  const at = await collector(t)
  const { exporter, exchange, clock, facts } = exporting(at.url)
  for (let i = 0; i < 600; i++) exchange()
  await until('the first batch is through', () => facts().spansSent === 1_024)
  t.equal(at.requests.length, 1)
  await clock.advance(1_000)
  await until('the rest is through', () => facts().spansSent === 1_200)
  await exporter.close()
})

t.test('a collector that is busy is asked again, with longer and longer pauses', async t => {
  const at = await collector(t)
  at.status = 503
  const { exporter, exchange, clock, facts } = exporting(at.url)
  exchange()
  await clock.advance(1_000)
  await arrived(at, 1)
  await until('it pauses', async () => {
    await clock.advance(100)
    return at.requests.length === 2
  })
  at.status = 200
  await until('sent', async () => {
    await clock.advance(1_000)
    return facts().spansSent === 2
  })
  t.equal(at.requests.length, 3)
  t.equal(at.requests[2]?.body, at.requests[0]?.body, 'the same batch')
  await exporter.close()
})

t.test('a refusal, or too many tries, drops the batch; it is counted and said', async t => {
  const at = await collector(t)
  at.status = 400
  const { exporter, exchange, clock, facts, said } = exporting(at.url)
  exchange()
  await clock.advance(1_000)
  await until('dropped', () => facts().spansDropped === 2)
  t.equal(at.requests.length, 1)
  await clock.advance(1_000)
  t.match(said, [
    {
      level: 'warn',
      facts: { spans: 2, reason: 'the collector answered 400' },
      message: 'spans were dropped',
    },
  ])
  at.server.closeAllConnections()
  at.server.close()
  exchange()
  await until('given up', async () => {
    await clock.advance(10_000)
    return facts().spansDropped === 4
  })
  await clock.advance(1_000)
  t.match(said.at(-1)?.facts.reason, /ECONNREFUSED/)
  await exporter.close()
})

t.test('a collector that never answers holds up nobody: the queue is bounded, and so is the end', async t => {
  const at = await collector(t)
  at.status = null
  const { exporter, exchange, clock, facts } = exporting(at.url)
  for (let i = 0; i < 6_000; i++) exchange({}, 0)
  await arrived(at, 1)
  const { spansDropped } = facts()
  t.ok(spansDropped > 1_000 && spansDropped < 2_000, `${spansDropped} of 6000 dropped`)
  const closed = exporter.close()
  await clock.advance(2_000)
  await closed
  t.ok(facts().spansDropped > 5_000, 'what waited is lost and counted')
  t.equal(facts().spansSent, 0)
})

t.test('the fields of the file are sent along, and read again by `reopen`', async (t: Test) => {
  const at = await collector(t)
  const path = join(t.testdir({ fields: '# ours\nAuthorization: Bearer one\n\n' }), 'fields')
  const { exporter, exchange, clock, facts, said } = exporting(at.url, { headersFile: path })
  exchange()
  await clock.advance(1_000)
  await until('sent', () => facts().spansSent === 2)
  writeFileSync(path, 'authorization:Bearer two')
  exporter.reopen()
  exchange()
  await exporter.close()
  t.strictSame(
    at.requests.map(({ headers }) => headers.authorization),
    ['Bearer one', 'Bearer two'],
  )
  writeFileSync(path, 'Bearer secret')
  exporter.reopen()
  t.match(said.at(-1), { level: 'error', facts: { reason: 'line 1 is not `Name: value`' } })
  t.notMatch(JSON.stringify(said), 'secret')
})

t.test('a file of fields', async t => {
  t.strictSame(parseHeaders('A: 1\r\n B-c :x: y \n#no\n'), { a: '1', 'b-c': 'x: y' })
  for (const bad of ['x', ': 1', 'a b: 1', 'a: \u0001'])
    t.throws(() => parseHeaders(`ok: 1\n${bad}`), { message: 'line 2 is not `Name: value`' })
})
