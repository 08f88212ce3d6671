/** Config text → frozen Config: the defaults, the whole of the format, the forms that a value may take. */
import t from 'tap'
import type { Config } from '../../../lib/config/config.ts'
import { faultLine, parseConfig } from '../../../lib/config/parse.ts'
import { plainResilience } from '../../../lib/proxy/resilience/plain.ts'
import { drainPolicy } from '../../support/drain-policy.ts'
import { healthConfig } from '../../support/health-config.ts'
import { plainBalance } from '../../support/plain-balance.ts'

const options = {
  file: 'tidegate.yaml',
  directory: '/etc/tidegate',
  cpus: 4,
  memoryBytes: 2 ** 30,
  diskBytes: 2000,
}

const plainListener = { engine: 'relay', protocol: 'http1', proxyProtocol: 'off', tls: null } as const

function config(text: string): Config {
  const result = parseConfig(text, options)
  if ('faults' in result) throw new Error(result.faults.map(fault => faultLine('t', fault)).join('\n'))
  return result.config
}

t.test('the smallest config has a default for all the rest', async t => {
  t.strictSame(config('clusters: [{ id: web, backends: [{ id: a, address: "10.0.0.5:8080" }] }]'), {
    listeners: [{ host: '0.0.0.0', port: 8080, ...plainListener }],
    threads: 4,
    trustedProxies: [],
    debugHeaders: false,
    admin: { host: '127.0.0.1', port: 9090, auth: 'none' },
    store: { kind: 'sqlite', path: '/etc/tidegate/state/tidegate.db' },
    nodes: [],
    zone: null,
    clusters: [
      {
        id: 'web',
        routes: [{ host: '*', path: '/' }],
        balance: 'least_request',
        ...plainBalance,
        affinity: { method: 'none' },
        backends: [{ id: 'a', host: '10.0.0.5', port: 8080, weight: 1, zone: null }],
        protocol: 'http1',
        tls: null,
        instance: null,
        drain: drainPolicy(),
        health: { ...healthConfig(), slowRatio: 0.5 },
        outlier: null,
        standby: { scaleToZero: null, warmPool: null, clones: null },
        scaling: {
          minInstances: 1,
          maxInstances: 10,
          targetCpuUtilization: 0.6,
          scaleInCooldownSeconds: 300,
          scaleOutCooldownSeconds: 60,
          disruptionBudget: 1,
          rollingPauseSeconds: 30,
          rollingMaxFailureRatio: 0.05,
          scaleInCancelInFlight: 32,
          resizeFirstCpus: 0,
          resizeFirstMemoryMib: 0,
          protect: 'none',
        },
        timeouts: { connectMs: 2000, headerMs: 30_000, idleMs: 60_000, tunnelIdleMs: 3_600_000 },
        resilience: plainResilience,
      },
    ],
    overload: { maxMemoryBytes: 2 ** 29, maxEventLoopDelayMs: 200, maxConnections: 50_000 },
    shutdown: { graceMs: 30_000, tunnels: 'close', closeCode: 1001, closeSpreadMs: 30_000 },
    accessLog: null,
    tracing: { propagate: true, generate: 'auto', sample: 1, otlp: null },
  } satisfies Config)
})

const full = `
listeners: [{ address: "0.0.0.0:8080" }, { address: "[::1]:8081" }]
threads: 0
trusted_proxies: ["10.0.0.0/8", "::1", 192.0.2.7]
debug_headers: true
admin: { address: "localhost:9090", auth: none }
store: { kind: sqlite, path: data/t.db }
shutdown_grace: 5s
nodes:
  - { id: local, driver: qemu, zone: a, capacity: { cpus: 4, memory: 8GiB, disk: 40GiB }, price: { hourly: 0.10, kind: on_demand }, options: { accel: tcg, directory: vms } }
  - { id: here, driver: process }
clusters:
  - id: web
    routes: [{ host: "Shop.Example.com", path: "/" }, { host: "*", path: "/api/" }]
    balance: round_robin
    affinity: { method: cookie, name: sid, ttl_seconds: 60 }
    backends: [{ id: a, address: "10.0.0.5:8080", weight: 3 }]
    instance: { driver: qemu, port: 8080, resources: { cpus: 1, memory: 384MiB, disk: 1GiB }, clone_from: golden, template: { image: x.img } }
    drain: { grace_period_seconds: 3, wait_for_connections: false, notify_clients: false }
    health: { path: "/healthz?deep=1", interval: 500ms, timeout: 250ms, healthy_threshold: 1, unhealthy_threshold: 1 }
    scaling: { min_instances: 2, max_instances: 20, target_cpu_utilization: 0.5, scale_in_cooldown_seconds: 1, scale_out_cooldown_seconds: 0 }
    timeouts: { connect: 1s, header: 2s, idle: 3s, tunnel_idle: 2h }
`

