/** Listeners that become others while they serve: opened before anything is retired, and never half. */
import t from 'tap'
import type { ListenerConfig } from '../../../lib/config/config.ts'
import type { Door } from '../../../lib/proxy/door.ts'
import type { Listener } from '../../../lib/proxy/listener.ts'
import { ListenerSet } from '../../../lib/proxy/listener-set.ts'
import { place, settled } from '../../../lib/proxy/placed-listeners.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const at = (port: number, over: object = {}): ListenerConfig => ({ host: '127.0.0.1', port, ...over })

/** Listeners are told apart by their `engine` key here; a door tells who its connections go to. */
function scene() {
  const clock = new ManualClock(0)
  const told: string[] = []
  const busy = new Set<string>()
  const nameOf = new Map<unknown, string>()
  const create = (config: ListenerConfig): Listener => {
    const name = `${config.engine ?? 'listener'} ${config.port}`
    told.push(`create ${name}`)
    const listener = {
      accept: () => {},
      stop: () => told.push(`stop ${name}`),
      closeIdle: () => told.push(`idle ${name}`),
      exchanges: () => (busy.has(name) ? 1 : 0),
      destroy: () => told.push(`destroy ${name}`),
    } as unknown as Listener
    nameOf.set(listener.accept, name)
    return listener
  }
  const openDoor = async ({ host, port }: ListenerConfig, receiver: unknown) => {
    if (port === 666) throw new Error('port in use')
    told.push(`open ${port} to ${nameOf.get(receiver)}`)
    let last = receiver
    return {
      host,
      port: port === 0 ? 4000 : port,
      handTo: (next: unknown) => {
        if (next !== last) told.push(`${port} to ${nameOf.get(next)}`)
        last = next
      },
      close: async () => told.push(`close ${port}`),
      abandon: () => told.push(`close ${port}`),
    } as unknown as Door
  }
  const set = new ListenerSet({ clock, openDoor, create })
  return { clock, told, busy, set }
}

const placed = (id: number, config: ListenerConfig, door = id) => ({ id, door, config })

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

t.test('place: who takes the address of another has its door and its port', async t => {
  const engine = { engine: 'http-proxy-3' }
  const first = settled(place([], [at(0), at(0), at(80)]), [at(5001), at(5002), at(80)])
  const next = place(first, [at(80, engine), at(0), at(0, engine), at(0)])
  t.strictSame(
    next.map(({ id, door, real }) => [id, door, real]),
    [
      [3, 2, at(80, engine)],
      [0, 0, at(5001)],
      [4, 4, at(0, engine)],
      [1, 1, at(5002)],
    ],
    'those that are named as they were come first',
  )
  const last = place(settled(next, [at(80, engine), at(5001), at(5003, engine), at(5002)]), [at(80), at(0)])
  t.strictSame(
    last.map(({ id, door, real }) => [id, door, real]),
    [
      [5, 2, at(80)],
      [0, 0, at(5001)],
    ],
    'and again',
  )
})

t.test('opens what is new, keeps what is named, then retires the rest', async t => {
  const { told, set } = scene()
  t.strictSame(await set.become([placed(0, at(0)), placed(1, at(2))]), [at(4000), at(2)])
  told.length = 0
  await set.become([placed(1, at(2)), placed(2, at(3))])
  t.strictSame(told, ['create listener 3', 'open 3 to listener 3', 'stop listener 0', 'close 0'])
})

t.test("two behind one door: connections are the older one's until it is not named any more", async t => {
  const { told, set } = scene()
  const changed = at(8080, { engine: 'relay' })
  await set.become([placed(0, at(8080))])
  t.strictSame(told.splice(0), ['create listener 8080', 'open 8080 to listener 8080'])
  await set.become([placed(0, at(8080)), placed(1, changed, 0)])
  t.strictSame(told.splice(0), ['create relay 8080'])
  t.strictSame(await set.become([placed(1, changed, 0)]), [changed])
  t.strictSame(told.splice(0), ['stop listener 8080', '8080 to relay 8080'], 'the door stays open')
  await set.become([placed(1, changed, 0), placed(2, at(8080), 0)])
  await set.become([placed(1, changed, 0)])
  t.strictSame(told.splice(0), ['create listener 8080', 'stop listener 8080'], 'called off: as it was')
  await set.become([])
  t.strictSame(told, ['stop relay 8080', 'close 8080'])
})

t.test('one that cannot be opened: nothing is changed, and what was opened for it is closed', async t => {
  const { told, set } = scene()
  await set.become([placed(0, at(1))])
  told.length = 0
  const three = [placed(0, at(1)), placed(1, at(2)), placed(2, at(666))]
  await t.rejects(set.become(three), { message: 'port in use' })
  t.strictSame(told.splice(0), [
    'create listener 2',
    'open 2 to listener 2',
    'create listener 666',
    'close 2',
    'stop listener 2',
    'stop listener 666',
  ])
  t.strictSame(await set.become([placed(0, at(1))]), [at(1)])
})

t.test(
  'a retired one is let go when nothing can be open on it; until then it ends with the loop',
  async t => {
    const { clock, told, busy, set } = scene()
    await set.become([placed(0, at(1))])
    busy.add('listener 1')
    await set.become([])
    told.length = 0
    await clock.advance(600_000)
    t.strictSame(told, [])
    busy.clear()
    await clock.advance(1000)
    t.strictSame(told, ['idle listener 1'])
    t.equal(clock.pending, 0)
    set.destroy()
    t.equal(told.length, 1, 'it is not known any more')

    const other = scene()
    await other.set.become([placed(0, at(1))])
    await other.set.become([])
    other.told.length = 0
    other.set.destroy()
    t.strictSame(other.told, ['destroy listener 1'])
    t.equal(other.clock.pending, 0)
  },
)

t.test('opened while the loop is stopping: it does not listen', async t => {
  const { told, set } = scene()
  const opening = set.become([placed(0, at(1))])
  set.stop()
  await opening
  t.strictSame(told, ['create listener 1', 'open 1 to listener 1', 'stop listener 1', 'close 1'])
})
