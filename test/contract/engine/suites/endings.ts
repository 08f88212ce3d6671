/** The two letters at the end of an exchange, each by the real thing happening: who ended it, where, and who was too slow. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import { connect } from 'node:http2'
import { createServer as createTcpServer } from 'node:net'
import t, { type Test } from 'tap'
import { ManualClock } from '../../../support/manual-clock.ts'
import {
  closeServer,
  type FrontDoor,
  type FrontDoorOptions,
  inFlight,
  listenOn,
  openFrontDoor,
  openRawBackend,
  type RawBackend,
  type RawClient,
  rawClient,
  until,
} from '../../../support/traffic.ts'

const get = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'
const post = 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n'
const upgrade =
  'GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n'
const switching = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n'
const half = 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf'

interface Scene {
  readonly clock: ManualClock
  readonly door: FrontDoor
  readonly backend: RawBackend
  readonly client: RawClient
  /** The request, to its end or to this, is at the backend. */
  arrived(what?: string): Promise<void>
}

interface Case {
  readonly ending: string
  readonly what: string
  /** What the client sends first. */
  readonly sends: string
  /** What the backend answers to a whole head. */
  readonly answer?: string
  readonly options?: Partial<FrontDoorOptions>
  readonly act: (scene: Scene) => Promise<void> | void
}

const timeouts = { headerMs: 5_000, idleMs: 3_000, tunnelIdleMs: 30_000 }

async function play(t: Test, { sends, answer, options, act }: Case) {
  const clock = new ManualClock()
  const backend = await openRawBackend((socket, text) => {
    if (answer !== undefined && text.includes('\r\n\r\n') && !text.includes('answered')) socket.write(answer)
  })
  const door = await openFrontDoor({ backends: [backend.port], clock, timeouts, ...options })
  const client = await rawClient(door.port, sends)
  const arrived = (what = '\r\n\r\n') =>
    until(() => backend.received().includes(what), `${JSON.stringify(what)} at the backend`)
  await act({ clock, door, backend, client, arrived })
  const refused = () => /^HTTP\/1\.1 [45]/.test(client.text())
  await until(() => door.records.length > 0 || refused(), 'the end of it')
  // What still comes of a body is read for a moment, so that the answer is not lost to a reset.
  if (door.records.length === 0) await clock.advance(2_000)
  await until(() => door.records.length > 0, 'the end of it')
  const [{ ending, error, status }] = door.records as [FrontDoor['records'][number]]
  client.socket.destroy()
  await door.close()
  await backend.close()
  t.equal(door.records.length, 1, 'told once')
  return { ending, error, status }
}

const leave = ({ client }: Scene) => void client.socket.resetAndDestroy()
const breakOff = ({ backend }: Scene) => {
  for (const socket of backend.sockets) socket.resetAndDestroy()
}
const untilAll = async (scene: Scene, act: (scene: Scene) => void, what?: string) => {
  await scene.arrived(what)
  act(scene)
}
const answered = async (scene: Scene, act: (scene: Scene) => void) => {
  await scene.client.expect('half')
  act(scene)
}
const switched = async (scene: Scene, act: (scene: Scene) => void) => {
  await scene.client.expect('101 ')
  await until(() => scene.door.context.tunnels.size === 1, 'the tunnel')
  act(scene)
}

