/** What a reload may change, what it refuses, and how both are said. */
import t from 'tap'
import { difference, type HeldNow } from '../../../lib/config/difference.ts'
import { parseConfig } from '../../../lib/config/parse.ts'

const base = `
listeners: [{ address: "127.0.0.1:8080" }, { address: "127.0.0.1:0" }]
threads: 2
store: { kind: memory }
nodes: [{ id: local, driver: process }]
clusters:
  - id: web
    routes: [{ path: / }]
    backends: [{ id: a, address: "10.0.0.1:80" }, { id: b, address: "10.0.0.2:80" }]
  - id: app
    routes: [{ path: /app }]
    instance: { driver: process, port: 8080 }
`

const nothing: HeldNow = { instances: () => 0, operation: () => null, holder: () => null }

function read(text: string) {
  const result = parseConfig(text, { file: 't', directory: '/d', cpus: 2 })
  if ('faults' in result) throw new Error(JSON.stringify(result.faults))
  return result.config
}

/** Of the base text with these replacements. */
function compare(replacements: Readonly<Record<string, string>>, held: Partial<HeldNow> = {}, from = base) {
  let text = from
  for (const [old, fresh] of Object.entries(replacements)) {
    if (!text.includes(old)) throw new Error(`not in the text: ${old}`)
    text = text.replace(old, fresh)
  }
  const { changes, refusals } = difference(read(from), read(text), { ...nothing, ...held })
  return {
    changes: changes.map(({ cluster, text }) => (cluster === null ? text : `[${cluster}] ${text}`)),
    refusals: refusals.map(({ path, reason }) => `${path}: ${reason}`),
  }
}

t.test('the same text: nothing', async t => {
  t.strictSame(compare({}), { changes: [], refusals: [] })
})

t.test('what changes is named, cluster by cluster', async t => {
  const of = (replacements: Record<string, string>) => compare(replacements).changes
  t.strictSame(of({ 'threads: 2': 'threads: 2\ntrusted_proxies: ["10.0.0.0/8"]\ndebug_headers: true' }), [
    'trusted_proxies',
    'debug_headers',
  ])
  t.strictSame(of({ 'threads: 2': 'threads: 2\nshutdown: { grace: 5s }' }), ['shutdown'])
  t.strictSame(of({ 'threads: 2': 'threads: 4' }), ['threads: 2 to 4'])
  t.strictSame(of({ '"127.0.0.1:0"': '"127.0.0.1:8443"' }), [
    'listener 127.0.0.1:8443 added',
    'listener 127.0.0.1:0 removed',
  ])
  t.strictSame(
    of({ '{ address: "127.0.0.1:8080" }': '{ address: "127.0.0.1:8080", engine: http-proxy-3 }' }),
    ['listener 127.0.0.1:8080 changed'],
  )
  t.strictSame(
    of({
      '{ id: local, driver: process }':
        '{ id: local, driver: process, zone: b }, { id: two, driver: process }',
    }),
    ['node local: zone', 'node two added'],
  )
  t.strictSame(of({ '[{ path: / }]': '[{ path: /x }]\n    balance: random\n    timeouts: { idle: 5s }' }), [
    '[web] cluster web: routes, balance, timeouts',
  ])
  t.strictSame(
    of({
      '[{ path: / }]':
        '[{ path: / }]\n    affinity: cookie\n    drain: { sessions: keep }\n    health: { path: /up }',
    }),
    ['[web] cluster web: affinity, drain, health'],
  )
})

t.test('backends: added, removed, moved, and what is said of them', async t => {
  const of = (replacements: Record<string, string>) => compare(replacements).changes
  t.strictSame(of({ '{ id: b, address: "10.0.0.2:80" }': '{ id: b, address: "10.0.0.2:80", weight: 3 }' }), [
    '[web] backend web/b: weight',
  ])
  t.strictSame(
    of({
      '{ id: a, address: "10.0.0.1:80" }, { id: b, address: "10.0.0.2:80" }':
        '{ id: b, address: "10.0.0.9:80" }, { id: c, address: "10.0.0.3:80" }',
    }),
    ['[web] backend web/b moved to 10.0.0.9:80', '[web] backend web/c added', '[web] backend web/a removed'],
  )
})

t.test('clusters: added and removed; one with instances, or at work, stays', async t => {
  const gone = {
    '  - id: app\n    routes: [{ path: /app }]\n    instance: { driver: process, port: 8080 }\n': '',
  }
  t.strictSame(compare({ 'id: app': 'id: other' }), {
    changes: ['[other] cluster other added', '[app] cluster app removed'],
    refusals: [],
  })
  t.strictSame(compare(gone).refusals, [])
  t.match(compare(gone, { instances: () => 3 }).refusals, [/^clusters\[app\]: it still has 3 instances/])
  t.match(compare(gone, { operation: () => 'op7' }).refusals, [
    /^clusters\[app\]: operation op7 is under way/,
  ])
})

t.test('instances: what they are made of may change, what they are may not while there are any', async t => {
  const template = { 'port: 8080 }': 'port: 8080, template: { command: [node] } }' }
  const port = { 'port: 8080 }': 'port: 8081 }' }
  const none = {
    '    instance: { driver: process, port: 8080 }': '    backends: [{ id: x, address: "10.0.0.1:1" }]',
  }
  const some = { instances: () => 2 }
  t.strictSame(compare(template, some).refusals, [])
  t.strictSame(compare(port).refusals, [])
  t.match(compare(port, some).refusals, [/^clusters\[app\]\.instance\.port: the cluster has 2 instances/])
  t.match(compare(none, some).refusals, [/^clusters\[app\]\.instance: /])
  t.match(compare(template, { operation: () => 'op7' }).refusals, [
    /^clusters\[app\]\.instance: operation op7/,
  ])
})

t.test('an id has one owner', async t => {
  const added = {
    '{ id: b, address: "10.0.0.2:80" }':
      '{ id: b, address: "10.0.0.2:80" }, { id: x, address: "10.0.0.3:80" }',
  }
  t.match(compare(added, { holder: () => 'api' }).refusals, [
    /backends\[x\]: it was registered through the admin API/,
  ])
  t.match(compare(added, { holder: () => 'instance' }).refusals, [/backends\[x\]: an instance/])
})

t.test('what only a restart can change is refused by name, with the reason; all of it at once', async t => {
  const { refusals } = compare({
    'threads: 2': 'threads: 0\nadmin: { address: "127.0.0.1:9999" }',
    'kind: memory': 'kind: sqlite',
    'id: local, driver: process': 'id: here, driver: process',
  })
  t.match(refusals, [/^threads: /, /^admin: /, /^store: /, /^nodes\[local\]: /])
  t.match(compare({ 'driver: process }]': 'driver: process, options: { directory: /x } }]' }).refusals, [
    /^nodes\[local\]\.directory: /,
  ])
})

t.test('with threads: 0 a port cannot pass from one address to another', async t => {
  const from = base.replace('threads: 2', 'threads: 0')
  const changed = { '{ address: "127.0.0.1:8080" }': '{ address: "127.0.0.1:8080", engine: http-proxy-3 }' }
  t.match(compare(changed, {}, from), { changes: ['listener 127.0.0.1:8080 changed'], refusals: [] })
  t.match(compare({ '"127.0.0.1:8080"': '"0.0.0.0:8080"' }, {}, from).refusals, [
    /^listeners\[0\.0\.0\.0:8080\]: with `threads: 0`/,
  ])
  t.strictSame(compare({ '"127.0.0.1:8080"': '"127.0.0.1:8081"' }, {}, from).refusals, [])
})
