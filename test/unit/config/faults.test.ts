/** Every kind of fault: where it is said to be, what is wrong, and the fix. */
import t from 'tap'
import { faultLine, parseConfig } from '../../../lib/config/parse.ts'

const options = { file: 'tidegate.yaml', directory: '/etc/tidegate', cpus: 4 }

function faults(text: string): string[] {
  const result = parseConfig(text, options)
  return 'faults' in result ? result.faults.map(fault => faultLine('t', fault)) : []
}
/** A cluster with one more line in it. */
const cluster = (line: string) =>
  faults(`clusters:\n  - id: web\n    backends: [{ id: a, address: "h:1" }]\n    ${line}\n`)
/** A root key beside a good cluster. */
const root = (line: string) =>
  faults(`${line}\nclusters: [{ id: w, backends: [{ id: a, address: "h:1" }] }]\n`)

t.test('the helpers make good configs: a fault is the line under test', async t => {
  t.strictSame(cluster('balance: random'), [])
  t.strictSame(root('threads: 1'), [])
})

t.test('one fault each, with its place and its fix', async t => {
  const cases: [string[], string][] = [
    [
      cluster('health: { intervall: 2s }'),
      't:4:15 clusters[0].health.intervall: unknown key `intervall` — did you mean `interval`?',
    ],
    [
      cluster('health: { interval: 30 }'),
      't:4:25 clusters[0].health.interval: `30` has no unit — write `30s`',
    ],
    [
      cluster('balance: maglev'),
      't:4:14 clusters[0].balance: `maglev` is not known here — one of round_robin, random, least_request, peak_ewma, consistent_hash',
    ],
    [cluster('balance: lest_request'), 'did you mean `least_request`?'],
    [cluster('balance:'), 't:4:5 clusters[0].balance: an empty value is not known here'],
    [cluster('affinity: cooky'), 't:4:15 clusters[0].affinity'],
    [cluster('affinity: consistent_hashing'), 'clusters[0].affinity.parameter: `parameter` is missing'],
    [cluster('affinity: { method: consistent_hashing, parameter: "form:x" }'), '"header:NAME"'],
    [cluster('affinity: { method: client_ip, name: x }'), 'clusters[0].affinity.name: unknown key `name`'],
    [cluster('drain: { grace_period_seconds: 30s }'), "write `30`: the unit is in the key's name"],
    [cluster('drain: { notify_clients: "yes" }'), 'write true or false, without quotes'],
    [cluster('scaling: { min_instances: -1 }'), 'a whole number from 0 to 100'],
    [cluster('scaling: { max_instances: 101 }'), 'a whole number from 1 to 100'],
    [
      cluster('scaling: { min_instances: 5, max_instances: 4 }'),
      't:4:31 clusters[0].scaling.min_instances: min_instances 5 is more than max_instances 4',
    ],
    [cluster('scaling: { min_instances: 11 }'), 'is more than max_instances 10'],
    [cluster('scaling: { target_cpu_utilization: 60 }'), 'a number from 0.05 to 1'],
    [cluster('scaling: { rules: [] }'), '`rules` is not supported yet in this version — remove `rules`'],
    [cluster('autoscale: {}'), '`autoscale` is not supported yet in this version'],
    [
      cluster('instance: { driver: cloud-hypervisor }'),
      '`cloud-hypervisor` is not known here — did you mean `cloud_hypervisor`? (one of process, qemu, cloud_hypervisor, firecracker)',
    ],
    [cluster('instance: { port: 8080 }'), 'clusters[0].instance.driver: `driver` is missing'],
    [cluster('instance: { driver: process, resources: { memory: 384MB } }'), 'write `384MiB`'],
    [
      cluster('routes: []'),
      't:4:13 clusters[0].routes: the cluster has no routes, and no route of another names it — add a route',
    ],
    [cluster('routes: [{ host: "a.b:80" }]'), 'without the port: "a.b"'],
    [cluster('routes: [{ host: "*.b" }]'), 'hosts with a wildcard are not supported'],
    [cluster('routes: [{ path: api }]'), 'write "/api"'],
    [cluster('routes: [{ path: /a/../b }]'), 'no spaces'],
    [
      cluster('routes: [{ path: /a }, { path: /a/ }]'),
      't:4:28 clusters[0].routes[1]: host `*` with path `/a` already belongs to clusters[0].routes[0]',
    ],
    [cluster('timeouts: { connect: 1h }'), 'from 10ms to 300s'],
    [cluster('id: again'), 'not YAML: Map keys must be unique — keep one of the two keys'],
    [root('threads: many'), '`auto`, or a whole number from 0 to 64'],
    [root('threads: 65'), '`auto`, or a whole number from 0 to 64'],
    [root('listeners: []'), 't:1:12 listeners: an empty list is too short'],
    [root('listeners: { address: "a:1" }'), 'write a list'],
    [
      root('listeners: [{ address: "0.0.0.0:8443", tls: {} }]'),
      't:1:45 listeners[0].tls.certificates: `certificates` is missing — add `certificates`',
    ],
    [
      root('listeners: [{ address: "h:80" }, { address: "h:80" }]'),
      'listeners[1].address: `h:80` is already taken by listeners[0] (h:80)',
    ],
    [root('listeners: [{ address: "0.0.0.0:80" }, { address: "127.0.0.1:80" }]'), 'already taken'],
    [
      root('listeners: [{ address: "127.0.0.1:80" }]\nadmin: { address: "127.0.0.1:80" }'),
      't:2:19 admin.address: `127.0.0.1:80` is already taken by listeners[0]',
    ],
    [
      root('admin: { address: "0.0.0.0:9090", auth: none }'),
      't:1:19 admin.address: `0.0.0.0:9090` can be reached from other machines and `auth` is none — bind 127.0.0.1 or configure auth.jwt',
    ],
    [root('admin: { address: "10.0.0.1:9090" }'), 'bind 127.0.0.1'],
    [
      root('admin: { auth: { jwt: {} } }'),
      't:1:23 admin.auth.jwt: `auth.jwt` is not supported yet in this version',
    ],
    [root('trusted_proxies: [10.0.0.0/33]'), 'trusted_proxies[0]: `10.0.0.0/33` is not a network'],
    [root('trusted_proxies: [example.com]'), 'CIDR form'],
    [root('store: { kind: redis }'), '`redis` is not supported yet in this version'],
    [root('nodes: [{ id: A, driver: qemu }]'), 'nodes[0].id: `A` cannot be used here — lower-case'],
    [root('nodes: [{ id: a, driver: qemu, price: { hourly: -1 } }]'), '`-1` is too low — at least 0'],
    [
      root('nodes: [{ id: a, driver: qemu }, { id: a, driver: qemu }]'),
      't:1:40 nodes[1].id: a second node `a`: the first is nodes[0]',
    ],
    [root('shutdown_grace: 2h'), 'from 0s to 1h'],
    [root('thread: 3'), 't:1:1 thread: unknown key `thread` — did you mean `threads`?'],
    [root('zzzzzzzzz: 3'), 'known here: listeners, threads'],
    [faults('clusters: []'), 'an empty list is too short'],
    [faults('threads: 1'), 'clusters: `clusters` is missing'],
    [faults('clusters: [{ id: a }]'), 'the cluster has nothing to send to — add `backends` or `instance`'],
    [
      faults('nodes: [{ id: n, driver: qemu }]\nclusters: [{ id: a, instance: { driver: process } }]'),
      'clusters[0].instance.driver: no node has the driver `process`',
    ],
    [
      faults('clusters: [{ id: a, backends: [{ id: b, address: "h:1" }, { id: b, address: "h:2" }] }]'),
      'a second backend `b`',
    ],
    [faults('clusters: [{ id: a/b, backends: [{ id: b, address: "h:1" }] }]'), 'clusters[0].id'],
    [faults('clusters: [3]'), 'clusters[0]: `3` is not a group of keys'],
    [faults(''), 'the file is empty'],
    [faults('- a'), 'a list is not a group of keys'],
    [faults('clusters: [1\n'), 'not YAML'],
    [faults('a: &x [*x]'), 'contains itself'],
    [faults('a: 1\n---\nb: 2'), 'a second document'],
    [faults('a: !!js/function "x"'), 'not YAML'],
    [faults(`a: ${'['.repeat(20_000)}`), 't:1:'],
    [faults('x'.repeat(1_000_001)), 'longer than'],
  ]
  for (const [said, wanted] of cases) {
    t.ok(
      said.some(line => line.includes(wanted)),
      wanted,
    )
    if (!said.some(line => line.includes(wanted))) t.comment(said.join('\n'))
  }
})

t.test('two clusters', async t => {
  const said = faults(`clusters:
  - { id: web, backends: [{ id: a, address: "h:1" }] }
  - { id: web, backends: [{ id: a, address: "h:1" }] }`)
  t.strictSame(said, [
    't:3:5 clusters[1]: host `*` with path `/` already belongs to clusters[0].routes[0] — give one of them another host or path',
    't:3:11 clusters[1].id: a second cluster `web`: the first is clusters[0] — give each its own id',
  ])
})

t.test('all faults at once, in the order of the file', async t => {
  const said = faults(`threads: -1
clusters:
  - id: web
    balance: maglev
    health: { intervall: 2s, timeout: 5 }
    scaling: { min_instances: 9, max_instances: 3 }
  - id: web
    routes: [{ path: / }]
    surprise: true
`)
  const lines = said.map(line => Number(line.split(':')[1]))
  t.strictSame(lines, [1, 3, 4, 5, 5, 6, 7, 7, 8, 9])
})
