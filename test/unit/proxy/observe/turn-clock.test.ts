/** Time is read once a turn; wall-clock text follows the wall clock. */
import t from 'tap'
import { TurnClock } from '../../../../lib/proxy/observe/turn-clock.ts'
import { ManualClock } from '../../../support/manual-clock.ts'

const nextTurn = () => new Promise<void>(resolve => setImmediate(resolve))

class CountingClock extends ManualClock {
  reads = 0
  /** The wall clock is this much ahead of the monotonic one. */
  aheadMs = 0
  override monotonic() {
    this.reads++
    return super.monotonic()
  }
  override now() {
    return super.now() + this.aheadMs
  }
}

t.test('one reading for a turn, however often it is asked', async t => {
  const clock = new CountingClock(5_000)
  const turns = new TurnClock(clock)
  t.equal(turns.now(), 5_000)
  await Promise.resolve()
  t.equal(turns.now(), 5_000)
  t.equal(clock.reads, 1, 'microtasks belong to the turn')
  await nextTurn()
  await clock.advance(250)
  t.equal(turns.now(), 5_250)
  t.equal(clock.reads, 2)
})

t.test('text of a moment, also of one that is past', async t => {
  const clock = new CountingClock(1_000)
  clock.aheadMs = Date.UTC(2026, 0, 2, 3, 4, 4)
  const turns = new TurnClock(clock)
  const at = turns.now()
  t.equal(turns.text(at), '2026-01-02T03:04:05.000Z')
  t.equal(turns.text(at + 7.9), '2026-01-02T03:04:05.007Z')
  t.equal(turns.text(at - 1), '2026-01-02T03:04:04.999Z')
  t.equal(turns.text(at + 86_400_000), '2026-01-03T03:04:05.000Z')
})

t.test('a wall clock that was set is noticed within a second', async t => {
  const clock = new CountingClock(1_000)
  clock.aheadMs = Date.UTC(2026, 0, 1)
  const turns = new TurnClock(clock)
  t.equal(turns.text(turns.now()), '2026-01-01T00:00:01.000Z')
  clock.aheadMs += 3_600_000
  await clock.advance(1_000)
  await nextTurn()
  t.equal(turns.text(turns.now()), '2026-01-01T01:00:02.000Z')
})
