/** A new configuration taken into a membership that serves: who stays keeps everything, who leaves is seen out. */
import t from 'tap'
import type { ClusterConfig } from '../../../lib/config/config.ts'
import { backend, clusterConfig, clusterKit } from '../../support/cluster-kit.ts'
import { drainPolicy } from '../../support/drain-policy.ts'

const at = (id: string, port: number, weight = 1) => ({ id, host: '127.0.0.1', port, weight })
const web = (backends: ClusterConfig['backends'], over: Partial<ClusterConfig> = {}) =>
  clusterConfig({ backends, ...over })
const never = new AbortController().signal
const leavers = drainPolicy({ gracePeriodMs: 5000 })

function started(configs: readonly ClusterConfig[]) {
  const kit = clusterKit(configs)
  kit.clusters.start([])
  kit.plane.take(kit.clusters.table())
  return kit
}

t.test('who stays keeps slot, epoch, incarnation, sessions, counters and what is under way', async t => {
  const { clusters, plane, clock } = started([web([at('a', 1), at('b', 2)])])
  const a = plane.member('a')
  a.enter(false)
  a.becomeTunnel()
  a.enter(false)
  clusters.noteSessions([{ ...a, session: 's', expiresAtMs: clock.now() + 60_000 }])
  const before = clusters.backend('web', 'a')
  const generation = clusters.generation()
  const { joined, leaving, departed } = await clusters.reconfigure([
    web([at('a', 1, 5), at('b', 2)], { balance: 'random', timeouts: { ...web([]).timeouts, idleMs: 7 } }),
  ])
  t.strictSame([joined, leaving, departed], [[], [], []])
  t.equal(clusters.generation(), generation + 1)
  t.strictSame(clusters.backend('web', 'a'), { ...before, weight: 5 })
  t.match(plane.member('a'), { slot: a.slot, epoch: a.epoch, weight: 5 })
  t.match(clusters.table().clusters[0], { balance: 'random', timeouts: { idleMs: 7 } })
  t.strictSame(plane.told, [])
})

t.test('who is not named any more stays until it is drained, then is out', async t => {
  const { clusters, plane, clock, moves } = started([web([at('a', 1), at('b', 2)])])
  const a = plane.member('a')
  a.enter(false)
  a.becomeTunnel()
  const next = await clusters.reconfigure([web([at('b', 2)])])
  t.strictSame(next.leaving, [{ cluster: 'web', backend: 'a' }])
  t.strictSame(plane.ids('web'), ['a', 'b'], 'its bound clients still have it')
  t.ok(a.enter(false), 'and until it is fenced new ones too')
  a.leave('ok')
  const left = clusters.leave('web', 'a', leavers, never)
  t.notOk(a.enter(false))
  t.ok(a.enter(true))
  a.leave('ok')
  await clock.advance(5000)
  t.strictSame(plane.told, [`close ${a.slot} 1001`])
  a.leaveTunnel()
  await clock.advance(200)
  await left
  t.strictSame(plane.ids('web'), ['b'])
  t.match(moves('a').slice(-2), ['draining>drained', 'drained>null'])
})

t.test(
  'another address is another backend: the former life is out at once, what is under way on it is seen out',
  async t => {
    const { clusters, plane, clock } = started([web([at('a', 1), at('b', 2)])])
    const old = plane.member('a')
    old.enter(false)
    old.becomeTunnel()
    const { joined, departed } = await clusters.reconfigure([web([at('a', 9), at('b', 2)])])
    t.strictSame([joined, departed], [[{ cluster: 'web', backend: 'a' }], [{ cluster: 'web', backend: 'a' }]])
    const fresh = plane.member('a')
    t.not(fresh.slot, old.slot)
    t.not(fresh.incarnation, old.incarnation, 'no session follows a name to another machine')
    t.equal(old.eligibility(), 'none')
    const seenOut = clusters.seeOut('web', 'a', leavers)
    await clock.advance(4000)
    t.strictSame(plane.told, [], 'its tunnels have their time')
    await clock.advance(1000)
    t.strictSame(plane.told, [`close ${old.slot} 1001`])
    old.leaveTunnel()
    await clock.advance(200)
    await seenOut
    await clusters.change('web', { add: [backend('c')] })
    t.equal(plane.member('c').slot, old.slot, 'and then its slot is free')
  },
)

