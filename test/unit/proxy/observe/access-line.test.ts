/** A line of the access log says what the record says, whatever strangers wrote into it. */
import t from 'tap'
import { accessLine, lineCharsMax, targetCharsMax } from '../../../../lib/proxy/observe/access-line.ts'
import { ExchangeRecord } from '../../../../lib/proxy/observe/exchange-record.ts'
import { Tracer } from '../../../../lib/proxy/observe/tracer.ts'
import { seed, seeded } from '../../../support/members.ts'

const time = '2026-01-02T03:04:05.678Z'
const all = { query: 'keep', userAgent: true, referer: true } as const
const bare = { query: 'drop', userAgent: false, referer: false } as const

function aRecord(over: Partial<ExchangeRecord> = {}): ExchangeRecord {
  return Object.assign(
    new ExchangeRecord(1_000),
    { endMs: 1_012.5, client: '10.0.0.9', method: 'GET', host: 'shop.example.com' },
    over,
  )
}

t.test('every field', async t => {
  const tracing = { propagate: true, generate: 'always', sample: 1, otlp: null } as const
  const trace = new Tracer(tracing, () => 0).begin({ traceparent: undefined, tracestate: undefined }, false)
  const facts = {
    target: '/a?b=c',
    status: 502,
    headMs: 1_011.25,
    bytesIn: 3,
    bytesOut: 1_234_567,
    cluster: 'web',
    backend: 'a',
  }
  const record = aRecord({
    ...facts,
    ...{
      attempts: 3,
      hedges: 1,
      error: 'upstream_reset',
      ending: 'BH',
      protocol: 'HTTP/2',
      tls: 'TLSv1.3',
      trace,
    },
    ...{ userAgent: 'curl/8', referer: 'https://x/?y' },
  })
  t.strictSame(JSON.parse(accessLine(record, time, all)), {
    time,
    duration_ms: 12.5,
    head_ms: 11.25,
    client: '10.0.0.9',
    method: 'GET',
    host: 'shop.example.com',
    target: '/a?b=c',
    status: 502,
    bytes_in: 3,
    bytes_out: 1_234_567,
    cluster: 'web',
    backend: 'a',
    attempts: 3,
    ending: 'BH',
    error: 'upstream_reset',
    protocol: 'HTTP/2',
    tls: 'TLSv1.3',
    trace_id: trace?.traceId,
    user_agent: 'curl/8',
    referer: 'https://x/?y',
  })
})

t.test('what is not known is null, what was not asked for is not there', async t => {
  const line = JSON.parse(accessLine(aRecord({ target: '/a?secret=1', referer: '/x?secret=2' }), time, bare))
  t.equal(line.target, '/a')
  for (const field of ['head_ms', 'cluster', 'backend', 'error', 'tls', 'trace_id'])
    t.equal(line[field], null, field)
  t.notOk('user_agent' in line || 'referer' in line)
  t.equal(
    JSON.parse(accessLine(aRecord({ referer: '/x?secret=2' }), time, { ...bare, referer: true })).referer,
    '/x',
  )
})

t.test('a line is one line of ASCII and bounded', async t => {
  const nasty = '"\n\u0000\u{1f600}é'.repeat(5_000)
  const line = accessLine(
    aRecord({ target: nasty, host: nasty, method: nasty, client: nasty, userAgent: nasty, referer: nasty }),
    time,
    all,
  )
  t.match(line, /^[ -~]+\n$/)
  t.ok(line.length <= lineCharsMax, `${line.length} characters`)
  t.equal(JSON.parse(line).target, nasty.slice(0, targetCharsMax))
})

t.test('random fields come back', async t => {
  const start = seed()
  t.comment(`SEED=${start}`)
  const random = seeded(start)
  const text = (max: number) =>
    String.fromCharCode(
      ...Array.from({ length: Math.floor(random() * max) }, () => Math.floor(random() ** 3 * 300)),
    )
  for (let i = 0; i < 5_000; i++) {
    const facts = {
      method: text(10),
      host: text(60),
      target: text(300),
      userAgent: text(80),
      referer: text(80),
      client: text(20),
    }
    const { method, host, target, user_agent, referer, client } = JSON.parse(
      accessLine(aRecord(facts), time, all),
    )
    const back = { method, host, target, userAgent: user_agent, referer, client }
    if (JSON.stringify(back) !== JSON.stringify(facts)) return void t.strictSame(back, facts)
  }
  t.pass('all came back')
})
