/** What health, the application's word, ejections and the cluster's standing make of a backend, all together. */
import t from 'tap'
import type { Verdict } from '../../../lib/cluster/health.ts'
import type { MemberOutcome } from '../../../lib/cluster/member.ts'
import type { ClusterConfig, OutlierConfig } from '../../../lib/config/config.ts'
import { clusterConfig, clusterKit } from '../../support/cluster-kit.ts'
import { healthConfig } from '../../support/health-config.ts'

const refused: Verdict = { ok: false, reason: 'connect ECONNREFUSED' }
const silence: Verdict = { ok: false, reason: 'no answer within 1s', silent: true }
const says = (word: 'ready' | 'degraded' | 'draining'): Verdict => ({
  ok: true,
  reason: `answered 200 and said ${word}`,
  says: word,
})

const outlier: OutlierConfig = {
  consecutiveFailures: 5,
  failureRatio: 0.5,
  minRequests: 20,
  intervalMs: 10_000,
  baseEjectionMs: 30_000,
  maxEjectionMs: 300_000,
  maxEjected: 0.3,
}

/** A cluster of a, b, c … at ports 1, 2, 3 …, checked once and well. */
async function scene(ids: string, over: Partial<ClusterConfig> = {}) {
  const backends = [...ids].map((id, i) => ({ id, host: '127.0.0.1', port: i + 1, weight: 1 }))
  const kit = clusterKit([clusterConfig({ backends, ...over })], { random: () => 0 })
  kit.clusters.start([])
  kit.plane.take(kit.clusters.table())
  await kit.clock.advance(100)
  const verdict = (id: string, said: Verdict) => kit.health.set(ids.indexOf(id) + 1, said)
  const admits = () => [...ids].map(id => kit.plane.member(id).eligibility()).join(' ')
  const states = () => kit.clusters.backends('web').map(({ state }) => state)
  const row = (id: string) => kit.clusters.backend('web', id)
  const exchanges = (id: string, outcome: MemberOutcome, count = 1) => {
    const member = kit.plane.member(id)
    for (let i = 0; i < count; i++) if (member.enter(true)) member.leave(outcome)
  }
  const told = (type: string) =>
    kit.seen.flatMap(event => {
      if (event.type !== type) return []
      const { type: _, cluster: __, ...rest } = event as unknown as Record<string, unknown>
      return [rest]
    })
  return { ...kit, verdict, admits, states, row, exchanges, told }
}

t.test('a degraded backend is in reserve while enough others are well', async t => {
  const { verdict, admits, states, row, clock, told } = await scene('abc')
  verdict('a', says('degraded'))
  await clock.advance(2000)
  t.equal(admits(), 'spare any any')
  t.strictSame(states(), ['ready', 'ready', 'ready'])
  t.match(row('a'), { admits: 'spare', health: { status: 'degraded', says: 'degraded' } })
  verdict('b', silence)
  await clock.advance(2000)
  t.equal(admits(), 'any any any', 'one of three is well: all hands')
  verdict('b', says('ready'))
  await clock.advance(2000)
  t.equal(admits(), 'spare any any')
  t.strictSame(
    told('backend_health').map(({ backend, from, to }) => `${backend} ${from}>${to}`),
    [
      'a unknown>healthy',
      'b unknown>healthy',
      'c unknown>healthy',
      'a healthy>degraded',
      'b healthy>degraded',
      'b degraded>healthy',
    ],
  )
  t.match(row('a').health.history, [
    { from: 'unknown', to: 'healthy' },
    {
      at: '2023-11-14T22:13:21.800Z',
      from: 'healthy',
      to: 'degraded',
      reason: 'answered 200 and said degraded',
    },
  ])
})

t.test('whose checks meet silence and whose exchanges end well is strained, not dead', async t => {
  const { verdict, admits, row, exchanges, clock, moves } = await scene('ab')
  const seconds = async (count: number, outcome?: MemberOutcome) => {
    for (let i = 0; i < count; i++) {
      if (outcome) exchanges('a', outcome, 3)
      await clock.advance(1000)
    }
  }
  verdict('a', silence)
  await seconds(20, 'ok')
  t.equal(admits(), 'spare any', 'in reserve for new clients, and those on it stay')
  t.match(row('a').health, {
    status: 'degraded',
    silent: false,
    reason: 'no answer within 1s, but its exchanges are served',
  })
  await seconds(8)
  t.equal(admits(), 'none any', 'nothing speaks for it any more')
  t.match(row('a').health, { status: 'unhealthy', silent: true })
  await seconds(4, 'ok')
  t.equal(admits(), 'none any', 'who is ill comes back by its checks')
  verdict('a', says('ready'))
  await seconds(5)
  for (const outcome of ['failed', 'server_error', 'aborted'] as const) {
    verdict('a', silence)
    await seconds(8, outcome)
    t.equal(admits(), 'none any', `${outcome} does not speak for it`)
    verdict('a', says('ready'))
    await seconds(5)
  }
  verdict('a', refused)
  await seconds(8, 'ok')
  t.equal(admits(), 'none any', 'a refusal counts, whatever ended well before')
  t.equal(moves('a').filter(move => move === 'ready>down').length, 5)
})

