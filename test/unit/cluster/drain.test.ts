import t from 'tap'
import type { DrainPolicy } from '../../../lib/cluster/backend.ts'
import { cutOut, drainOut, type Leaving } from '../../../lib/cluster/drain.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const policy = (over: Partial<DrainPolicy> = {}): DrainPolicy => ({
  gracePeriodMs: 10_000,
  waitForConnections: true,
  notifyClients: true,
  ...over,
})

/** One that leaves, with so much on it; what is told to it is written down with the time. */
function scene(left: number) {
  const clock = new ManualClock(0)
  const told: string[] = []
  const state = { left, exchanges: left, reopened: false, cutWorks: true }
  const leaving: Leaving = {
    name: 'web/a',
    forGood: false,
    left: () => state.left,
    exchanges: () => state.exchanges,
    seal: () => told.push(`seal at ${clock.now()}`),
    reopened: () => state.reopened,
    closeTunnels: () => told.push(`close at ${clock.now()}`),
    cut: () => {
      told.push(`cut at ${clock.now()}`)
      if (state.cutWorks) state.left = 0
    },
  }
  return { clock, told, state, leaving }
}

t.test('nothing left: at once, nobody is told anything', async t => {
  const { clock, told, leaving } = scene(0)
  t.strictSame(await drainOut(leaving, policy(), clock), { waitedMs: 0, deadlineReached: false })
  t.strictSame(told, [])
})

t.test('ends soon after the last one has left', async t => {
  const { clock, told, state, leaving } = scene(2)
  const drained = drainOut(leaving, policy(), clock)
  await clock.advance(4000)
  state.left = 0
  await clock.advance(100)
  const { waitedMs, deadlineReached } = await drained
  t.ok(waitedMs >= 4000 && waitedMs <= 4100, `${waitedMs}`)
  t.notOk(deadlineReached)
  t.strictSame(told, [])
})

t.test('a short exchange is noticed within milliseconds', async t => {
  const { clock, state, leaving } = scene(1)
  const drained = drainOut(leaving, policy(), clock)
  await clock.advance(3)
  state.left = 0
  await clock.advance(10)
  t.ok((await drained).waitedMs <= 10)
})

t.test('at the deadline clients are told, then cut', async t => {
  const { clock, told, leaving } = scene(1)
  const drained = drainOut(leaving, policy(), clock)
  await clock.advance(25_000)
  t.match(await drained, { deadlineReached: true })
  t.strictSame(told, ['seal at 10000', 'close at 10000', 'cut at 20000'])
})

t.test('who leaves when told is not cut', async t => {
  const { clock, told, state, leaving } = scene(1)
  const drained = drainOut(leaving, policy(), clock)
  await clock.advance(10_050)
  state.left = 0
  await clock.advance(100)
  await drained
  t.strictSame(told, ['seal at 10000', 'close at 10000'])
})

t.test('without notice tunnels are cut at the deadline, and exchanges may still end', async t => {
  const { clock, told, state, leaving } = scene(2)
  state.exchanges = 1
  const drained = drainOut(leaving, policy({ notifyClients: false }), clock)
  await clock.advance(12_000)
  t.strictSame(told, ['seal at 10000'])
  state.exchanges = 0
  state.left = 1
  await clock.advance(200)
  await drained
  t.match(told, ['seal at 10000', /^cut at 12[01]/])
})

t.test('for good: sealed as soon as nothing is left, and who slipped in may end', async t => {
  const { clock, told, state, leaving } = scene(0)
  const slipIn = () => {
    told.push(`seal at ${clock.now()}`)
    state.left = 1
  }
  const drained = drainOut({ ...leaving, forGood: true, seal: slipIn }, policy(), clock)
  await clock.advance(0)
  await clock.advance(500)
  state.left = 0
  await clock.advance(200)
  t.match(await drained, { deadlineReached: false })
  t.strictSame(told, ['seal at 0'])
})

t.test('not to wait for connections is a grace period of zero', async t => {
  const { clock, told, leaving } = scene(1)
  const drained = drainOut(leaving, policy({ waitForConnections: false }), clock)
  await clock.advance(0)
  await clock.advance(10_000)
  await drained
  t.strictSame(told, ['seal at 0', 'close at 0', 'cut at 10000'])
})

t.test('a cut that does not take ends the wait all the same', async t => {
  const { clock, state, leaving } = scene(1)
  state.cutWorks = false
  const drained = cutOut(leaving, 500, clock)
  await clock.advance(2500)
  t.strictSame(await drained, { waitedMs: 2500, deadlineReached: true })
  t.equal(state.left, 1)
})

t.test('an abort ends the wait, tells nobody, leaves no timer', async t => {
  const { clock, told, leaving } = scene(1)
  const abort = new AbortController()
  const refused = t.rejects(drainOut(leaving, policy(), clock, abort.signal), { message: 'enough' })
  await clock.advance(500)
  abort.abort(new Error('enough'))
  await refused
  t.strictSame(told, [])
  t.equal(clock.pending, 0)
})

t.test('opened again: the drain has no end to wait for', async t => {
  const { clock, told, state, leaving } = scene(1)
  const refused = t.rejects(drainOut(leaving, policy(), clock), {
    code: 'operation_cancelled',
    message: /web\/a/,
  })
  await clock.advance(500)
  state.reopened = true
  await clock.advance(200)
  await refused
  t.strictSame(told, [])
})
