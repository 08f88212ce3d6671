/** What the board keeps of time: how long answers take, and since when a member serves. */
import t from 'tap'
import { memoryMs } from '../../../lib/cluster/balance/latency.ts'
import { Board } from '../../../lib/cluster/board.ts'
import { Slots } from '../../../lib/cluster/slots.ts'
import { backend, clusterConfig, clusterKit } from '../../support/cluster-kit.ts'

const nowMs = 1_700_000_000_000

t.test('the slowest that a thread knows counts, each faded by its age', async t => {
  const board = Board.create(3)
  t.equal(board.latency(4, nowMs, true), -1, 'nobody knows')
  board.noteLatency(0, 4, 10_000, nowMs)
  board.noteLatency(2, 4, 30_000, nowMs)
  t.equal(board.latency(4, nowMs, false), 30_000)
  t.equal(board.latency(5, nowMs, false), -1, 'another slot')
  board.noteLatency(0, 4, 25_000, nowMs + memoryMs)
  t.equal(board.latency(4, nowMs + memoryMs, false), 25_000, '30 ms are 11 by now')
})

t.test('long unheard of and busy it counts in full', async t => {
  const board = Board.create(1)
  board.noteLatency(0, 4, 10_000, nowMs)
  for (const busy of [true, false])
    t.ok(board.latency(4, nowMs + memoryMs, busy) < 5_000, 'it was heard of not long ago')
  t.equal(board.latency(4, nowMs + memoryMs + 1, true), 10_000)
  t.ok(board.latency(4, nowMs + memoryMs + 1, false) < 5_000)
})

t.test('stamps of other threads and clocks', async t => {
  const board = Board.create(1)
  board.noteLatency(0, 4, 10_000, nowMs)
  t.equal(board.latency(4, nowMs - 3, false), 10_000, 'a thread whose look at the clock is older')
  t.equal(board.latency(4, nowMs - 3_600_000, false), 0, 'written before the clock was set back: forgotten')
  board.noteLatency(0, 4, 0.2, nowMs)
  t.ok(board.latency(4, nowMs, false) > 0, 'known, however fast')
  board.noteLatency(0, 4, 1e12, nowMs)
  t.equal(board.latency(4, nowMs, false), 2 ** 31 - 1, 'and bounded')
})

t.test('since when it serves, to a tenth of a second and for years', async t => {
  const board = Board.create(1)
  t.equal(board.servedMs(3, nowMs), Number.POSITIVE_INFINITY)
  board.noteOpened(3, nowMs)
  t.equal(board.servedMs(3, nowMs + 1250), 1200)
  t.equal(board.servedMs(3, nowMs + 5 * 365 * 86_400_000), 5 * 365 * 86_400_000)
})

t.test('a new tenant of a slot inherits neither', async t => {
  const board = Board.create(2)
  const slots = new Slots(board, 1)
  const first = slots.allocate()
  board.noteOpened(first.slot, nowMs)
  board.noteLatency(1, first.slot, 10_000, nowMs)
  slots.release(first)
  const second = slots.allocate()
  t.equal(second.slot, first.slot)
  t.equal(board.servedMs(second.slot, nowMs), Number.POSITIVE_INFINITY)
  t.equal(board.latency(second.slot, nowMs, false), -1)
})

t.test(
  'a backend begins to serve when it is registered, when it comes back, and not when Tidegate starts',
  async t => {
    const backends = [{ id: 'a', host: '127.0.0.1', port: 1, weight: 1 }]
    const { clusters, plane, clock, health } = clusterKit([clusterConfig({ backends, slowStartMs: 30_000 })])
    clusters.start([])
    plane.take(clusters.table())
    const served = (id: string) => plane.member(id).servedMs(clock.now())
    const never = Number.POSITIVE_INFINITY
    t.equal(served('a'), never, 'configured: it may have served for months')

    await clusters.change('web', { add: [backend('b', { port: 2 })] })
    t.equal(served('b'), 0)
    await clock.advance(5_000)
    t.equal(served('b'), 5_000)

    await clusters.change('web', { add: [backend('c', { port: 3, verified: false })] })
    await clock.advance(10_000)
    t.ok(served('c') <= 10_000, 'it warmed up first')

    health.set(1, { ok: false, reason: 'no' })
    await clock.advance(20_000)
    t.equal(plane.member('a').eligibility(), 'none')
    health.delete(1)
    await clock.advance(20_000)
    t.ok(served('a') < 20_000, 'back from being down')

    clusters.fence('web', 'b', 'x')
    await clock.advance(1_000)
    clusters.unfence('web', 'b')
    t.ok(served('b') > 50_000, 'a fence is no outage')
    clusters.mark('web', 'b', 'maint')
    clusters.mark('web', 'b', null)
    await clock.advance(10_000)
    t.ok(served('b') <= 10_000, 'maintenance is')
  },
)
