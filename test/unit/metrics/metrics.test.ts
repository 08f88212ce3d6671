/** `/metrics`: Prometheus can read it, the numbers are those of counters and control, and every name is documented. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { families } from '../../../lib/metrics/families.ts'
import { Metrics } from '../../../lib/metrics/metrics.ts'
import { Observation } from '../../../lib/proxy/observe/observation.ts'
import { aBackend } from '../../support/fake-control.ts'
import { noTracing } from '../../support/observation.ts'

const line = /^([a-z_][a-z0-9_]*)(?:\{((?:[a-z_]+="(?:[^"\\]|\\.)*",?)*)\})? (-?[0-9.e+-]+|NaN|[+-]Inf)$/i

/** Every sample by `name{labels}`; fails on what the format does not know. */
function samples(t: Test, text: string): Map<string, number> {
  const found = new Map<string, number>()
  const types = new Map<string, string>()
  for (const row of text.split('\n')) {
    if (row === '') continue
    const type = /^# TYPE (\S+) (counter|gauge|histogram|summary)$/.exec(row)
    if (type) {
      t.notOk(types.has(type[1]!), `${type[1]} is there once`)
      types.set(type[1]!, type[2]!)
    } else if (!row.startsWith('# HELP ')) {
      const match = line.exec(row)
      if (!match) t.fail(row)
      const key = `${match?.[1]}{${match?.[2] ?? ''}}`
      if (found.has(key)) t.fail(`${key} twice`)
      found.set(key, Number(match?.[3]))
    }
  }
  return found
}

function observed(threads = 2) {
  const observation = new Observation(threads, { accessLog: null, tracing: noTracing })
  observation.assign([{ id: 'web' }, { id: 'api' }])
  const clusters = () => [
    {
      id: 'web',
      instances: 2,
      wanted: 3,
      backends: [aBackend(), aBackend({ id: 'b', state: 'draining', sessions: null })],
    },
    { id: 'api', instances: 0, wanted: 0, backends: [] },
  ]
  const certificates = () => [{ use: 'listeners[0].tls', file: '/c.crt', endsAtMs: 1_800_000_000_000 }]
  const metrics = new Metrics({ version: '9.9.9', observation, clusters, certificates, generation: () => 17 })
  return { observation, metrics }
}

