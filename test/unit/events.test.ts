import t from 'tap'
import { Events, type StampedEvent } from '../../lib/events.ts'

const generation = (n: number) => ({ type: 'generation', generation: n, members: 0 }) as const

t.test('subscribers hear later events; late ones may ask for kept ones', async t => {
  const events = new Events(() => 0, 3)
  const seen: number[] = []
  for (let i = 1; i <= 5; i++) events.publish(generation(i))
  const stop = events.subscribe(event => seen.push(event.seq), 3)
  events.publish(generation(6))
  stop()
  events.publish(generation(7))
  t.strictSame(seen, [4, 5, 6])
})

t.test('only the newest are kept', async t => {
  const events = new Events(() => 0, 3)
  for (let i = 1; i <= 100; i++) events.publish(generation(i))
  const seen: StampedEvent[] = []
  events.subscribe(event => seen.push(event), 0)
  t.strictSame(
    seen.map(event => event.seq),
    [98, 99, 100],
  )
})

t.test('a subscriber that throws is dropped and harms nobody', async t => {
  const events = new Events(() => 0)
  let calls = 0
  const seen: number[] = []
  events.subscribe(() => {
    calls++
    throw new Error('broken')
  })
  events.subscribe(event => seen.push(event.seq))
  events.publish(generation(1))
  events.publish(generation(2))
  t.equal(calls, 1)
  t.strictSame(seen, [1, 2])
})
