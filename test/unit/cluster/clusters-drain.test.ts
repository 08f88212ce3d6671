import t from 'tap'
import { backend, clusterConfig, clusterKit } from '../../support/cluster-kit.ts'
import { drainPolicy } from '../../support/drain-policy.ts'

const policy = drainPolicy({ gracePeriodMs: 10_000 })
const started = (over = {}, deps: Parameters<typeof clusterKit>[1] = {}) => {
  const backends = [
    { id: 'a', host: '127.0.0.1', port: 1, weight: 1 },
    { id: 'b', host: '127.0.0.1', port: 2, weight: 1 },
  ]
  const kit = clusterKit([clusterConfig({ backends, ...over })], deps)
  kit.clusters.start([])
  kit.plane.take(kit.clusters.table())
  return kit
}
const sighting = (kit: ReturnType<typeof started>, id: string, session: string, lifeMs = 3_600_000) => {
  const { slot, epoch } = kit.plane.member(id)
  return { slot, epoch, session, expiresAtMs: kit.clock.now() + lifeMs }
}

t.test('a drain fences, waits, and proves what is left', async t => {
  const kit = started()
  const { clusters, clock, plane, moves } = kit
  const a = plane.member('a')
  a.enter(false)
  a.enter(false)
  a.becomeTunnel()
  clusters.noteSessions([sighting(kit, 'a', 's1'), sighting(kit, 'a', 's2')])
  const drained = clusters.drain('web', 'a', policy)
  t.notOk(a.enter(false), 'a new client')
  t.ok(a.enter(true), 'a bound one')
  a.leave('ok')
  await clock.advance(1000)
  t.match(clusters.proof('web', 'a'), { drained: false, in_flight: 1, tunnels: 1, sessions: 2 })
  t.equal(clusters.backend('web', 'a').state, 'draining')
  a.leave('ok')
  a.leaveTunnel()
  await clock.advance(150)
  const proof = await drained
  t.match(proof, { drained: true, in_flight: 0, tunnels: 0, sessions: 2, deadline_reached: false })
  t.ok(proof.waited_ms >= 1000 && proof.waited_ms <= 1150)
  t.equal(a.eligibility(), 'none', 'and it is left for good')
  t.strictSame(moves('a'), ['null>ready', 'ready>draining', 'draining>drained'])
  t.strictSame(plane.told, [])
})

t.test('at the deadline tunnels are closed with 1001, then cut', async t => {
  const { clusters, clock, plane } = started()
  const a = plane.member('a')
  a.enter(false)
  a.becomeTunnel()
  const drained = clusters.drain('web', 'a', policy)
  await clock.advance(10_000)
  t.strictSame(plane.told, [`close ${a.slot} 1001`])
  t.equal(a.eligibility(), 'none', 'bound clients go elsewhere before anything is cut')
  await clock.advance(10_000)
  t.strictSame(plane.told, [`close ${a.slot} 1001`, `cut ${a.slot}`])
  a.leaveTunnel()
  await clock.advance(200)
  t.match(await drained, { drained: true, deadline_reached: true })
})

t.test('what even a cut does not end is not called drained', async t => {
  const { clusters, clock, plane } = started()
  plane.member('a').enter(false)
  const drained = clusters.drain('web', 'a', { ...policy, gracePeriodMs: 0, tunnels: 'cut' })
  await clock.advance(0)
  await clock.advance(12_100)
  t.match(await drained, { drained: false, in_flight: 1, deadline_reached: true })
})

t.test('sessions that are kept: the state, the proof and the end say so', async t => {
  const kit = started()
  const { clusters, clock, plane } = kit
  const a = plane.member('a')
  clusters.noteSessions([sighting(kit, 'a', 's1', 3000)])
  const drained = clusters.drain('web', 'a', { ...policy, sessions: 'keep' })
  t.equal(clusters.backend('web', 'a').state, 'draining', 'nothing is in flight, and it is not drained')
  const deadline = new Date(clock.now() + 10_000).toISOString()
  const kept = { drained: false, in_flight: 0, sessions: 1, deadline_at: deadline, deadline_reached: false }
  t.match(clusters.proof('web', 'a'), kept)
  t.ok(a.enter(true), 'the bound client is served')
  a.leave('ok')
  await clock.advance(3100)
  t.match(await drained, { drained: true, sessions: 0, deadline_at: deadline, deadline_reached: false })
})

t.test('kept sessions end with the deadline', async t => {
  const kit = started()
  kit.clusters.noteSessions([sighting(kit, 'a', 's1')])
  const drained = kit.clusters.drain('web', 'a', { ...policy, sessions: 'keep' })
  await kit.clock.advance(10_100)
  t.match(await drained, { drained: true, sessions: 1, deadline_reached: true })
  t.notOk(kit.plane.member('a').enter(true))
})

t.test(
  'after a restart sessions may live that nobody has seen: keep does not take them for gone',
  async t => {
    const kit = started({}, { earlierSessions: true })
    const drained = kit.clusters.drain('web', 'a', { ...policy, sessions: 'keep' })
    await kit.clock.advance(9000)
    t.match(kit.clusters.proof('web', 'a'), { drained: false, sessions: 0 })
    await kit.clock.advance(1100)
    t.match(await drained, { deadline_reached: true })

    const later = started({}, { earlierSessions: true })
    await later.clock.advance(3_600_000)
    t.match(await later.clusters.drain('web', 'a', { ...policy, sessions: 'keep' }), { waited_ms: 0 })
  },
)