t.test('the numbers of all threads, of clusters and of backends', async t => {
  const { observation, metrics } = observed()
  const row = observation.rows().get('web')!
  const [one, two] = [observation.counters.column(0), observation.counters.column(1)]
  one.over(row, 200, '--', null, 3)
  two.over(row, 200, '--', null, 100)
  two.over(row, 503, 'PQ', 'overloaded', 0)
  one.over(0, 400, 'PR', 'bad_request', 0)
  one.head(row, 2.5)
  two.add(row, 'bytesOut', 2 ** 33)
  one.fact('connectionsAccepted', 5)
  one.fact('connectionsClosed', 2)
  two.fact('tlsResumed', 4)
  two.gauge('loopDelayMs', 12.5)
  const found = samples(t, (await metrics.text()).text)
  const expected: Record<string, number> = {
    'tidegate_certificate_not_after_seconds{used_for="listeners[0].tls",file="/c.crt"}': 1_800_000_000,
    'tidegate_requests_total{cluster="web",class="2xx"}': 2,
    'tidegate_requests_total{cluster="web",class="5xx"}': 1,
    'tidegate_requests_total{cluster="api",class="2xx"}': 0,
    'tidegate_requests_total{cluster="-",class="4xx"}': 1,
    'tidegate_endings_total{cluster="web",ending="--"}': 2,
    'tidegate_endings_total{cluster="-",ending="PR"}': 1,
    'tidegate_errors_total{cluster="web",code="overloaded"}': 1,
    'tidegate_request_duration_seconds_bucket{cluster="web",le="0.0005"}': 1,
    'tidegate_request_duration_seconds_bucket{cluster="web",le="0.004"}': 2,
    'tidegate_request_duration_seconds_bucket{cluster="web",le="+Inf"}': 3,
    'tidegate_request_duration_seconds_count{cluster="web"}': 3,
    'tidegate_request_duration_seconds_sum{cluster="web"}': 0.103,
    'tidegate_response_head_seconds_count{cluster="web"}': 1,
    'tidegate_response_bytes_total{cluster="web"}': 2 ** 33,
    'tidegate_client_connections{thread="0"}': 3,
    'tidegate_tls_handshakes_total{thread="1",result="resumed"}': 4,
    'tidegate_thread_delay_seconds{thread="1"}': 0.0125,
    'tidegate_backends{cluster="web",state="draining"}': 1,
    'tidegate_backend_up{cluster="web",backend="a"}': 1,
    'tidegate_backend_up{cluster="web",backend="b"}': 0,
    'tidegate_backend_in_flight{cluster="web",backend="a"}': 2,
    'tidegate_backend_sessions{cluster="web",backend="a"}': 7,
    'tidegate_instances{cluster="web"}': 2,
    'tidegate_instances_wanted{cluster="web"}': 3,
    'tidegate_generation{}': 17,
    'tidegate_build_info{version="9.9.9"}': 1,
  }
  for (const [key, value] of Object.entries(expected)) t.equal(found.get(key), value, key)
  t.notOk(
    found.has('tidegate_backend_sessions{cluster="web",backend="b"}'),
    'what cannot be counted is absent',
  )
  t.notOk(found.has('tidegate_endings_total{cluster="web",ending="CD"}'), 'what never happened is absent')
  t.ok(found.get('process_resident_memory_bytes{}')! > 1e6, 'and those of the process')
})

t.test('a cluster that left is not told any more; who comes back has its numbers', async t => {
  const { observation, metrics } = observed(1)
  observation.counters.column(0).over(observation.rows().get('api')!, 200, '--', null, 1)
  const key = 'tidegate_requests_total{cluster="api",class="2xx"}'
  observation.assign([{ id: 'web' }])
  t.notOk(samples(t, (await metrics.text()).text).has(key))
  observation.assign([{ id: 'web' }, { id: 'api' }])
  t.equal(samples(t, (await metrics.text()).text).get(key), 1)
})

t.test('who asks at once gets one answer; each later one is made anew', async t => {
  const { observation, metrics } = observed(1)
  const [first, second] = [metrics.text(), metrics.text()]
  t.equal(await first, await second)
  observation.counters.column(0).fact('logLines', 3)
  t.equal(samples(t, (await metrics.text()).text).get('tidegate_access_log_lines_total{thread="0"}'), 3)
})

t.test('threads hear of rows and of settings, and only when something changed', async t => {
  const observation = new Observation(1, { accessLog: null, tracing: noTracing })
  const told: unknown[] = []
  observation.onChange(update => told.push(update))
  observation.assign([{ id: 'web' }])
  observation.assign([{ id: 'web' }])
  t.match(told, [{ accessLog: null, rows: new Map([['web', 1]]) }])
  const { commit } = await observation.prepare({
    accessLog: null,
    tracing: { ...noTracing, generate: 'always' },
  })
  t.equal(told.length, 1)
  await commit()
  t.match(told[1], { tracing: { generate: 'always' }, rows: new Map([['web', 1]]) })
  t.match(observation.init(), { tracing: { generate: 'always' }, counters: observation.counters.buffer })
  structuredClone(observation.init())
})

t.test('docs/observation.md has a row for each metric, and for no other', async t => {
  const text = readFileSync(join(import.meta.dirname, '../../../docs/observation.md'), 'utf8')
  const documented = [...text.matchAll(/^\| `(tidegate_[a-z_]+)` \| (\w+) \|/gm)].map(
    ([, name, type]) => `${name} ${type}`,
  )
  t.strictSame(documented.sort(), families.map(({ name, type }) => `${name} ${type}`).sort())
})
