/** Deadlines on one tick: never early, and not for a time in which nobody could be heard. */
import t from 'tap'
import { Deadlines, type Timed } from '../../../lib/proxy/deadlines.ts'
import { ManualClock } from '../../support/manual-clock.ts'

/** Its process can be stopped: time goes on, and no timer fires. */
class StoppableClock extends ManualClock {
  #stoodMs = 0

  standStill(ms: number): void {
    this.#stoodMs += ms
  }

  override monotonic(): number {
    return super.monotonic() + this.#stoodMs
  }
}

function scene() {
  const clock = new StoppableClock()
  const deadlines = new Deadlines(clock)
  const met: string[] = []
  const add = (name: string, ms: number) => {
    const entry: Timed = { deadlineMs: 0, timedAt: -1, onDeadline: () => leave(entry, name) }
    deadlines.add(entry)
    entry.deadlineMs = deadlines.in(ms)
    return entry
  }
  const leave = (entry: Timed, name: string) => {
    deadlines.remove(entry)
    met.push(name)
  }
  return { clock, deadlines, met, add }
}

t.test('each is met at its time, and not before', async t => {
  const { clock, met, add } = scene()
  add('later', 5_000)
  add('soon', 1_000)
  await clock.advance(999)
  t.same(met, [])
  await clock.advance(300)
  t.same(met, ['soon'])
  await clock.advance(4_000)
  t.same(met, ['soon', 'later'])
  t.equal(clock.pending, 0, 'nobody left: no tick')
})

t.test('what arrived while the process stood still is not silence', async t => {
  const { clock, met, add } = scene()
  const none = add('never', Number.POSITIVE_INFINITY)
  add('client', 10_000)
  await clock.advance(2_000)
  clock.standStill(60_000)
  await clock.advance(7_900)
  t.same(met, [], 'it still has what it had left')
  await clock.advance(400)
  t.same(met, ['client'])
  t.equal(none.deadlineMs, Number.POSITIVE_INFINITY)
})

t.test('a turn that is merely long counts', async t => {
  const { clock, met, add } = scene()
  add('client', 2_000)
  await clock.advance(1_500)
  clock.standStill(800)
  await clock.advance(100)
  t.same(met, ['client'])
})
