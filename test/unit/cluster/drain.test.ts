import t from 'tap'
import { cutOut, drainOut, type Leaving } from '../../../lib/cluster/drain.ts'
import type { DrainConfig } from '../../../lib/config/config.ts'
import { drainPolicy } from '../../support/drain-policy.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const policy = (over: Partial<DrainConfig> = {}) => drainPolicy({ gracePeriodMs: 10_000, ...over })

/** One that leaves, with so much on it; what is told to it is written down with the time. */
function scene({ exchanges = 0, tunnels = 0, sessions = 0, forGood = false } = {}) {
  const clock = new ManualClock(0)
  const told: string[] = []
  const state = { exchanges, tunnels, sessions, unheard: 0, reopened: false, cutWorks: true }
  const tell = (what: string) => told.push(`${what} at ${clock.now()}`)
  const leaving: Leaving = {
    name: 'web/a',
    forGood,
    exchanges: () => state.exchanges,
    tunnels: () => state.tunnels,
    sessions: () => state.sessions,
    heard: async () => {
      state.sessions += state.unheard
      state.unheard = 0
      return true
    },
    reopened: () => state.reopened,
    seal: () => {
      if (!told.some(line => line.startsWith('seal'))) tell('seal')
    },
    closeTunnels: spreadMs => tell(spreadMs === 0 ? 'close' : `close over ${spreadMs}`),
    keepTunnels: () => tell('keep'),
    cut: what => {
      tell(`cut ${what}`)
      if (!state.cutWorks) return
      if (what !== 'tunnels') state.exchanges = 0
      if (what !== 'exchanges') state.tunnels = 0
    },
  }
  return { clock, told, state, leaving }
}

t.test('nothing left: at once, nobody is told anything', async t => {
  const { clock, told, leaving } = scene()
  t.strictSame(await drainOut(leaving, policy(), clock), { waitedMs: 0, deadlineReached: false })
  t.strictSame(told, [])
})

t.test('ends soon after the last one has left', async t => {
  const { clock, told, state, leaving } = scene({ exchanges: 2 })
  const drained = drainOut(leaving, policy(), clock)
  await clock.advance(4000)
  state.exchanges = 0
  await clock.advance(100)
  const { waitedMs, deadlineReached } = await drained
  t.ok(waitedMs >= 4000 && waitedMs <= 4100, `${waitedMs}`)
  t.notOk(deadlineReached)
  t.strictSame(told, [])
})

t.test('a session that was seen and not told yet is waited for', async t => {
  const { clock, told, state, leaving } = scene({ forGood: true })
  state.unheard = 1
  const drained = drainOut(leaving, policy({ sessions: 'keep' }), clock)
  await clock.advance(4000)
  t.strictSame(told, [], 'bound clients may still come')
  state.sessions = 0
  await clock.advance(200)
  t.match(await drained, { deadlineReached: false })
  t.match(told, [/^seal at 4/])
})

t.test(
  'while not every thread has said what it saw nobody knows that nothing is left, until the deadline',
  async t => {
    const { clock, leaving } = scene()
    const drained = drainOut({ ...leaving, heard: async () => false }, policy({ sessions: 'keep' }), clock)
    await clock.advance(10_100)
    t.match(await drained, { deadlineReached: true })
  },
)

t.test('a short exchange is noticed within milliseconds', async t => {
  const { clock, state, leaving } = scene({ exchanges: 1 })
  const drained = drainOut(leaving, policy(), clock)
  await clock.advance(3)
  state.exchanges = 0
  await clock.advance(10)
  t.ok((await drained).waitedMs <= 10)
})

t.test('at the deadline clients are told, then cut', async t => {
  const { clock, told, leaving } = scene({ tunnels: 1 })
  const drained = drainOut(leaving, policy(), clock)
  await clock.advance(25_000)
  t.match(await drained, { deadlineReached: true })
  t.strictSame(told, ['seal at 10000', 'close at 10000', 'cut all at 20000'])
})

t.test('who leaves when told is not cut', async t => {
  const { clock, told, state, leaving } = scene({ tunnels: 1 })
  const drained = drainOut(leaving, policy(), clock)
  await clock.advance(10_050)
  state.tunnels = 0
  await clock.advance(100)
  await drained
  t.strictSame(told, ['seal at 10000', 'close at 10000'])
})

t.test('tunnels: cut breaks them at the deadline, and exchanges may still end', async t => {
  const { clock, told, state, leaving } = scene({ exchanges: 1, tunnels: 1 })
  const drained = drainOut(leaving, policy({ tunnels: 'cut' }), clock)
  await clock.advance(12_000)
  t.strictSame(told, ['seal at 10000', 'cut tunnels at 10000'])
  state.exchanges = 0
  await clock.advance(200)
  t.match(await drained, { deadlineReached: true })
  t.equal(told.length, 2)
})

t.test(
  'tunnels: keep is neither told nor cut, and drained only when the last has ended by itself',
  async t => {
    const { clock, told, state, leaving } = scene({ exchanges: 1, tunnels: 2 })
    const drained = drainOut(leaving, policy({ tunnels: 'keep' }), clock)
    let ended = false
    void drained.then(() => {
      ended = true
    })
    await clock.advance(3_600_000)
    t.strictSame(told, ['seal at 10000', 'cut exchanges at 20000'])
    t.notOk(ended)
    state.tunnels = 0
    await clock.advance(200)
    t.match(await drained, { deadlineReached: true })
  },
)

t.test('tunnels: keep on one that leaves for good: they end with it, and are told', async t => {
  const { clock, told, leaving } = scene({ tunnels: 1, forGood: true })
  const drained = drainOut(leaving, policy({ tunnels: 'keep' }), clock)
  await clock.advance(25_000)
  await drained
  t.strictSame(told, ['seal at 10000', 'close at 10000', 'cut all at 20000'])
})