t.test('the last healthy one going ill leaves the degraded one to everybody', async t => {
  const { verdict, admits, clock } = await scene('ab')
  verdict('a', says('degraded'))
  verdict('b', refused)
  await clock.advance(2000)
  t.equal(admits(), 'spare any')
  await clock.advance(4000)
  t.equal(admits(), 'any none')
})

t.test('an application that asks to be drained keeps its clients and gets no others', async t => {
  const { verdict, admits, row, clusters, clock, plane, moves } = await scene('ab')
  verdict('a', says('draining'))
  await clock.advance(2000)
  t.equal(admits(), 'bound any')
  t.match(row('a'), { state: 'drained', health: { status: 'healthy', says: 'draining' } })
  t.ok(plane.member('a').enter(true))
  t.equal(row('a').state, 'draining')
  plane.member('a').leave('ok')
  clusters.mark('web', 'a', null)
  t.equal(admits(), 'bound any', 'the operator has no mark on it to lift')
  clusters.mark('web', 'a', 'drain')
  verdict('a', says('ready'))
  await clock.advance(2000)
  t.equal(admits(), 'bound any', "the operator's mark stays")
  clusters.mark('web', 'a', null)
  t.equal(admits(), 'any any')
  t.strictSame(moves('a'), ['null>ready', 'ready>drained', 'drained>ready'])
})

t.test(
  "who was sealed by a drain is open again when it ends, though the application's wish goes on",
  async t => {
    const { verdict, admits, clusters, clock } = await scene('ab')
    verdict('a', says('draining'))
    await clock.advance(2000)
    clusters.fence('web', 'a', 'scale_in')
    clusters.seal('web', 'a')
    t.equal(admits(), 'none any')
    clusters.unfence('web', 'a')
    t.equal(admits(), 'bound any')
    clusters.fence('web', 'a', 'scale_in again')
    t.equal(admits(), 'bound any', 'the next fence begins unsealed')
  },
)

t.test('panic: with too few well, health is ignored; who was never seen well stays out', async t => {
  const { verdict, admits, states, clusters, clock, told } = await scene('abcd', {
    health: healthConfig({ panicThreshold: 50, unhealthyThreshold: 1 }),
  })
  await clusters.change('web', {
    add: [
      {
        id: 'new',
        host: 'h',
        port: 9,
        weight: 1,
        incarnation: 'x',
        instance: null,
        verified: false,
        mark: null,
      },
    ],
  })
  clusters.mark('web', 'd', 'drain')
  verdict('a', refused)
  await clock.advance(2000)
  t.notOk(clusters.standing('web').panic, 'two of the three in rotation are well, and the new one')
  verdict('b', refused)
  verdict('c', refused)
  await clock.advance(2000)
  t.match(clusters.standing('web'), { panic: true, well: 1, ill: 3 })
  t.equal(admits(), 'any any any bound')
  t.strictSame(states(), ['ready', 'ready', 'ready', 'drained', 'ready'])
  t.equal(clusters.backend('web', 'a').health.status, 'unhealthy', 'it says how it is')
  verdict('c', says('ready'))
  await clock.advance(4000)
  t.equal(admits(), 'none none any bound')
  t.strictSame(told('cluster_panic'), [
    { panic: true, well: 1, degraded: 0, backends: 4 },
    { panic: false, well: 2, degraded: 0, backends: 4 },
  ])
})

t.test('a new backend that warms up is not opened by a panic', async t => {
  const { verdict, clusters, clock, plane } = await scene('a', {
    health: healthConfig({ panicThreshold: 50, unhealthyThreshold: 1 }),
  })
  verdict('a', refused)
  await clock.advance(2000)
  t.equal(plane.member('a').eligibility(), 'any', 'the only one is in panic')
  clusters.mark('web', 'a', 'maint')
  clusters.mark('web', 'a', null)
  await clock.advance(10)
  t.match(clusters.backend('web', 'a'), { state: 'down', admits: 'none' })
})