const cases: readonly Case[] = [
  { ending: 'PR', what: 'no route', sends: get, options: { routes: [] }, act: () => {} },
  { ending: 'PR', what: 'what is no request', sends: get.replace('Host: x\r\n', ''), act: () => {} },
  {
    ending: 'CH',
    what: 'a client that leaves before its answer',
    sends: get,
    act: one => untilAll(one, leave),
  },
  {
    ending: 'CH',
    what: 'a client that leaves when all of its body is sent',
    sends: `${post}0123456789`,
    act: one => untilAll(one, leave, '0123456789'),
  },
  {
    ending: 'CU',
    what: 'a client that leaves in the middle of its body',
    sends: `${post}01234`,
    act: one => untilAll(one, leave, '01234'),
  },
  {
    ending: 'CD',
    what: 'a client that leaves in its answer',
    sends: get,
    answer: half,
    act: one => answered(one, leave),
  },
  {
    ending: 'cR',
    what: 'a head that does not come to its end',
    sends: 'GET / HT',
    // Node's own parser looks by a clock of its own.
    options: { engine: 'relay' },
    act: async ({ door, clock }) => {
      await until(() => door.facts().connectionsAccepted === 1, 'the connection')
      await clock.advance(10_500)
    },
  },
  {
    ending: 'cU',
    what: 'a body that stops coming',
    sends: `${post}01234`,
    act: async ({ arrived, clock }) => {
      await arrived('01234')
      await clock.advance(3_500)
    },
  },
  {
    ending: 'BH',
    what: 'a backend that breaks off before its answer',
    sends: `${post}0123456789`,
    act: one => untilAll(one, breakOff, '0123456789'),
  },
  {
    ending: 'BU',
    what: 'a backend that breaks off in the body',
    sends: `${post}01234`,
    act: one => untilAll(one, breakOff, '01234'),
  },
  { ending: 'BH', what: 'an answer that is none', sends: get, answer: 'BLAH\r\n\r\n', act: () => {} },
  {
    ending: 'BD',
    what: 'a backend that breaks off in its answer',
    sends: get,
    answer: half,
    act: one => answered(one, breakOff),
  },
  {
    ending: 'bH',
    what: 'no answer in time',
    sends: get,
    act: async ({ arrived, clock }) => {
      await arrived()
      await clock.advance(5_500)
    },
  },
  {
    ending: 'bH',
    what: 'no answer in time to a whole body',
    sends: `${post}0123456789`,
    act: async ({ arrived, clock }) => {
      await arrived('0123456789')
      await clock.advance(5_500)
    },
  },
  {
    ending: 'bD',
    what: 'an answer that stops coming',
    sends: get,
    answer: half,
    act: async ({ client, clock }) => {
      await client.expect('half')
      await clock.advance(3_500)
    },
  },
  {
    ending: 'PQ',
    what: 'nobody who would take it',
    sends: '',
    act: ({ door, client }) => {
      door.board.admit(0, 1, 'none')
      client.send(get)
    },
  },
  {
    ending: 'PH',
    what: 'a member that is cut before its answer',
    sends: get,
    act: one => untilAll(one, ({ door }) => door.context.exchanges.cutMember(0, 1)),
  },
  {
    ending: 'PD',
    what: 'a member that is cut in its answer',
    sends: get,
    answer: half,
    act: one => answered(one, ({ door }) => door.context.exchanges.cutMember(0, 1)),
  },
  {
    ending: 'PD',
    what: 'the end of the process',
    sends: get,
    answer: half,
    act: one => answered(one, ({ door }) => door.context.exchanges.stopAll()),
  },
  {
    ending: 'PU',
    what: 'a body that is none',
    sends: 'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n',
    act: async ({ arrived, client }) => {
      await arrived('hello')
      client.send('nonsense\r\n')
    },
  },
  {
    ending: 'CT',
    what: 'a client whose tunnel breaks',
    sends: upgrade,
    answer: switching,
    act: one => switched(one, leave),
  },
  {
    ending: 'BT',
    what: 'a backend whose tunnel breaks',
    sends: upgrade,
    answer: switching,
    act: one => switched(one, breakOff),
  },
  {
    ending: 'BT',
    what: 'a backend that ends its tunnel',
    sends: upgrade,
    answer: switching,
    act: one =>
      switched(one, ({ backend }) => {
        for (const socket of backend.sockets) socket.end()
      }),
  },
  {
    ending: 'CT',
    what: 'a client that says Close first',
    sends: upgrade,
    answer: switching,
    act: async one => {
      await switched(one, ({ client }) => client.send('\x88\x80\0\0\0\0'))
      await one.arrived('\x88\x80')
      for (const socket of one.backend.sockets) socket.end(Buffer.from([0x88, 0]))
    },
  },
  {
    ending: 'BT',
    what: 'a backend that says Close first',
    sends: upgrade,
    answer: switching,
    act: async one => {
      await switched(one, ({ backend }) => {
        for (const socket of backend.sockets) socket.write(Buffer.from([0x88, 0]))
      })
      await one.client.expect('\x88')
      one.client.socket.end(Buffer.from([0x88, 0x80, 0, 0, 0, 0]))
    },
  },
  {
    ending: 'PT',
    what: 'a drain',
    sends: upgrade,
    answer: switching,
    act: one => switched(one, ({ door }) => door.context.tunnels.cutMember(0, 1)),
  },
  {
    ending: '-T',
    what: 'a tunnel that falls silent',
    sends: upgrade,
    answer: switching,
    act: async one => {
      await switched(one, () => {})
      await one.clock.advance(30_500)
      await one.clock.advance(2_500)
    },
  },
]

