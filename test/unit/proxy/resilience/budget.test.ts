import t from 'tap'
import { Budget } from '../../../../lib/proxy/resilience/budget.ts'

function granted(budget: Budget, times: number, nowMs: number): number {
  let sum = 0
  for (let i = 0; i < times; i++) if (budget.take(nowMs)) sum++
  return sum
}

t.test('a fifth of the requests of the window, and a few besides', async t => {
  const budget = new Budget(0.2, 3)
  t.equal(granted(budget, 1_000, 0), 30, 'three a second, for the ten seconds of the window')
  for (let i = 0; i < 1_000; i++) budget.note(500)
  t.equal(granted(budget, 1_000, 500), 200)
  t.notOk(budget.room(900))
})

t.test('a total failure is not multiplied: all ask, a fifth is granted, second after second', async t => {
  const budget = new Budget(0.2, 0)
  let retries = 0
  for (let second = 0; second < 60; second++)
    for (let i = 0; i < 100; i++) {
      budget.note(second * 1000 + i * 10)
      if (budget.take(second * 1000 + i * 10)) retries++
    }
  t.equal(retries, 1_200)
})

t.test('what is older than the window is forgotten, second by second', async t => {
  const budget = new Budget(0.5, 0)
  for (const second of [0, 4]) for (let i = 0; i < 10; i++) budget.note(second * 1000)
  t.equal(granted(budget, 4, 4_000), 4)
  t.equal(granted(budget, 100, 9_999), 6, 'both are in the window')
  t.equal(granted(budget, 100, 10_000), 0, 'the first ten requests have left, what they granted has not')
  for (let i = 0; i < 20; i++) budget.note(13_000)
  t.equal(granted(budget, 100, 13_000), 5, '30 requests, 10 granted')
  t.equal(granted(budget, 100, 14_000), 0, '20 requests, and eleven of those granted are still in')
  t.equal(granted(budget, 100, 19_000), 5, 'the six of the tenth second have left too')
  t.equal(granted(budget, 100, 100_000), 0, 'a long silence leaves nothing')
  budget.note(100_000)
  budget.note(100_000)
  t.equal(granted(budget, 100, 100_000), 1)
})

t.test('a clock that is set back neither counts twice nor stands still', async t => {
  const budget = new Budget(1, 0)
  budget.note(50_000)
  budget.note(47_000)
  t.equal(granted(budget, 10, 48_000), 2, 'a little: the newest second goes on')
  budget.note(5_000)
  t.equal(granted(budget, 10, 5_000), 1, 'a lot: a new window')
  budget.note(6_000)
  t.equal(granted(budget, 10, 6_000), 1)
})

t.test('nothing is granted of nothing', async t => {
  t.notOk(new Budget(0, 0).take(0))
  t.notOk(new Budget(1, 0).take(0))
})