t.test('every key is read', async t => {
  const read = config(full)
  t.strictSame(read.listeners, [
    { host: '0.0.0.0', port: 8080, ...plainListener },
    { host: '::1', port: 8081, ...plainListener },
  ])
  t.equal(read.threads, 0)
  t.strictSame(read.trustedProxies, ['10.0.0.0/8', '::1/128', '192.0.2.7/32'])
  t.equal(read.debugHeaders, true)
  t.strictSame(read.shutdown, { graceMs: 5000, tunnels: 'close', closeCode: 1001, closeSpreadMs: 5000 })
  t.strictSame(read.store, { kind: 'sqlite', path: '/etc/tidegate/data/t.db' })
  t.strictSame(read.nodes, [
    {
      id: 'local',
      driver: 'qemu',
      zone: 'a',
      capacity: { cpus: 4, memoryBytes: 8 * 1024 ** 3, diskBytes: 40 * 1024 ** 3 },
      price: { hourly: 0.1, kind: 'on_demand' },
      directory: '/etc/tidegate/vms',
      options: { accel: 'tcg' },
    },
    {
      id: 'here',
      driver: 'process',
      zone: 'default',
      capacity: { cpus: 4, memoryBytes: 2 ** 30, diskBytes: 2000 },
      price: null,
      directory: '/etc/tidegate/state/here',
      options: {},
    },
  ])
  const [web] = read.clusters
  t.strictSame(web?.routes, [
    { host: 'shop.example.com', path: '/' },
    { host: '*', path: '/api' },
  ])
  t.strictSame(web?.affinity, { method: 'cookie', name: 'sid', ttlSeconds: 60 })
  t.strictSame(web?.instance, {
    driver: 'qemu',
    port: 8080,
    resources: { cpus: 1, memoryBytes: 384 * 1024 ** 2, diskBytes: 1024 ** 3 },
    template: { image: 'x.img' },
    cloneFrom: 'golden',
    warmRequests: [],
  })
  t.strictSame(web?.drain, drainPolicy({ gracePeriodMs: 3000, waitForConnections: false, tunnels: 'cut' }))
  t.match(web?.health, { path: '/healthz?deep=1', intervalMs: 500 })
  t.match(web?.scaling, { minInstances: 2, maxInstances: 20, scaleOutCooldownSeconds: 0 })
  t.strictSame(web?.timeouts, { connectMs: 1000, headerMs: 2000, idleMs: 3000, tunnelIdleMs: 7_200_000 })
})

t.test('JSON is YAML too', async t => {
  const json = JSON.stringify({ clusters: [{ id: 'web', backends: [{ id: 'a', address: 'h:1' }] }] }, null, 2)
  t.equal(config(json).clusters[0]?.backends[0]?.host, 'h')
})

t.test('affinity is one word or a group', async t => {
  const of = (affinity: string) =>
    config(`clusters: [{ id: w, affinity: ${affinity}, backends: [{ id: a, address: "h:1" }] }]`).clusters[0]
      ?.affinity
  t.strictSame(of('none'), { method: 'none' })
  t.strictSame(of('client_ip'), { method: 'client_ip' })
  t.strictSame(of('cookie'), { method: 'cookie', name: 'tidegate', ttlSeconds: 3600 })
  t.strictSame(of('{ method: cookie, ttl_seconds: 5 }'), {
    method: 'cookie',
    name: 'tidegate',
    ttlSeconds: 5,
  })
  const hashed: [string, object][] = [
    ['header:X-User', { from: 'header', name: 'x-user' }],
    ['cookie:Sid', { from: 'cookie', name: 'Sid' }],
    ['query:tenant', { from: 'query', name: 'tenant' }],
    ['path', { from: 'path' }],
  ]
  for (const [text, parameter] of hashed)
    t.strictSame(of(`{ method: consistent_hashing, parameter: "${text}" }`), {
      method: 'consistent_hashing',
      parameter,
    })
})

t.test('without `nodes` each driver in use gets one', async t => {
  const read = config(`
clusters:
  - { id: a, routes: [{ path: /a }], instance: { driver: process } }
  - { id: b, routes: [{ path: /b }], instance: { driver: qemu } }
  - { id: c, routes: [{ path: /c }], instance: { driver: process } }`)
  t.match(read.nodes, [
    { id: 'local', driver: 'process', directory: '/etc/tidegate/state/local' },
    { id: 'local-qemu', driver: 'qemu', directory: '/etc/tidegate/state/local-qemu' },
  ])
  t.strictSame(read.nodes[0]?.capacity, { cpus: 4, memoryBytes: 2 ** 30, diskBytes: 2000 })
})

t.test('threads: auto is the number of cpus, up to 64', async t => {
  const text = 'clusters: [{ id: w, backends: [{ id: a, address: "h:1" }] }]'
  const many = parseConfig(text, { ...options, cpus: 128 })
  t.match(many, { config: { threads: 64 } })
  t.equal(config(`threads: 3\n${text}`).threads, 3)
})

t.test('the result cannot be changed', async t => {
  const read = config(full)
  const walk = (value: unknown, path: string): void => {
    if (typeof value !== 'object' || value === null) return
    t.ok(Object.isFrozen(value), path)
    for (const [key, child] of Object.entries(value)) walk(child, `${path}.${key}`)
  }
  walk(read, 'config')
})
