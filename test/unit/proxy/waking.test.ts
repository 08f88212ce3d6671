/** Waiting for an instance on one event loop: who is told, who is let go, who is refused. */
import t from 'tap'
import { Waking, type Wanted } from '../../../lib/proxy/waking.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const config = { idleAfterMs: 1, maxWaiting: 4, waitTimeoutMs: 1_000 }

function start(threads = 1) {
  const clock = new ManualClock()
  const told: (readonly Wanted[])[] = []
  const serving = new Set<string>()
  const said: string[] = []
  const serves = (cluster: string) => serving.has(cluster)
  const waking = new Waking({ clock, threads, serves, tell: wanted => told.push(wanted) })
  const client = (name: string, again?: () => void) => ({
    woken: () => {
      said.push(`${name} woken`)
      again?.()
    },
    unwoken: (code: string) => void said.push(`${name} ${code}`),
  })
  return { clock, told, serving, said, waking, client }
}

t.test('control is told at once, and again as long as somebody waits', async t => {
  const { clock, told, serving, said, waking, client } = start()
  waking.wait('web', config, client('a'))
  t.strictSame(told, [[{ cluster: 'web', waiting: 1 }]])
  waking.wait('web', config, client('b'))
  t.equal(told.length, 1, 'once for all')
  await clock.advance(300)
  t.strictSame(told.at(-1), [{ cluster: 'web', waiting: 2 }])
  waking.wait('shop', config, client('c'))
  t.strictSame(told.at(-1)?.at(-1), { cluster: 'shop', waiting: 1 })
  serving.add('web')
  await clock.advance(10)
  t.strictSame(said, ['a woken', 'b woken'], 'in their order, and nobody of another cluster')
  serving.add('shop')
  await clock.advance(10)
  const count = told.length
  await clock.advance(5_000)
  t.equal(told.length, count)
  t.equal(clock.pending, 0, 'nobody waits: nothing ticks')
})

t.test('bounded in time, over all its waits', async t => {
  const { clock, serving, said, waking, client } = start()
  const unlucky = client('a', () => waking.wait('web', config, unlucky))
  waking.wait('web', config, unlucky)
  await clock.advance(600)
  serving.add('web')
  await clock.advance(5)
  serving.clear()
  t.strictSame(said, ['a woken'])
  await clock.advance(300)
  t.strictSame(said, ['a woken'], 'it waits anew')
  await clock.advance(100)
  t.strictSame(said, ['a woken', 'a queue_timeout'], 'no longer than at first')
  waking.wait('web', config, unlucky)
  t.equal(said.at(-1), 'a queue_timeout', 'and then not at all')
})

t.test('bounded in number, by its share of all threads', async t => {
  const { said, waking, client } = start(2)
  const forget = waking.wait('web', config, client('a'))
  waking.wait('web', config, client('b'))
  waking.wait('web', config, client('c'))
  t.strictSame(said, ['c queue_full'])
  forget()
  forget()
  waking.wait('web', config, client('d'))
  t.strictSame(said, ['c queue_full'], 'who left made room')
})

t.test('who has left is not woken, and a loop that ends wakes nobody', async t => {
  const { clock, serving, said, waking, client } = start()
  waking.wait('web', config, client('a'))()
  waking.wait('web', config, client('b'))
  waking.close()
  serving.add('web')
  await clock.advance(5_000)
  t.strictSame(said, [])
})
