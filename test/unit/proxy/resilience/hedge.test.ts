import t from 'tap'
import { Budget } from '../../../../lib/proxy/resilience/budget.ts'
import { Hedge, HedgeRace } from '../../../../lib/proxy/resilience/hedge.ts'
import { ManualClock } from '../../../support/manual-clock.ts'

function lab(maxPercent = 50, budget = new Budget(1, 100)) {
  const clock = new ManualClock(1_000_000)
  const hedge = new Hedge({ afterMs: 50, maxPercent }, budget, clock)
  const due: string[] = []
  const client = (name: string) => ({ hedgeDue: () => due.push(name) })
  return { clock, hedge, due, client }
}

t.test('for safe requests without a body and without a session', async t => {
  const { hedge } = lab()
  for (const method of ['GET', 'HEAD', 'OPTIONS', 'TRACE']) t.ok(hedge.suits(method, false, false, 0), method)
  for (const method of ['POST', 'PUT', 'DELETE', 'get']) t.notOk(hedge.suits(method, false, false, 0), method)
  t.notOk(hedge.suits('GET', true, false, 0))
  t.notOk(hedge.suits('GET', false, true, 0))
})

t.test('due after the time, in order, one timer for all; who has an answer is not', async t => {
  const { clock, hedge, due, client } = lab()
  hedge.arm(client('a'))
  await clock.advance(20)
  const b = hedge.arm(client('b'))
  hedge.arm(client('c'))
  t.equal(clock.pending, 1)
  await clock.advance(29)
  t.same(due, [])
  await clock.advance(1)
  t.same(due, ['a'])
  hedge.disarm(b)
  hedge.disarm(b)
  await clock.advance(20)
  t.same(due, ['a', 'c'])
  t.equal(clock.pending, 0)
  const d = hedge.arm(client('d'))
  hedge.disarm(d)
  await clock.advance(60)
  t.same([due.length, clock.pending], [2, 0])
  hedge.arm(client('e'))
  hedge.close()
  await clock.advance(60)
  t.equal(due.length, 2)
})

t.test('bounded by its own share of the requests that suit, and by the retry budget', async t => {
  const { hedge } = lab(10)
  for (let i = 0; i < 100; i++) hedge.suits('GET', false, false, 0)
  for (let i = 0; i < 900; i++) hedge.suits('POST', false, false, 0)
  let claimed = 0
  for (let i = 0; i < 100; i++) if (hedge.claim(0)) claimed++
  t.equal(claimed, 10)

  const budget = new Budget(0, 0.3)
  const poor = lab(100, budget).hedge
  for (let i = 0; i < 100; i++) poor.suits('GET', false, false, 0)
  t.same(
    [1, 2, 3, 4].map(() => poor.claim(0)),
    [true, true, true, false],
  )
  t.notOk(budget.room(0), 'retries have nothing left either')
  const untouched = new Budget(0, 0.1)
  t.notOk(lab(1, untouched).hedge.claim(0))
  t.ok(untouched.room(0), 'a claim that is refused costs the retries nothing')
})

t.test('who wins', async t => {
  const first = new HedgeRace()
  t.equal(first.answered(0, 200), 'wins')
  t.equal(new HedgeRace().answered(1, 404), 'wins', 'any answer of the application is an answer')
  t.equal(new HedgeRace().answered(1, 500), 'wins')

  const poor = new HedgeRace()
  t.equal(poor.answered(1, 503), 'dropped', 'the other may do better')
  t.equal(poor.answered(0, 502), 'wins', 'it did not')

  const failed = new HedgeRace()
  t.equal(failed.failed(0), 'waits')
  t.equal(failed.answered(1, 503), 'wins')

  const both = new HedgeRace()
  t.equal(both.answered(0, 504), 'dropped')
  t.equal(both.failed(1), 'over')
})