t.test('five failures in a row eject for a while, and each time for longer', async t => {
  const { admits, exchanges, row, states, clock, moves } = await scene('abcd', { outlier })
  exchanges('a', 'failed', 4)
  exchanges('b', 'failed', 9)
  exchanges('b', 'ok')
  await clock.advance(250)
  t.equal(admits(), 'any none any any', 'a row that was broken between two looks is seen')
  t.equal(states()[1], 'down')
  t.match(row('b'), {
    failures: 9,
    health: {
      status: 'unhealthy',
      reason: 'ejected for 30s: 9 exchanges in a row ended without an answer',
      ejected_until: /^2023-11-14T22:13:50/,
    },
  })
  exchanges('a', 'failed')
  await clock.advance(250)
  t.equal(admits(), 'any none any any', 'three tenths of four: one at a time')
  await clock.advance(29_750)
  t.equal(admits(), 'any any any any')
  exchanges('a', 'ok')
  exchanges('b', 'failed', 5)
  await clock.advance(59_000)
  t.equal(admits(), 'any none any any')
  t.match(row('b').health.reason, 'ejected for 60s')
  await clock.advance(2_000)
  t.strictSame(moves('b'), ['null>ready', 'ready>down', 'down>ready', 'ready>down', 'down>ready'])
  t.match(row('b').health.history.at(-1), { to: 'healthy', reason: 'ejection is over; answered 200' })
})

t.test('who comes back and fails at once has not broken its row', async t => {
  const { admits, exchanges, clock } = await scene('abcd', { outlier })
  exchanges('a', 'failed', 5)
  await clock.advance(30_500)
  t.equal(admits(), 'any any any any')
  exchanges('a', 'failed')
  await clock.advance(250)
  t.equal(admits(), 'none any any any')
})

t.test('half of twenty in an interval eject; clients that leave say nothing', async t => {
  const { admits, exchanges, clock } = await scene('abcd', {
    outlier: { ...outlier, consecutiveFailures: 0 },
  })
  exchanges('a', 'aborted', 50)
  for (let i = 0; i < 9; i++) {
    exchanges('a', 'failed')
    exchanges('a', 'ok')
  }
  await clock.advance(1000)
  t.equal(admits(), 'any any any any', 'eighteen')
  exchanges('a', 'failed')
  exchanges('a', 'ok')
  await clock.advance(250)
  t.equal(admits(), 'none any any any')
})

t.test('what failed in another interval is forgotten', async t => {
  const { admits, exchanges, clock } = await scene('abcd', {
    outlier: { ...outlier, consecutiveFailures: 0 },
  })
  exchanges('a', 'failed', 19)
  await clock.advance(10_500)
  exchanges('a', 'ok', 19)
  exchanges('a', 'failed')
  await clock.advance(250)
  t.equal(admits(), 'any any any any')
})

t.test('whom an ejected backend keeps', async t => {
  const kept = async (outcome: MemberOutcome, affinity: ClusterConfig['affinity']) => {
    const { exchanges, clock, row } = await scene('abcd', { outlier, affinity })
    exchanges('a', outcome, 5)
    await clock.advance(250)
    return row('a').admits
  }
  const cookie = { method: 'cookie', name: 'tidegate', ttlSeconds: 60 } as const
  t.equal(await kept('server_error', cookie), 'bound', 'its sessions are in it, and it answers')
  t.equal(await kept('failed', cookie), 'none')
  t.equal(await kept('server_error', { method: 'client_ip' }), 'none', 'nearly everybody is bound by a hash')
  t.equal(await kept('server_error', { method: 'none' }), 'none')
})

t.test('the last that serves is never ejected, and one of two may be', async t => {
  const { admits, exchanges, verdict, clock } = await scene('ab', { outlier })
  exchanges('a', 'failed', 5)
  exchanges('b', 'failed', 5)
  await clock.advance(250)
  t.equal(admits(), 'none any')
  await clock.advance(30_000)
  t.equal(admits(), 'any any')
  verdict('b', refused)
  await clock.advance(8000)
  exchanges('a', 'failed', 5)
  await clock.advance(250)
  t.equal(admits(), 'any none')
})

