/** Closes spread over a time: in order, evenly, with chance only inside each one's share. */
import t from 'tap'
import { spreadOver, turns } from '../../../lib/proxy/spread.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const dice = () => {
  let seed = 7
  return () => {
    seed = (seed * 48_271) % 2_147_483_647
    return seed / 2_147_483_647
  }
}

t.test('turns: rising, within the time, one in each share of it', async t => {
  const due = turns(100, 10_000, dice())
  due.forEach((ms, i) => {
    t.ok(ms >= i * 100 && ms < (i + 1) * 100, `${i}: ${ms}`)
  })
  t.ok(new Set(due.map(ms => Math.round(ms % 100))).size > 20, 'and not all at the same place in it')
  t.strictSame(turns(0, 10_000, dice()), [])
})

t.test('each once, in its turn; half of them at half the time', async t => {
  const clock = new ManualClock(0)
  const told: number[] = []
  const each = Array.from({ length: 40 }, (_, i) => i)
  spreadOver(each, 4000, one => told.push(one), { clock, random: dice() })
  t.ok(told.length <= 1)
  await clock.advance(2000)
  t.ok(told.length === 20 || told.length === 19 || told.length === 21, `${told.length}`)
  await clock.advance(2001)
  t.strictSame(told, each)
  t.equal(clock.pending, 0)
})

t.test('without a time all at once; the way out ends the rest', async t => {
  const clock = new ManualClock(0)
  const told: number[] = []
  spreadOver([1, 2, 3], 0, one => told.push(one), { clock, random: () => 0.5 })
  t.strictSame(told, [1, 2, 3])
  const end = spreadOver([4, 5, 6], 3000, one => told.push(one), { clock, random: () => 0.5 })
  await clock.advance(600)
  end()
  await clock.advance(10_000)
  t.strictSame(told, [1, 2, 3, 4])
  t.equal(clock.pending, 0)
})