t.test('who comes warms up while somebody else serves, and is believed where nobody does', async t => {
  const { clusters, clock, checks } = started([web([at('a', 1)])])
  await clusters.reconfigure([
    web([at('a', 1), at('b', 2)]),
    web([at('x', 3)], { id: 'other', routes: [{ host: 'o', path: '/' }] }),
  ])
  t.equal(clusters.backend('web', 'b').state, 'warming')
  t.equal(clusters.backend('other', 'x').state, 'ready')
  await clock.advance(10)
  t.equal(clusters.backend('web', 'b').state, 'ready')
  t.ok(checks.includes(2) && checks.includes(3))
  await clusters.reconfigure([web([at('z', 7)])])
  t.equal(clusters.backend('web', 'z').state, 'warming', 'those who leave serve until they are fenced')
})

t.test('a removed cluster is gone with its backends; its checks end', async t => {
  const { clusters, plane, clock, checks } = started([
    web([at('a', 1)]),
    web([at('x', 3)], { id: 'other', routes: [{ host: 'o', path: '/' }] }),
  ])
  const x = plane.member('x')
  const { departed } = await clusters.reconfigure([web([at('a', 1)])])
  t.strictSame(departed, [{ cluster: 'other', backend: 'x' }])
  t.notOk(clusters.has('other'))
  t.equal(x.eligibility(), 'none')
  t.throws(() => clusters.backends('other'), { code: 'unknown_cluster' })
  const seen = checks.length
  await clock.advance(10_000)
  t.notOk(checks.slice(seen).includes(3))
})

t.test('other checks: by the new settings, without forgetting what is known', async t => {
  const { clusters, clock, checks } = started([web([at('a', 1)])])
  await clock.advance(3000)
  t.equal(clusters.backend('web', 'a').health.status, 'healthy')
  const { health } = web([])
  await clusters.reconfigure([web([at('a', 1)], { health: { ...health, intervalMs: 100 } })])
  t.equal(clusters.backend('web', 'a').health.status, 'healthy')
  const seen = checks.length
  await clock.advance(1000)
  t.ok(checks.length - seen >= 8, `${checks.length - seen}`)
})

t.test('affinity by cookie from now on: sessions are counted; and no more', async t => {
  const { clusters } = started([web([at('a', 1)], { affinity: { method: 'none' } })])
  t.equal(clusters.backend('web', 'a').sessions, null)
  await clusters.reconfigure([web([at('a', 1)])])
  t.equal(clusters.backend('web', 'a').sessions, 0)
  await clusters.reconfigure([web([at('a', 1)], { affinity: { method: 'client_ip' } })])
  t.equal(clusters.backend('web', 'a').sessions, null)
})

t.test('backends of the API are not the business of the file; the policy is', async t => {
  const { clusters, plane } = started([web([at('a', 1)])])
  await clusters.change('web', { add: [backend('api', { port: 4 })] })
  await clusters.reconfigure([web([at('a', 1)], { scaling: { ...web([]).scaling, maxInstances: 4 } })])
  t.strictSame([...plane.ids('web')].sort(), ['a', 'api'])
  t.equal(clusters.config('web').scaling.maxInstances, 4)
})

t.test('a data plane that does not take it: everything is as it was', async t => {
  const { clusters, plane } = started([web([at('a', 1), at('b', 2)])])
  const before = clusters.table().clusters
  let calls = 0
  plane.beforeTaking = () => {
    if (++calls % 2 === 1) throw new Error('no thread acknowledged')
  }
  const next = [
    web([at('a', 1, 9), at('b', 5), at('c', 3)]),
    web([], { id: 'other', routes: [{ host: 'o', path: '/' }] }),
  ]
  for (let i = 0; i < 10; i++)
    await t.rejects(clusters.reconfigure(next), { message: 'no thread acknowledged' })
  t.strictSame(clusters.table().clusters, before)
  t.strictSame(clusters.ids(), ['web'])
  plane.beforeTaking = () => undefined
  await clusters.change('web', { add: [backend('d')] })
  t.ok(plane.member('d').slot <= 7, `slot ${plane.member('d').slot}: none was lost`)
})

t.test('named again while it leaves: the drain is called off and it stays', async t => {
  const { clusters, plane, clock } = started([web([at('a', 1), at('b', 2)])])
  const a = plane.member('a')
  a.enter(false)
  await clusters.reconfigure([web([at('b', 2)])])
  const abort = new AbortController()
  const refused = t.rejects(clusters.leave('web', 'a', leavers, abort.signal), { message: 'named again' })
  await clock.advance(100)
  const { joined, leaving } = await clusters.reconfigure([web([at('a', 1), at('b', 2)])])
  t.strictSame([joined, leaving], [[], []], 'it never left')
  abort.abort(new Error('named again'))
  await refused
  clusters.unfence('web', 'a')
  t.equal(plane.member('a').eligibility(), 'any')
  t.equal(plane.member('a').epoch, a.epoch)
})