t.test('who is out of rotation anyway is not ejected', async t => {
  const { clusters, exchanges, row, clock } = await scene('abcd', { outlier })
  clusters.mark('web', 'a', 'drain')
  exchanges('a', 'failed', 9)
  await clock.advance(1000)
  t.equal(row('a').health.ejected_until, null)
})

t.test('an operator takes an ejected one back, and nothing is held against it', async t => {
  const { clusters, admits, exchanges, row, clock } = await scene('abcd', { outlier })
  exchanges('a', 'failed', 5)
  await clock.advance(250)
  clusters.mark('web', 'a', null)
  t.equal(admits(), 'any any any any')
  await clock.advance(1000)
  exchanges('a', 'failed', 5)
  await clock.advance(250)
  t.match(row('a').health.reason, 'ejected for 30s', 'not for the second time')
})

t.test('while its health is held nobody is ejected: what goes wrong then is our doing', async t => {
  const { clusters, admits, exchanges, clock } = await scene('abcd', { outlier })
  clusters.holdHealth('web', 'a', true)
  exchanges('a', 'failed', 20)
  await clock.advance(1000)
  t.equal(admits(), 'any any any any')
  clusters.holdHealth('web', 'a', false)
  await clock.advance(1000)
  t.equal(admits(), 'any any any any', 'nor afterwards for it')
})

t.test('a new configuration changes the thresholds and the rules at once', async t => {
  const { clusters, admits, verdict, exchanges, row, clock } = await scene('abc', { outlier })
  exchanges('c', 'failed', 5)
  verdict('a', refused)
  await clock.advance(8000)
  t.equal(admits(), 'none any none')
  const config = clusters.config('web')
  await clusters.reconfigure([{ ...config, health: healthConfig({ panicThreshold: 50 }) }])
  t.equal(admits(), 'any any any')
  t.ok(clusters.standing('web').panic)
  await clusters.reconfigure([{ ...config, outlier: null }])
  await clock.advance(250)
  t.equal(row('c').health.ejected_until, null, 'nobody stays ejected by a rule that is gone')
  t.equal(admits(), 'none any any')
})

t.test('a new configuration may begin to eject', async t => {
  const { clusters, admits, exchanges, clock } = await scene('abc')
  await clusters.reconfigure([{ ...clusters.config('web'), outlier }])
  exchanges('a', 'failed', 5)
  await clock.advance(250)
  t.equal(admits(), 'none any any')
  clusters.close()
})

t.test('without the group nobody is ejected; closed, nothing ticks any more', async t => {
  const plain = await scene('abcd')
  plain.exchanges('a', 'failed', 50)
  await plain.clock.advance(20_000)
  t.equal(plain.admits(), 'any any any any')
  const { clusters, clock } = await scene('abcd', { outlier })
  clusters.close()
  await clock.advance(3000)
  t.equal(clock.pending, 0)
})

t.test('a backend in the place of another inherits no row', async t => {
  const { clusters, exchanges, clock, plane } = await scene('ab', {
    outlier: { ...outlier, intervalMs: 3_600_000 },
  })
  exchanges('a', 'failed', 5)
  const { slot } = plane.member('a')
  await clusters.change('web', { remove: ['a'] })
  await clusters.waitGone('web', 'a', 0)
  for (let i = 0; plane.table && i < 3; i++) {
    const id = `n${i}`
    await clusters.change('web', {
      add: [
        { id, host: 'h', port: 9, weight: 1, incarnation: id, instance: null, verified: true, mark: null },
      ],
    })
    if (plane.member(id).slot !== slot) continue
    await clock.advance(1000)
    t.equal(clusters.backend('web', id).health.ejected_until, null)
    return
  }
  t.fail('the slot was not given out again')
})

t.test('checks of a cluster speak TLS as they are told, asked for each time', async t => {
  const targets: unknown[] = []
  let version = 0
  const kit = clusterKit([clusterConfig({ backends: [{ id: 'a', host: 'h', port: 1, weight: 1 }] })], {
    tls: ({ id }) => ({ servername: `${id}-${++version}` }),
    probe: async target => {
      targets.push(target)
      return { ok: true, reason: 'answered 200' }
    },
  })
  kit.clusters.start([])
  await kit.clock.advance(4000)
  kit.clusters.close()
  t.strictSame(targets, [
    { host: 'h', port: 1, tls: { servername: 'web-1' } },
    { host: 'h', port: 1, tls: { servername: 'web-2' } },
  ])
  t.match(kit.clusters.target('web', { host: 'i', port: 2 }), { host: 'i', tls: { servername: 'web-3' } })
})
