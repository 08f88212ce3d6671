/** The keys of `health` and `outlier`. */
import t from 'tap'
import type { ClusterConfig } from '../../../lib/config/config.ts'
import { faultLine, parseConfig } from '../../../lib/config/parse.ts'

const parse = (line: string) =>
  parseConfig(`clusters:\n  - id: w\n    backends: [{ id: a, address: "h:1" }]\n    ${line}\n`, {
    file: 't',
    directory: '/d',
    cpus: 1,
  })
function cluster(line: string): ClusterConfig {
  const result = parse(line)
  if ('faults' in result) throw new Error(result.faults.map(fault => faultLine('t', fault)).join('\n'))
  return result.config.clusters[0]!
}
const faults = (line: string) => {
  const result = parse(line)
  return 'faults' in result ? result.faults.map(fault => faultLine('t', fault)) : []
}

t.test('checks of each type', async t => {
  t.match(
    cluster(
      'health: { path: /up, host: "shop.example.com:81", expect_status: [204, "300-302"], draining_status: [404], degraded_status: ["420-429"] }',
    ).health,
    {
      type: 'http',
      path: '/up',
      host: 'shop.example.com:81',
      expectStatus: [
        { from: 204, to: 204 },
        { from: 300, to: 302 },
      ],
      drainingStatus: [{ from: 404, to: 404 }],
      degradedStatus: [{ from: 420, to: 429 }],
    },
  )
  t.match(cluster('health: { type: tcp, interval: 1s }').health, {
    type: 'tcp',
    host: null,
    intervalMs: 1000,
  })
  t.match(cluster('health: { type: grpc, service: shop.v1.Orders, host: shop }').health, {
    type: 'grpc',
    service: 'shop.v1.Orders',
    host: 'shop',
  })
  t.match(cluster('health: { slow_ratio: 0, degraded_threshold: 100, panic_threshold: 40 }').health, {
    slowRatio: 0,
    degradedThreshold: 100,
    panicThreshold: 40,
  })
})

t.test('keys of another type, and values that mean nothing', async t => {
  const cases: readonly (readonly [string, string])[] = [
    ['health: { type: tcp, path: / }', 'clusters[0].health.path: unknown key `path`'],
    ['health: { service: x }', 'clusters[0].health.service: unknown key `service`'],
    ['health: { type: udp }', '`udp` is not known here — one of http, tcp, grpc'],
    ['health: { expect_status: 200 }', 'write a list'],
    ['health: { expect_status: [] }', 'clusters[0].health.expect_status'],
    ['health: { expect_status: [99] }', 'as 204 or "200-399"'],
    ['health: { expect_status: ["400-200"] }', 'as 204 or "200-399"'],
    ['health: { host: "a b" }', 'clusters[0].health.host'],
    ['health: { type: grpc, service: "a b" }', 'clusters[0].health.service'],
    ['health: { panic_threshold: 101 }', 'a whole number from 0 to 100'],
    ['health: { slow_ratio: 2 }', 'a number from 0 to 1'],
    ['health: 2s', 'clusters[0].health'],
    [
      'outlier: { base_ejection: 10s, max_ejection: 5s }',
      'clusters[0].outlier.max_ejection: max_ejection is shorter',
    ],
    ['outlier: { consecutive_failures: 0, failure_ratio: 0 }', 'nothing would ever be ejected'],
    ['outlier: { max_ejected: 30 }', 'a number from 0 to 1'],
    ['outlier: { consecutive_failure: 5 }', 'did you mean'],
  ]
  for (const [line, part] of cases) {
    const found = faults(line)
    t.equal(found.length, 1, line)
    t.ok(found[0]?.includes(part), `${line}: ${found[0]}`)
  }
})

t.test('nobody is ejected unless the group is there', async t => {
  t.equal(cluster('balance: random').outlier, null)
  t.strictSame(cluster('outlier: {}').outlier, {
    consecutiveFailures: 5,
    failureRatio: 0.5,
    minRequests: 20,
    intervalMs: 10_000,
    baseEjectionMs: 30_000,
    maxEjectionMs: 300_000,
    maxEjected: 0.3,
  })
})
