/** How clients leave, as it is written: `drain` of a cluster, `shutdown`, and the older words that still mean what they meant. */
import t from 'tap'
import { parseConfig } from '../../../lib/config/parse.ts'
import { drainPolicy } from '../../support/drain-policy.ts'

const options = { file: 'tidegate.yaml', directory: '/etc/tidegate', cpus: 2 }
const cluster = (drain: string) =>
  `clusters: [{ id: web, backends: [{ id: a, address: "10.0.0.5:8080" }], drain: { ${drain} } }]`

function read(text: string) {
  const result = parseConfig(text, options)
  if ('faults' in result) throw new Error(JSON.stringify(result.faults))
  return result.config
}

const faults = (text: string) => {
  const result = parseConfig(text, options)
  return 'faults' in result
    ? result.faults.map(({ path, message, fix }) => `${path}: ${message} — ${fix}`)
    : []
}

t.test('drain: each word, and what the older ones come to', async t => {
  const cases: readonly (readonly [string, Parameters<typeof drainPolicy>[0]])[] = [
    ['', {}],
    ['notify_clients: false', { tunnels: 'cut' }],
    ['notify_clients: true', { tunnels: 'close' }],
    ['notify_clients: false, tunnels: keep', { tunnels: 'keep' }],
    ['wait_for_connections: false', { waitForConnections: false }],
    [
      'sessions: keep, tunnels: close, close_code: 1012, close_spread_seconds: 20',
      { sessions: 'keep', closeCode: 1012, closeSpreadMs: 20_000 },
    ],
    [
      'grace_period_seconds: 5, sessions: cut, tunnels: cut',
      { gracePeriodMs: 5000, sessions: 'cut', tunnels: 'cut' },
    ],
  ]
  for (const [text, over] of cases)
    t.strictSame(read(cluster(text)).clusters[0]!.drain, drainPolicy(over), text)
})

t.test('shutdown: the whole grace period is for closing, unless it says otherwise', async t => {
  const whole = (text: string) => read(`${cluster('')}\n${text}`).shutdown
  const base = { graceMs: 30_000, tunnels: 'close', closeCode: 1001, closeSpreadMs: 30_000 }
  t.strictSame(whole(''), base)
  t.strictSame(whole('shutdown_grace: 5s'), { ...base, graceMs: 5000, closeSpreadMs: 5000 })
  t.strictSame(whole('shutdown_grace: 5s\nshutdown: { tunnels: keep }'), {
    ...base,
    ...{ graceMs: 5000, closeSpreadMs: 5000, tunnels: 'keep' },
  })
  t.strictSame(whole('shutdown: { grace: 1m, tunnels: cut, close_code: 1012, close_spread: 10s }'), {
    ...{ graceMs: 60_000, tunnels: 'cut', closeCode: 1012, closeSpreadMs: 10_000 },
  })
  t.equal(whole('shutdown: { grace: 1s, close_spread: 10s }').closeSpreadMs, 1000)
})

t.test('faults', async t => {
  const cases: readonly (readonly [string, RegExp])[] = [
    [cluster('sessions: repins'), /drain\.sessions: `repins` is not known here — did you mean `repin`/],
    [cluster('tunnels: told'), /drain\.tunnels: .*one of keep, close, cut/],
    [cluster('close_code: 1000'), /drain\.close_code: `1000` is not a close code.*1001, 1012/],
    [
      cluster('notify_clients: true, tunnels: cut'),
      /drain\.notify_clients: .*contradict.*remove `notify_clients`/,
    ],
    [
      cluster('grace_period_seconds: 5, close_spread_seconds: 6'),
      /drain\.close_spread_seconds: .*grace period of 5/,
    ],
    [cluster('close_spread_seconds: 6s'), /drain\.close_spread_seconds: .*write `6`/],
    [`${cluster('')}\nshutdown: { grace: 30 }`, /shutdown\.grace: `30` has no unit/],
    [
      `${cluster('')}\nshutdown_grace: 5s\nshutdown: { grace: 5s }`,
      /shutdown_grace: .*twice.*remove `shutdown_grace`/,
    ],
  ]
  for (const [text, pattern] of cases) {
    const found = faults(text)
    t.equal(found.length, 1, found.join('\n') || text)
    t.match(found[0], pattern)
  }
})