t.test('cut turns bound clients away at once', async t => {
  const { clusters, clock, plane } = started()
  const a = plane.member('a')
  a.enter(false)
  const drained = clusters.drain('web', 'a', { ...policy, sessions: 'cut' })
  t.notOk(a.enter(true))
  a.leave('ok')
  await clock.advance(100)
  t.match(await drained, { drained: true })
})

t.test('an aborted drain leaves the fence', async t => {
  const { clusters, clock, plane } = started()
  const a = plane.member('a')
  a.enter(false)
  const abort = new AbortController()
  const refused = t.rejects(clusters.drain('web', 'a', policy, abort.signal), { message: 'cancelled' })
  await clock.advance(100)
  abort.abort(new Error('cancelled'))
  await refused
  t.equal(a.eligibility(), 'bound')
  clusters.unfence('web', 'a')
  t.equal(a.eligibility(), 'any')
})

t.test("an operator's drain takes no fence of scaling's, so that ready opens it", async t => {
  const { clusters, plane } = started()
  clusters.mark('web', 'a', 'drain')
  await clusters.drain('web', 'a', policy)
  clusters.mark('web', 'a', null)
  t.equal(plane.member('a').eligibility(), 'any')
})

t.test('opened again in the middle, the drain says so', async t => {
  const { clusters, clock, plane } = started()
  plane.member('a').enter(false)
  const refused = t.rejects(clusters.drain('web', 'a', policy), { code: 'operation_cancelled' })
  await clock.advance(100)
  clusters.unfence('web', 'a')
  await clock.advance(200)
  await refused
})

t.test('sessions: counted by cookie only, where they are now, while they live', async t => {
  const kit = started()
  const { clusters, clock } = kit
  clusters.noteSessions([sighting(kit, 'a', 's1'), sighting(kit, 'a', 's2', 5000)])
  t.equal(clusters.backend('web', 'a').sessions, 2)
  clusters.noteSessions([sighting(kit, 'b', 's1')])
  t.equal(clusters.backend('web', 'a').sessions, 1)
  await clock.advance(5000)
  t.equal(clusters.backend('web', 'a').sessions, 0)
  t.equal(clusters.backend('web', 'b').sessions, 1)
  const plain = started({ affinity: { method: 'client_ip' } })
  t.equal(plain.clusters.backend('web', 'a').sessions, null)
  t.equal(plain.clusters.proof('web', 'a').sessions, null)
})

t.test('gone: when nothing is in flight any more, and then the slot is free', async t => {
  const { clusters, clock, plane } = started()
  const a = plane.member('a')
  a.enter(false)
  await clusters.change('web', { remove: ['a'] })
  t.match(clusters.proof('web', 'a'), { drained: false, in_flight: 1 })
  const gone = clusters.waitGone('web', 'a', 5000)
  await clock.advance(1000)
  a.leave('ok')
  await clock.advance(150)
  t.match(await gone, { drained: true, deadline_reached: false })
  t.throws(() => clusters.proof('web', 'a'), { code: 'unknown_backend' })
  await clusters.change('web', { add: [backend('c')] })
  const c = plane.member('c')
  t.equal(c.slot, a.slot)
  t.equal(c.epoch, a.epoch + 1)
  t.notOk(a.enter(true), 'who still holds the former tenant is not let in')
  t.equal(clusters.backend('web', 'c').in_flight, 0)
  t.equal(clusters.backend('web', 'c').requests, 0, 'counted from its own registration')
  t.match(await clusters.waitGone('web', 'a', 5000), { drained: true, in_flight: 0 }, 'asked again')
})

t.test('gone: cut at the timeout; a slot that still shows something is not given out', async t => {
  const { clusters, clock, plane } = started()
  const a = plane.member('a')
  a.enter(false)
  await clusters.change('web', { remove: ['a'] })
  const gone = clusters.waitGone('web', 'a', 500)
  await clock.advance(3000)
  t.strictSame(plane.told, [`cut ${a.slot}`])
  t.match(await gone, { drained: false, in_flight: 1, deadline_reached: true })
  await clusters.change('web', { add: [backend('c')] })
  t.not(plane.member('c').slot, a.slot)
})

t.test('slots come back also where nobody waits', async t => {
  const { clusters, plane } = started()
  const slots = new Set<number>()
  for (let i = 0; i < 20; i++) {
    await clusters.change('web', { add: [backend(`x${i}`)] })
    slots.add(plane.member(`x${i}`).slot)
    await clusters.change('web', { remove: [`x${i}`] })
  }
  t.ok(slots.size < 4, `${slots.size} slots for 20 lives`)
})

t.test('counts of requests and failures are its own', async t => {
  const { clusters, plane } = started()
  const a = plane.member('a')
  for (const outcome of ['ok', 'failed', 'aborted'] as const) {
    a.enter(false)
    a.leave(outcome)
  }
  t.match(clusters.backend('web', 'a'), { requests: 3, failures: 1, in_flight: 0 })
})
