/** Listeners that become others while they serve: opened before anything is retired, and never half. */
import t from 'tap'
import type { ListenerConfig } from '../../../lib/config/config.ts'
import type { Listener } from '../../../lib/proxy/listener.ts'
import { ListenerSet } from '../../../lib/proxy/listener-set.ts'
import { place, settled } from '../../../lib/proxy/placed-listeners.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const at = (port: number, over: object = {}): ListenerConfig => ({ host: '127.0.0.1', port, ...over })

function scene() {
  const clock = new ManualClock(0)
  const told: string[] = []
  const busy = new Set<number>()
  const set = new ListenerSet(clock, async ({ id, config }) => {
    if (config.port === 666) throw new Error('port in use')
    told.push(`open ${id}`)
    return {
      host: config.host,
      port: config.port === 0 ? 4000 + id : config.port,
      stop: () => told.push(`stop ${id}`),
      closeIdle: () => told.push(`idle ${id}`),
      exchanges: () => (busy.has(id) ? 1 : 0),
      destroy: () => told.push(`destroy ${id}`),
    } as unknown as Listener
  })
  return { clock, told, busy, set }
}

t.test('place: who is named again keeps the number, each once', async t => {
  const first = place([], [at(1), at(0), at(0)])
  t.strictSame(
    first.map(({ id }) => id),
    [0, 1, 2],
  )
  const open = settled(first, [at(1), at(5001), at(5002)])
  const next = place(open, [at(0), at(1, { tls: { certificates: [] } }), at(3)])
  t.strictSame(
    next.map(({ id }) => id),
    [1, 3, 4],
    'another setting is another listener',
  )
  t.strictSame(next[0]!.real, at(5001))
  t.strictSame(
    place(next, [at(9)]).map(({ id }) => id),
    [5],
    'no number is used again',
  )
})

t.test('opens what is new, keeps what is named, then retires the rest', async t => {
  const { told, set } = scene()
  t.strictSame(
    await set.become([
      { id: 0, config: at(0) },
      { id: 1, config: at(2) },
    ]),
    [at(4000), at(2)],
  )
  await set.become([
    { id: 1, config: at(2) },
    { id: 2, config: at(3) },
  ])
  t.strictSame(told, ['open 0', 'open 1', 'open 2', 'stop 0'])
})

t.test('one that cannot be opened: nothing is changed, and what was opened for it is closed', async t => {
  const { told, set } = scene()
  await set.become([{ id: 0, config: at(1) }])
  await t.rejects(
    set.become([
      { id: 1, config: at(2) },
      { id: 2, config: at(666) },
    ]),
    { message: 'port in use' },
  )
  t.strictSame(told, ['open 0', 'open 1', 'stop 1'])
  t.strictSame(await set.become([{ id: 0, config: at(1) }]), [at(1)])
})

t.test(
  'a retired one is let go when nothing can be open on it; until then it ends with the loop',
  async t => {
    const { clock, told, busy, set } = scene()
    await set.become([{ id: 0, config: at(1) }])
    busy.add(0)
    await set.become([])
    await clock.advance(600_000)
    t.strictSame(told, ['open 0', 'stop 0'])
    busy.clear()
    await clock.advance(1000)
    t.strictSame(told.slice(2), ['idle 0'])
    t.equal(clock.pending, 0)
    set.destroy()
    t.equal(told.length, 3, 'it is not known any more')

    const other = scene()
    await other.set.become([{ id: 0, config: at(1) }])
    await other.set.become([])
    other.set.destroy()
    t.strictSame(other.told, ['open 0', 'stop 0', 'destroy 0'])
    t.equal(other.clock.pending, 0)
  },
)

t.test('opened while the loop is stopping: it does not listen', async t => {
  const { told, set } = scene()
  const opening = set.become([{ id: 0, config: at(1) }])
  set.stop()
  await opening
  t.strictSame(told, ['open 0', 'stop 0'])
})
