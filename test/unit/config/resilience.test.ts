/** Retries, hedging, limits, rate limit, overload: their defaults, their forms, and what cannot be meant. */
import t from 'tap'
import { faultLine, parseConfig } from '../../../lib/config/parse.ts'
import { noLimits, plainResilience } from '../../../lib/proxy/resilience/plain.ts'

const options = { file: 't.yaml', directory: '/etc', cpus: 4, memoryBytes: 2 ** 30 }
const text = (line: string) =>
  `clusters:\n  - id: web\n    backends: [{ id: a, address: "h:1" }]\n    ${line}\n`

function config(whole: string) {
  const result = parseConfig(whole, options)
  if ('faults' in result) throw new Error(result.faults.map(fault => faultLine('t', fault)).join('\n'))
  return result.config
}
const resilience = (line: string) => config(text(line)).clusters[0]!.resilience
const faults = (whole: string) => {
  const result = parseConfig(whole, options)
  return 'faults' in result ? result.faults.map(fault => faultLine('t', fault)) : []
}

t.test('who says nothing has what the data plane takes for granted', async t => {
  t.strictSame(resilience(''), plainResilience)
  t.strictSame(config(text('')).overload, {
    maxMemoryBytes: 2 ** 29,
    maxEventLoopDelayMs: 200,
    maxConnections: 50_000,
  })
})

t.test('every key is read', async t => {
  const read = resilience(
    `retries: { attempts: 1, on: [connect, reset, 503, "504"], methods: idempotent, per_try_timeout: 2s, budget_ratio: 0.1, budget_min_per_second: 0 }
    hedge: { after: 50ms, max_percent: 5 }
    limits: { requests: 100, requests_per_member: 20, connections: 300, pending: 0, queue_timeout: 1s, request_body: 10MiB }
    rate_limit: { requests_per_second: 0.5, burst: 10, key: "header:X-Api-Key", clients_max: 5000 }`,
  )
  t.strictSame(read, {
    retries: {
      attempts: 1,
      on: ['connect', 'reset', 503, 504],
      methods: 'idempotent',
      perTryTimeoutMs: 2_000,
      budgetRatio: 0.1,
      budgetMinPerSecond: 0,
    },
    hedge: { afterMs: 50, maxPercent: 5 },
    limits: {
      requests: 100,
      requestsPerMember: 20,
      connections: 300,
      pending: 0,
      queueTimeoutMs: 1_000,
      requestBodyBytes: 10 * 2 ** 20,
    },
    rateLimit: { requestsPerSecond: 0.5, burst: 10, header: 'x-api-key', clientsMax: 5_000 },
  })
  t.strictSame(resilience('hedge: { after: 1s }').hedge, { afterMs: 1_000, maxPercent: 10 })
  t.strictSame(resilience('rate_limit: { requests_per_second: 7.5 }').rateLimit, {
    requestsPerSecond: 7.5,
    burst: 8,
    header: null,
    clientsMax: 100_000,
  })
  t.equal(resilience('rate_limit: { requests_per_second: 0.01 }').rateLimit?.burst, 1)
  t.strictSame(resilience('limits: { request_body: 0 }').limits, noLimits)
  const root = 'overload: { max_memory: 64MiB, max_event_loop_delay: 1s, max_connections: 10 }\n'
  t.strictSame(config(root + text('')).overload, {
    maxMemoryBytes: 64 * 2 ** 20,
    maxEventLoopDelayMs: 1_000,
    maxConnections: 10,
  })
})

t.test('what cannot be meant, with its place and the fix', async t => {
  const cases: readonly (readonly [string, string])[] = [
    [text('retries: { on: [500] }'), 'clusters[0].retries.on[0]: `500` is not known here — one of connect'],
    [text('retries: { attempts: 11 }'), 'a whole number from 0 to 10'],
    [
      text('retries: { per_try_timeout: 30s }'),
      't:4:33 clusters[0].retries.per_try_timeout: the end of a try would never come: `timeouts.header` is 30000ms — less than 30000ms',
    ],
    [text('hedge: { after: 45s }'), 'clusters[0].hedge.after: the second request would never come'],
    [text('hedge: {}'), 'clusters[0].hedge.after: `after` is missing'],
    [text('hedge: { after: 50ms, max_percent: 0 }'), 'a number from 0.1 to 100'],
    [
      text('limits: { requests: 10, requests_per_member: 11 }'),
      'clusters[0].limits.requests_per_member: requests_per_member 11 is more than the 10 of the whole cluster',
    ],
    [text('limits: { request_body: 10 }'), 'clusters[0].limits.request_body: `10` has no unit'],
    [text('limits: { queue_timeout: 1h }'), 'from 10ms to 600s'],
    [text('rate_limit: {}'), '`requests_per_second` is missing'],
    [text('rate_limit: { requests_per_second: 0 }'), 'a number from 0.01 to 1000000'],
    [
      text('rate_limit: { requests_per_second: 0.1, burst: 61 }'),
      'a burst of 61 takes longer than 10 minutes to come back at 0.1 per second — at most 60',
    ],
    [text('rate_limit: { requests_per_second: 1, key: "cookie:a" }'), 'one of client_ip, "header:NAME"'],
    [`overload: { max_memory: 1MiB }\n${text('')}`, 'overload.max_memory: `1MiB` is too small — `auto`, or'],
    [`overload: { max_memory: 2GB }\n${text('')}`, '`auto`, or write `2GiB`'],
    [`overload: { max_connections: 0 }\n${text('')}`, 'overload.max_connections'],
  ]
  for (const [whole, said] of cases) {
    const found = faults(whole)
    t.equal(found.length, 1, `${said}: ${found.join('; ')}`)
    t.ok(found[0]?.includes(said), found[0] ?? said)
  }
})
