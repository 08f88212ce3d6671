/** The keys of balancing: what they become, and what is refused of them. */
import t from 'tap'
import type { Config } from '../../../lib/config/config.ts'
import { faultLine, parseConfig } from '../../../lib/config/parse.ts'

const options = { file: 't', directory: '/d', cpus: 1 }
const read = (text: string): Config => {
  const result = parseConfig(text, options)
  if ('faults' in result) throw new Error(result.faults.map(fault => faultLine('t', fault)).join('\n'))
  return result.config
}
const faults = (text: string): string => {
  const result = parseConfig(text, options)
  return 'faults' in result ? result.faults.map(fault => faultLine('t', fault)).join('\n') : 'none'
}

const backends = 'backends: [{ id: a, address: "h:1" }]'
/** The keys of one cluster, after others. */
const cluster = (keys: string, whole = '') => `${whole}
clusters:
  - id: web
    ${backends}
    ${keys}
  - { id: canary, routes: [], ${backends} }
  - { id: shadow, routes: [{ host: s.example }], ${backends} }
`
const used = 'routes: [{ split: [{ cluster: canary, percent: 1 }] }]'

t.test('every balance and its settings', async t => {
  for (const balance of ['least_request', 'peak_ewma', 'round_robin', 'random', 'consistent_hash'])
    t.equal(read(cluster(`balance: ${balance}\n    ${used}`)).clusters[0]?.balance, balance)
  const keys = `balance: consistent_hash\n    hash_balance_factor: 1.5\n    slow_start: 30s\n    ${used}`
  t.match(read(cluster(keys)).clusters[0], {
    hashBalanceFactor: 1.5,
    slowStartMs: 30_000,
    zonePreference: 'off',
  })
})

t.test('zones of the whole, of backends, and their preference', async t => {
  const text = `
zone: fra-1
clusters:
  - id: web
    zone_preference: prefer
    backends: [{ id: a, address: "h:1", zone: fra-1 }, { id: b, address: "h:2" }]
`
  const config = read(text)
  t.equal(config.zone, 'fra-1')
  t.equal(config.clusters[0]?.zonePreference, 'prefer')
  t.strictSame(
    config.clusters[0]?.backends.map(({ zone }) => zone),
    ['fra-1', null],
  )
})

t.test('what a route may have of its own', async t => {
  const config = read(
    cluster(`routes:
      - { path: / }
      - path: /api
        timeouts: { header: 90s }
        split: [{ cluster: canary, percent: 2.5 }, { cluster: shadow, percent: 0 }]
        split_fallback: true
        mirror: { cluster: shadow }
`),
  )
  t.strictSame(config.clusters[0]?.routes, [
    { host: '*', path: '/' },
    {
      host: '*',
      path: '/api',
      timeouts: { headerMs: 90_000 },
      split: [
        { cluster: 'canary', percent: 2.5 },
        { cluster: 'shadow', percent: 0 },
      ],
      splitFallback: true,
      mirror: { cluster: 'shadow', percent: 100, requestBodyBytes: 65_536 },
    },
  ])
  t.strictSame(config.clusters[1]?.routes, [])
})

t.test('faults, each with its place and its fix', async t => {
  const split = (part: string) => cluster(`routes: [{ split: [{ cluster: canary, percent: 1 }, ${part}] }]`)
  const mirror = (part: string) =>
    cluster(`routes: [{ split: [{ cluster: canary, percent: 1 }], mirror: ${part} }]`)
  const cases: readonly (readonly [string, string])[] = [
    [
      split('{ cluster: web-2, percent: 1 }'),
      'clusters[0].routes[0].split[1].cluster: there is no cluster `web-2` — one of canary, shadow',
    ],
    [split('{ cluster: web, percent: 1 }'), 'a split of a cluster to itself — name another cluster'],
    [split('{ cluster: canary, percent: 1 }'), 'cluster `canary` a second time — add the two up'],
    [
      split('{ cluster: shadow, percent: 99.5 }'),
      'clusters[0].routes[0].split: the parts are 100.5 percent together — at most 100',
    ],
    [split('{ cluster: shadow, percent: 101 }'), '`101` is out of bounds — a number from 0 to 100'],
    [split('{ cluster: shadow }'), 'split[1].percent: `percent` is missing'],
    [mirror('{ cluster: nobody }'), 'clusters[0].routes[0].mirror.cluster: there is no cluster `nobody`'],
    [mirror('{ cluster: web }'), 'a mirror of a cluster to itself'],
    [mirror('shadow'), 'is not a group of keys'],
    [
      cluster('balance: random'),
      't:6:27 clusters[1].routes: the cluster has no routes, and no route of another names it — add a route, or name it',
    ],
    [
      cluster(`hash_balance_factor: 2\n    ${used}`),
      '`hash_balance_factor` has no effect with `balance: least_request`',
    ],
    [cluster(`balance: consistent_hash\n    hash_balance_factor: 1\n    ${used}`), 'from 1.01 to 10'],
    [
      cluster(`zone_preference: prefer\n    ${used}`),
      'clusters[0].zone_preference: this Tidegate has no zone that could be preferred — add `zone` at the top level',
    ],
    [
      cluster(`zone_preference: prefer\n    balance: consistent_hash\n    ${used}`, 'zone: a'),
      '`consistent_hash` goes by the key, wherever its owner is',
    ],
    [cluster(`slow_start: 30\n    ${used}`), 'write `30s`'],
    [cluster(`slow_start: 2h\n    ${used}`), 'from 0s to 1h'],
    [cluster(`balance: ring_hash\n    ${used}`), 'clusters[0].balance: `ring_hash`'],
    [cluster('routes: [{ timeouts: { header: 1ms } }]'), 'routes[0].timeouts.header: `1ms` is too short'],
  ]
  for (const [text, expected] of cases) {
    const found = faults(text)
    t.ok(found.includes(expected), `${expected}\n${found}`)
  }
})

t.test('odd shapes are faults, never exceptions', async t => {
  for (const keys of [
    'routes: [{ split: 3 }]',
    'routes: [{ split: [3, null] }]',
    'routes: [{ mirror: [] }]',
    'routes: [null, { split: { a: 1 } }]',
    'routes: 7',
    'balance: { a: 1 }\n    hash_balance_factor: 2',
    'zone_preference: [prefer]',
  ])
    t.not(faults(cluster(keys)), 'none', keys)
})
