/** Which trace an exchange belongs to, and what its backends are told of it. */
import t from 'tap'
import type { TracingConfig } from '../../../../lib/config/config.ts'
import { parseTraceparent } from '../../../../lib/proxy/observe/trace-context.ts'
import { Tracer } from '../../../../lib/proxy/observe/tracer.ts'

const trace = '12345678901234567890123456789012'
const given = (flags: string) => `00-${trace}-1234567890123456-${flags}`
const otlp = { endpoint: 'http://127.0.0.1:1/', headersFile: null, serviceName: 'x', query: 'drop' } as const
const to = { id: 'a', host: '10.0.0.1', port: 80 }

function tracer(over: Partial<TracingConfig> = {}, chance = 0.5): Tracer {
  return new Tracer({ propagate: true, generate: 'auto', sample: 1, otlp: null, ...over }, () => chance)
}
const fields = (traceparent?: string, tracestate?: string) => ({ traceparent, tracestate })

t.test('without spans to export a valid context is passed on untouched', async t => {
  const begun = tracer().begin(fields(`cc-${given('01').slice(3)}-new`, 'foo=1, bar=2'), false)
  t.equal(begun?.attempt(to, 0).traceparent, `cc-${given('01').slice(3)}-new`)
  t.equal(begun?.tracestate, 'foo=1,bar=2')
  t.equal(begun?.traceId, trace)
  t.notOk(begun?.recording)
})

t.test('an invalid or absent one is as good as none', async t => {
  for (const traceparent of [undefined, 'nonsense', `${given('01')}, ${given('01')}`])
    t.equal(tracer().begin(fields(traceparent, 'foo=1'), true), null, String(traceparent))
  const fresh = tracer({ generate: 'always' }).begin(fields('nonsense', 'foo=1'), true)
  t.equal(fresh?.tracestate, null, 'the state of an invalid parent is dropped with it')
  const parent = parseTraceparent(fresh!.attempt(to, 0).traceparent)
  t.equal(parent?.traceId, fresh?.traceId)
  t.equal(parent?.parentId, fresh?.spanId)
})

t.test('`propagate: false` forgets what the client says', async t => {
  t.equal(tracer({ propagate: false }).begin(fields(given('01')), true), null)
  t.not(tracer({ propagate: false, generate: 'always' }).begin(fields(given('01')), true)?.traceId, trace)
})

t.test('`generate` says whether a trace begins here', async t => {
  t.equal(tracer({ generate: 'auto' }).begin(fields(), true), null)
  t.ok(tracer({ generate: 'auto', otlp }).begin(fields(), true))
  t.equal(tracer({ generate: 'never', otlp }).begin(fields(), true), null)
  t.ok(tracer({ generate: 'never', otlp }).begin(fields(given('01')), true)?.recording)
})

t.test('recorded: each attempt is a span of its own, in the same trace', async t => {
  const begun = tracer({ otlp }).begin(fields(given('01')), true)!
  t.ok(begun.recording)
  const [first, second] = [begun.attempt(to, 1), begun.attempt(to, 2)]
  t.strictSame(
    [parseTraceparent(first.traceparent)?.parentId, parseTraceparent(second.traceparent)?.parentId],
    [first.spanId, second.spanId],
  )
  t.equal(new Set([begun.parentId, begun.spanId, first.spanId, second.spanId]).size, 4)
  t.equal(begun.attempts.length, 2)
  t.equal(parseTraceparent(first.traceparent)?.traceId, trace)
})

t.test('the sampled flag is believed of trusted peers; else our share decides', async t => {
  const half = (chance: number) => tracer({ otlp, sample: 0.5 }, chance)
  t.ok(half(0.9).begin(fields(given('01')), true)?.recording, 'trusted, sampled')
  t.notOk(half(0.1).begin(fields(given('00')), true)?.recording, 'trusted, not sampled')
  t.notOk(half(0.9).begin(fields(given('01')), false)?.recording, 'nobody outside makes us record')
  const chosen = half(0.1).begin(fields(given('00')), false)!
  t.ok(chosen.recording)
  t.equal(parseTraceparent(chosen.attempt(to, 0).traceparent)?.flags, 1, 'and the backend hears of it')
  t.notOk(tracer({ otlp, sample: 0 }, 0).begin(fields(), true)?.sampled)
})

t.test('ids do not repeat and are never zero', async t => {
  const one = tracer({ generate: 'always' })
  const ids = new Set<string>()
  for (let i = 0; i < 5_000; i++) {
    const { traceId, spanId } = one.begin(fields(), false)!
    if (!/^[0-9a-f]{32}-[0-9a-f]{16}$/.test(`${traceId}-${spanId}`))
      return void t.fail(`${traceId}-${spanId}`)
    ids.add(traceId).add(spanId)
  }
  t.equal(ids.size, 10_000)
})