t.test('a spread of closes is the last part of the grace period, behind a seal', async t => {
  const { clock, told, leaving } = scene({ tunnels: 3 })
  const drained = drainOut(leaving, policy({ closeSpreadMs: 4000 }), clock)
  await clock.advance(25_000)
  await drained
  t.strictSame(told, ['seal at 6000', 'close over 4000 at 6000', 'close at 10000', 'cut all at 20000'])
})

t.test('all gone within the spread: before the deadline', async t => {
  const { clock, told, state, leaving } = scene({ tunnels: 3 })
  const drained = drainOut(leaving, policy({ closeSpreadMs: 4000 }), clock)
  await clock.advance(8000)
  state.tunnels = 0
  await clock.advance(200)
  t.match(await drained, { deadlineReached: false })
  t.strictSame(told, ['seal at 6000', 'close over 4000 at 6000'])
})

t.test('no tunnel to close: no spread, and bound clients stay until the deadline', async t => {
  const { clock, told, leaving } = scene({ exchanges: 1 })
  const drained = drainOut(leaving, policy({ closeSpreadMs: 4000 }), clock)
  await clock.advance(9000)
  t.strictSame(told, [])
  await clock.advance(12_000)
  await drained
  t.equal(told[0], 'seal at 10000')
})

t.test('a spread longer than the grace period begins at once', async t => {
  const { clock, told, leaving } = scene({ tunnels: 1 })
  const drained = drainOut(leaving, policy({ closeSpreadMs: 60_000 }), clock)
  await clock.advance(0)
  await clock.advance(25_000)
  await drained
  t.strictSame(told.slice(0, 2), ['seal at 0', 'close over 10000 at 0'])
})

t.test('sessions: keep holds it up while one lives, at most until the deadline', async t => {
  const { clock, told, state, leaving } = scene({ sessions: 2 })
  const drained = drainOut(leaving, policy({ sessions: 'keep' }), clock)
  await clock.advance(5000)
  state.sessions = 0
  await clock.advance(200)
  t.match(await drained, { deadlineReached: false })
  t.strictSame(told, [], 'and nobody was turned away')

  const other = scene({ sessions: 2 })
  const late = drainOut(other.leaving, policy({ sessions: 'keep' }), other.clock)
  await other.clock.advance(10_100)
  t.match(await late, { waitedMs: 10_000, deadlineReached: true })
  t.strictSame(other.told, ['seal at 10000', 'close at 10000'])
})

t.test('sessions: repin waits for no session', async t => {
  const { clock, leaving } = scene({ sessions: 2 })
  t.match(await drainOut(leaving, policy(), clock), { waitedMs: 0, deadlineReached: false })
})

t.test('sessions: cut turns bound clients away at once; what is under way has its time', async t => {
  const { clock, told, state, leaving } = scene({ exchanges: 1, sessions: 5 })
  const drained = drainOut(leaving, policy({ sessions: 'cut' }), clock)
  await clock.advance(4000)
  t.strictSame(told, ['seal at 0'])
  state.exchanges = 0
  await clock.advance(200)
  t.match(await drained, { deadlineReached: false })
  t.strictSame(told, ['seal at 0'])
})

t.test('for good: sealed as soon as nothing is left, and who slipped in may end', async t => {
  const { clock, told, state, leaving } = scene({ forGood: true })
  const slipIn = () => {
    told.push(`seal at ${clock.now()}`)
    state.exchanges = 1
  }
  const drained = drainOut({ ...leaving, seal: slipIn }, policy(), clock)
  await clock.advance(0)
  await clock.advance(500)
  state.exchanges = 0
  await clock.advance(200)
  t.match(await drained, { deadlineReached: false })
  t.strictSame(told, ['seal at 0'])
})

t.test('not to wait for connections is a grace period of zero', async t => {
  const { clock, told, leaving } = scene({ tunnels: 1, sessions: 1 })
  const over = { waitForConnections: false, sessions: 'keep', closeSpreadMs: 5000 } as const
  const drained = drainOut(leaving, policy(over), clock)
  await clock.advance(0)
  await clock.advance(10_000)
  await drained
  t.strictSame(told, ['seal at 0', 'close at 0', 'cut all at 10000'])
})

t.test('a cut that does not take ends the wait all the same', async t => {
  const { clock, state, leaving } = scene({ exchanges: 1 })
  state.cutWorks = false
  const drained = cutOut(leaving, 500, clock)
  await clock.advance(2500)
  t.strictSame(await drained, { waitedMs: 2500, deadlineReached: true })
  t.equal(state.exchanges, 1)
})

t.test('an abort ends the wait, tells nobody, leaves no timer', async t => {
  const { clock, told, leaving } = scene({ exchanges: 1 })
  const abort = new AbortController()
  const refused = t.rejects(drainOut(leaving, policy(), clock, abort.signal), { message: 'enough' })
  await clock.advance(500)
  abort.abort(new Error('enough'))
  await refused
  t.strictSame(told, ['keep at 500'])
  t.equal(clock.pending, 0)
})

t.test('opened again in the middle of a spread: the drain has no end, and the rest is not told', async t => {
  const { clock, told, state, leaving } = scene({ tunnels: 1 })
  const refused = t.rejects(drainOut(leaving, policy({ closeSpreadMs: 10_000 }), clock), {
    code: 'operation_cancelled',
    message: /web\/a/,
  })
  await clock.advance(0)
  await clock.advance(500)
  state.reopened = true
  await clock.advance(200)
  await refused
  t.match(told, ['seal at 0', 'close over 10000 at 0', /^keep at/])
})