for (const one of cases)
  t.test(`${one.ending}: ${one.what}`, async t => {
    const told = await play(t, one)
    t.equal(told.ending, one.ending, JSON.stringify(told))
  })

t.test('BC: nobody listens', async t => {
  const gone = createTcpServer()
  const port = await listenOn(gone)
  await closeServer(gone)
  const told = await play(t, {
    ending: 'BC',
    what: '',
    sends: get,
    options: { backends: [port] },
    act: () => {},
  })
  t.match(told, { ending: 'BC', error: 'upstream_connect_failed', status: 502 })
})

t.test('cD: a client that does not read on', async t => {
  const clock = new ManualClock()
  let written = 0
  const server = createServer((_request, response) => {
    const more = () => {
      written += 65_536
      if (response.write(Buffer.alloc(65_536))) setImmediate(more)
      else response.once('drain', more)
    }
    more()
  })
  const door = await openFrontDoor({ backends: [await listenOn(server)], clock, timeouts })
  const client = await rawClient(door.port)
  client.socket.pause()
  client.send(get)
  await until(
    standsStill(() => written),
    'the backend to stand still',
  )
  await clock.advance(3_500)
  await until(() => door.records.length === 1, 'the end of it')
  t.match(door.records[0], { ending: 'cD', error: 'client_closed', status: 200 })
  client.socket.destroy()
  await door.close()
  server.closeAllConnections()
  await closeServer(server)
})

t.test('cL: an HTTP/2 client that opens no window for the end of its answer', async t => {
  const clock = new ManualClock()
  const server = createServer((_request, response) => response.end(Buffer.alloc(5_000)))
  const door = await openFrontDoor({
    ...{ backends: [await listenOn(server)], clock, timeouts },
    listener: { protocol: 'h2c' },
  })
  const client = connect(door.url, { settings: { initialWindowSize: 1_000 } })
  client.on('error', () => {})
  await once(client, 'remoteSettings')
  const stream = client.request({ ':path': '/' })
  stream.on('error', () => {})
  stream.pause()
  await once(stream, 'response')
  await until(() => inFlight(door) === 0 && door.board.total(0, 'started') === 1, 'the backend to be done')
  t.equal(door.records.length, 0)
  await clock.advance(61_000)
  await until(() => door.records.length === 1, 'the end of it')
  t.match(door.records[0], { ending: 'cL', error: 'client_closed', status: 200 })
  client.destroy()
  await door.close()
  server.closeAllConnections()
  await closeServer(server)
})

t.test('bU: a backend that stops reading', async t => {
  const clock = new ManualClock()
  const backend = await openRawBackend(socket => void socket.pause())
  const door = await openFrontDoor({ backends: [backend.port], clock, timeouts })
  const total = 64 * 2 ** 20
  const client = await rawClient(door.port, `POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${total}\r\n\r\n`)
  client.socket.write(Buffer.alloc(total))
  await until(
    standsStill(() => client.socket.bytesWritten - client.socket.writableLength),
    'the client to stand still',
  )
  await clock.advance(3_500)
  await client.expect('504')
  await clock.advance(2_000)
  await until(() => door.records.length === 1, 'the end of it')
  t.match(door.records[0], { ending: 'bU', error: 'upstream_idle_timeout', status: 504 })
  client.socket.destroy()
  await door.close()
  await backend.close()
})

/** True once a value has not moved for twenty looks. */
function standsStill(value: () => number): () => boolean {
  let [last, looks] = [-1, 0]
  return () => {
    const now = value()
    looks = now === last && now > 0 ? looks + 1 : 0
    last = now
    return looks >= 20
  }
}
