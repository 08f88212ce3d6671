/** What one exchange leaves behind: counts, a line, spans; and what a reload changes of that. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { systemClock } from '../../../../lib/clock.ts'
import { Counters } from '../../../../lib/proxy/observe/counters.ts'
import { Observer, type ObserveSettings } from '../../../../lib/proxy/observe/observer.ts'
import { collector } from '../../../support/collector.ts'
import { accessLogOf, keptLog, noTracing, recordOf } from '../../../support/observation.ts'
import { until } from '../../../support/wait.ts'

function observer(t: Test, over: Partial<ObserveSettings> = {}) {
  const counters = Counters.create(1)
  const settings = { accessLog: null, tracing: noTracing, ...over }
  const init = { counters: counters.buffer, rows: new Map([['web', 3]]), instanceId: 'x', ...settings }
  const one = new Observer(init, { thread: 0, clock: systemClock, log: keptLog().log, random: () => 0.5 })
  t.teardown(() => one.close())
  return { one, row: (row = 3) => counters.row(row), facts: () => counters.thread(0) }
}

t.test('an exchange is counted once, in the row of its cluster', async t => {
  const { one, row } = observer(t)
  t.equal(one.row('web'), 3)
  t.equal(one.row('constructor'), 0)
  const record = one.begin()
  Object.assign(record, { row: 3, status: 200, attempts: 4, hedges: 1, bytesIn: 10, bytesOut: 20 })
  record.headMs = record.startMs + 3
  one.over(record)
  t.ok(record.endMs >= record.startMs, 'it is over now, unless it said when')
  const { statuses, endings, counters, head, duration } = row()
  t.strictSame(
    [statuses[2], endings['--'], head.buckets[3], duration.buckets.reduce((a, b) => a + b)],
    [1, 1, 1, 1],
  )
  t.strictSame(counters, {
    bytesIn: 10,
    bytesOut: 20,
    attempts: 4,
    retries: 2,
    hedges: 1,
    mirrorsDropped: 0,
    splitFallbacks: 0,
    mirrored: 0,
    tunnelsOpened: 0,
  })
  one.over(recordOf({ row: 0, status: 400, error: 'bad_request', ending: 'PR', attempts: 0, headMs: 0 }))
  t.strictSame([row(0).statuses[4], row(0).errors.bad_request, row(0).head.sumMs], [1, 1, 0])
})

t.test('line and spans name the same trace', async t => {
  const path = join(t.testdir(), 'access.log')
  const at = await collector(t)
  const otlp = { endpoint: at.url, headersFile: null, serviceName: 'x', query: 'drop' } as const
  const { one } = observer(t, { accessLog: accessLogOf(path), tracing: { ...noTracing, otlp } })
  const record = recordOf({ trace: one.trace({ traceparent: undefined, tracestate: undefined }, false) })
  one.over(record)
  await one.close()
  t.equal(JSON.parse(readFileSync(path, 'utf8')).trace_id, at.spans()[0]?.traceId)
})

t.test('a reload begins, changes and ends the log', async t => {
  const folder = t.testdir()
  const [first, second] = [join(folder, 'first.log'), join(folder, 'second.log')]
  const { one, facts } = observer(t)
  const rows = new Map([['api', 4]])
  one.over(recordOf())
  one.configure({ rows, accessLog: accessLogOf(first), tracing: noTracing })
  one.over(recordOf())
  one.configure({ rows, accessLog: accessLogOf(first), tracing: noTracing })
  one.over(recordOf())
  one.configure({ rows, accessLog: accessLogOf(second), tracing: noTracing })
  one.over(recordOf())
  one.configure({ rows, accessLog: null, tracing: noTracing })
  one.over(recordOf())
  t.strictSame([one.row('web'), one.row('api')], [0, 4])
  await until('all are written', () => facts().logLines === 3)
  const lines = (path: string) => (existsSync(path) ? readFileSync(path, 'utf8').split('\n').length - 1 : 0)
  t.strictSame([lines(first), lines(second)], [2, 1], 'what the old one held is written')
})

t.test('a thread tells how it is', async t => {
  const { facts } = observer(t)
  await until('told', () => facts().heapBytes > 1_000_000)
  t.ok(facts().loopUtilization >= 0 && facts().loopUtilization <= 1)
})
