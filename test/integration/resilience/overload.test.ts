/** Load shedding, end to end: new requests and connections above the limit are refused, before anything is done for them. */
import { once } from 'node:events'
import { connect as connectTls } from 'node:tls'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { TlsHolder } from '../../../lib/proxy/tls/holder.ts'
import { Authority, listenerTls, materialOf } from '../../support/certificates.ts'
import { get } from '../../support/load.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { origin } from '../../support/origin.ts'
import { calm, stage } from '../../support/stage.ts'
import { type FrontDoorOptions, openFrontDoor, rawClient, until } from '../../support/traffic.ts'

async function scene(t: Test, options: Partial<FrontDoorOptions>) {
  const clock = new ManualClock()
  const heap = { share: 0 }
  const backend = await stage(t)
  const gauges = { memoryBytes: () => 0, heapShare: () => heap.share, collect: () => {} }
  const door = await openFrontDoor({ clock, backends: [backend.port], gauges, ...options })
  t.teardown(() => door.close())
  return { door, clock, heap, backend }
}

const request = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'

for (const engine of ['relay', 'http-proxy-3'] as const)
  t.test(engine, async t => {
    t.test('a share of new requests is refused; what is under way ends as if nothing were', async t => {
      const { door, clock, heap, backend } = await scene(t, { engine })
      const before = await rawClient(door.port, request)
      await backend.act(1)
      heap.share = 1
      await clock.advance(2_000)
      t.equal(door.context.overload.state.share, 0.95)
      const clients = await Promise.all(Array.from({ length: 40 }, () => rawClient(door.port, request)))
      const refused = () => clients.filter(({ closed }) => closed)
      await until(() => refused().length + backend.acts.length === 41, 'each to be refused or sent on')
      t.ok(refused().length >= 37 && refused().length < 40, `${refused().length} of 40 are refused`)
      for (const client of refused())
        t.match(
          client.text(),
          /^HTTP\/1\.1 503 [\s\S]*\r\nRetry-After: 1\r\n[\s\S]*Connection: close\r\n[\s\S]*overloaded/i,
        )
      const passed = backend.acts.length
      for (const act of backend.acts) act.answer(200, 'served')
      await before.expect('served')
      t.notOk(before.closed)
      heap.share = 0
      await clock.advance(1_000)
      before.send(request)
      ;(await backend.act(passed + 1)).answer(200, 'well again')
      await before.expect('well again')
      await calm(t, door)
      const shed = door.records.filter(({ error }) => error === 'overloaded')
      t.equal(shed.length, refused().length)
      t.ok(shed.every(({ ending }) => ending === 'PQ'))
    })

    t.test('a refused upgrade, and a refused upload', async t => {
      const { door, clock, heap, backend } = await scene(t, { engine })
      heap.share = 1
      await clock.advance(2_000)
      const passes = await rawClient(door.port, request)
      ;(await backend.act(1)).answer(200, 'one of twenty')
      await passes.expect('one of twenty')
      const upload = await rawClient(door.port, 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n')
      await upload.expect('overloaded')
      upload.send('123456789')
      t.match(await upload.waitClosed(), /^HTTP\/1\.1 503 /)
      const upgrade =
        'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='
      const socket = await rawClient(door.port, `GET / HTTP/1.1\r\nHost: x\r\n${upgrade}\r\n\r\n`)
      t.match(await socket.waitClosed(), /^HTTP\/1\.1 503 [\s\S]*overloaded/)
      t.equal(backend.acts.length, 1)
      passes.socket.destroy()
      await calm(t, door)
    })

    t.test('connections above the limit are told so and closed; a place that is left is taken', async t => {
      const { door, backend } = await scene(t, { engine, overload: { maxConnections: 2 } })
      const clients = [await rawClient(door.port, request), await rawClient(door.port)]
      await backend.act(1)
      const third = await rawClient(door.port, request)
      const text = await third.waitClosed()
      t.match(
        text,
        /^HTTP\/1\.1 503 Service Unavailable\r\n[\s\S]*\r\nRetry-After: 1\r\nConnection: close\r\n\r\n503 overloaded/,
      )
      t.equal(backend.acts.length, 1)
      clients[1]!.socket.destroy()
      const next = await asking(async () => {
        const client = await rawClient(door.port, request)
        await until(() => client.closed || backend.acts.length === 2, 'an answer, or a request')
        return client.closed ? null : client
      })
      for (const act of backend.acts) act.answer(200, 'served')
      await Promise.all([clients[0]!.expect('served'), next.expect('served')])
      await calm(t, door)
    })

    t.test('a WebSocket is a connection as long as it is open', async t => {
      const echo = await origin(t, 'echo')
      const { door } = await scene(t, { engine, backends: [echo.port], overload: { maxConnections: 1 } })
      const socket = new WebSocket(`ws://127.0.0.1:${door.port}/`)
      await once(socket, 'open')
      t.match(await get(door.port, '/'), { status: 503 })
      socket.terminate()
      await asking(async () => ((await get(door.port, '/')).status === 200 ? true : null))
      await calm(t, door)
    })

    t.test('where TLS is spoken there is nothing that could be said', async t => {
      const ca = new Authority(t.testdir())
      const tls = listenerTls([ca.issue('server')])
      const holder = new TlsHolder(materialOf([tls]))
      const { door } = await scene(t, {
        engine,
        tls: holder,
        listener: { tls },
        overload: { maxConnections: 1 },
      })
      const options = { port: door.port, host: '127.0.0.1', ca: ca.pem, servername: 'localhost' }
      const first = connectTls(options)
      await once(first, 'secureConnect')
      const second = await rawClient(door.port)
      t.equal(await second.waitClosed(), '')
      first.destroy()
    })
  })

/** Asks until there is something. */
async function asking<T>(probe: () => Promise<T | null>): Promise<T> {
  for (let tries = 0; tries < 500; tries++) {
    const found = await probe()
    if (found !== null) return found
  }
  throw new Error('asked 500 times in vain')
}
