/** Circuit limits and their queue on one event loop: who is let in, who waits and how long, and that every place comes back. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import { connect as connectH2, constants } from 'node:http2'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import type { LimitsConfig } from '../../../lib/config/config.ts'
import { noLimits } from '../../../lib/proxy/resilience/plain.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { origin } from '../../support/origin.ts'
import { type Act, calm, stage } from '../../support/stage.ts'
import {
  closeServer,
  type FrontDoorOptions,
  listenOn,
  openFrontDoor,
  type RawClient,
  rawClient,
  until,
} from '../../support/traffic.ts'

interface Over extends Partial<FrontDoorOptions> {
  readonly limits: Partial<LimitsConfig>
}

/** One backend that holds every request, before it so many limits. */
async function scene(t: Test, { limits, ...options }: Over, play?: (act: Act) => void) {
  const clock = new ManualClock()
  const backend = await stage(t, play)
  const door = await openFrontDoor({
    clock,
    backends: [backend.port],
    resilience: { limits: { ...noLimits, queueTimeoutMs: 1_000, ...limits } },
    ...options,
  })
  t.teardown(() => door.close())
  /** A client of its own that has asked for `path`, and is served or waits. */
  const ask = async (path: string, head = ''): Promise<RawClient> => {
    const { requests, pending } = door.circuit()
    const client = await rawClient(door.port, `GET ${path} HTTP/1.1\r\nHost: x\r\n${head}\r\n`)
    await until(() => {
      const now = door.circuit()
      return now.requests + now.pending > requests + pending || client.text() !== ''
    }, `${path} to be let in`)
    return client
  }
  const asked = () => backend.acts.map(({ request }) => request.url)
  return { door, clock, backend, ask, asked }
}

const statusOf = (client: RawClient) => client.text().slice(9, 12)

for (const engine of ['relay', 'http-proxy-3'] as const)
  t.test(engine, async t => {
    t.test('as many inside as the limit; the others are served in the order they came', async t => {
      const { door, ask, asked, backend } = await scene(t, { engine, limits: { requests: 2 } })
      const clients: RawClient[] = []
      for (const path of ['/1', '/2', '/3', '/4', '/5']) clients.push(await ask(path))
      t.same(door.circuit(), { requests: 2, tunnels: 0, pending: 3 })
      t.same(asked(), ['/1', '/2'])
      for (let n = 1; n <= 5; n++) {
        ;(await backend.act(n)).answer(200, `answer ${n}`)
        await clients[n - 1]!.expect(`answer ${n}`)
        t.ok(door.circuit().requests <= 2)
      }
      t.same(asked(), ['/1', '/2', '/3', '/4', '/5'])
      await calm(t, door)
      t.match(door.records.at(-1), { status: 200, ending: '--', attempts: 1 })
    })

    t.test('the wait ends with its time, and the connection lives on', async t => {
      const { door, ask, asked, backend, clock } = await scene(t, { engine, limits: { requests: 1 } })
      await ask('/1')
      const early = await ask('/early')
      await clock.advance(500)
      const late = await ask('/late')
      await clock.advance(505)
      await early.expect('queue_timeout')
      t.match(early.text(), /^HTTP\/1\.1 503 [\s\S]*\r\nRetry-After: 1\r\n/)
      t.notMatch(early.text(), /Connection: close/)
      t.equal(late.text(), '', 'each has its own time')
      t.match(door.records, [{ status: 503, error: 'queue_timeout', ending: 'PQ', attempts: 0 }])
      early.send('GET /again HTTP/1.1\r\nHost: x\r\n\r\n')
      await until(() => door.circuit().pending === 2, 'it to wait again')
      ;(await backend.act(1)).answer(200, 'first')
      ;(await backend.act(2)).answer(200, 'late')
      await late.expect('late')
      ;(await backend.act(3)).answer(200, 'again')
      await early.expect('again')
      t.same(asked(), ['/1', '/late', '/again'])
      await calm(t, door)
    })

    t.test('a full queue, and none at all', async t => {
      const full = await scene(t, { engine, limits: { requests: 1, pending: 1 } })
      await full.ask('/1')
      const waits = await full.ask('/2')
      t.match((await full.ask('/3')).text(), /^HTTP\/1\.1 503 [\s\S]*queue_full/)
      t.same(full.door.circuit(), { requests: 1, tunnels: 0, pending: 1 })
      for (const n of [1, 2]) (await full.backend.act(n)).answer(200, 'served')
      await waits.expect('served')
      await calm(t, full.door)

      const none = await scene(t, { engine, limits: { requests: 1, pending: 0 } })
      await none.ask('/1')
      t.match((await none.ask('/2')).text(), /^HTTP\/1\.1 503 [\s\S]*circuit_open/)
      ;(await none.backend.act(1)).answer(200, 'served')
      await until(() => none.door.circuit().requests === 0, 'the place')
      t.equal(statusOf(await none.ask('/3')), '', 'there is room again')
      ;(await none.backend.act(2)).answer(200, 'served')
      await calm(t, none.door)
      t.match(
        none.door.records.map(({ error }) => error),
        ['circuit_open', null, null],
      )
    })

    t.test('the end of the process: who still waits hears that nothing was sent', async t => {
      const { door, ask, asked } = await scene(t, { engine, limits: { requests: 1 } })
      const served = await ask('/1')
      const waits = await ask('/2')
      door.context.exchanges.stopAll()
      await waits.expect('shutting_down')
      await served.expect('upstream_reset')
      t.match(waits.text(), /^HTTP\/1\.1 503 /)
      t.same(asked(), ['/1'])
      await calm(t, door)
      t.match(
        door.records.toSorted((a, b) => a.attempts - b.attempts),
        [
          { error: 'shutting_down', status: 503, ending: 'PQ' },
          { error: 'upstream_reset', status: 502, ending: 'PH' },
        ],
      )
    })

    t.test('a client that leaves the queue takes its place along', async t => {
      const { door, ask, asked, backend } = await scene(t, { engine, limits: { requests: 1 } })
      await ask('/1')
      const leaves = await ask('/leaves')
      const stays = await ask('/stays')
      leaves.socket.resetAndDestroy()
      await until(() => door.circuit().pending === 1, 'it to be taken out')
      ;(await backend.act(1)).answer(200, 'first')
      ;(await backend.act(2)).answer(200, 'second')
      await stays.expect('second')
      t.same(asked(), ['/1', '/stays'])
      await calm(t, door)
      t.match(door.records[0], { error: 'client_closed', ending: 'CQ', attempts: 0 })
    })

    t.test(
      'a client that leaves while its body waits is found to be gone at the latest at its turn',
      async t => {
        const { door, ask, backend } = await scene(t, { engine, limits: { requests: 1 } })
        const first = await ask('/1')
        const leaves = await ask('/upload', 'Content-Length: 1000000\r\n')
        leaves.socket.write(Buffer.alloc(500_000))
        const last = await ask('/3')
        leaves.socket.resetAndDestroy()
        ;(await backend.act(1)).answer(200, 'first')
        await first.expect('first')
        await until(() => backend.acts.some(({ request }) => request.url === '/3'), 'the turn of the last')
        backend.acts.at(-1)!.answer(200, 'last')
        await last.expect('last')
        await calm(t, door)
        t.match(
          door.records.find(({ target }) => target === '/upload'),
          { error: 'client_closed' },
        )
      },
    )

    t.test('a stream of HTTP/2 that is cancelled in the queue', async t => {
      const listener = { protocol: 'h2c' } as const
      const { door, asked, backend } = await scene(t, { engine, listener, limits: { requests: 1 } })
      const session = connectH2(door.url)
      t.teardown(() => session.destroy())
      const [first, second, third] = ['/1', '/2', '/3'].map(path => session.request({ ':path': path }))
      for (const stream of [first!, second!, third!]) stream.on('error', () => {}).resume()
      await until(() => door.circuit().pending === 2, 'two to wait')
      second!.close(constants.NGHTTP2_CANCEL)
      await until(() => door.circuit().pending === 1, 'its place')
      ;(await backend.act(1)).answer(200, 'first')
      const answered = once(third!, 'response')
      ;(await backend.act(2)).answer(200, 'third')
      t.match(await answered, [{ ':status': 200 }])
      t.same(asked(), ['/1', '/3'])
      await calm(t, door)
    })

    t.test('a client that leaves in the middle gives its place to the next', async t => {
      const { door, ask, backend } = await scene(t, { engine, limits: { requests: 1 } })
      const leaves = await ask('/1')
      const next = await ask('/2')
      await backend.act(1)
      leaves.socket.resetAndDestroy()
      ;(await backend.act(2)).answer(200, 'next')
      await next.expect('next')
      await calm(t, door)
    })

    t.test('the slow reader of an answer holds no place once the backend is done', async t => {
      const { door, ask, backend } = await scene(t, { engine, limits: { requests: 1 } })
      const reader = await ask('/1')
      reader.socket.pause()
      const next = await ask('/2')
      ;(await backend.act(1)).answer(200, 'x'.repeat(60_000))
      ;(await backend.act(2)).answer(200, 'next')
      await next.expect('next')
      reader.socket.resume()
      await until(() => reader.text().length > 60_000, 'the rest')
      await calm(t, door)
    })

    t.test('a body that waits in the queue is not read, and arrives whole', async t => {
      const bytes = 24 * 1024 * 1024
      let received = 0
      const server = createServer((request, response) => {
        request.on('data', chunk => {
          received += chunk.length
        })
        request.on('end', () => response.end(`received ${received}`))
      })
      const port = await listenOn(server)
      const { door, ask } = await scene(t, { engine, backends: [port], limits: { connections: 1 } })
      t.teardown(() => closeServer(server))
      const first = await rawClient(door.port, 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n')
      await until(() => door.circuit().requests === 1, 'the first to be let in')
      const client = await ask('/upload', `Content-Length: ${bytes}\r\n`)
      client.socket.write(Buffer.alloc(bytes, 'b'))
      let left = -1
      await until(() => {
        const same = client.socket.writableLength === left
        left = client.socket.writableLength
        return same
      }, 'what the kernel takes')
      t.ok(left > 0, `${left} of ${bytes} bytes are still the client's`)
      first.send('1')
      await first.expect('received 1')
      await client.expect(`received ${bytes + 1}`)
      await calm(t, door)
    })

    t.test('a WebSocket is a connection until it ends, and a request only until it is open', async t => {
      const echo = await origin(t, 'echo')
      const { door, ask } = await scene(t, {
        engine,
        backends: [echo.port],
        limits: { requests: 1, connections: 2 },
      })
      const sockets = [1, 2].map(() => new WebSocket(`ws://127.0.0.1:${door.port}/`))
      await Promise.all(sockets.map(socket => once(socket, 'open')))
      t.same(door.circuit(), { requests: 0, tunnels: 2, pending: 0 })
      const waits = await ask('/')
      t.same(door.circuit(), { requests: 0, tunnels: 2, pending: 1 })
      const third = new WebSocket(`ws://127.0.0.1:${door.port}/`)
      const opened = once(third, 'open')
      await until(() => door.circuit().pending === 2, 'the third to wait')
      sockets[0]!.close()
      await waits.expect('echo')
      await opened
      t.same(door.circuit(), { requests: 0, tunnels: 2, pending: 0 })
      sockets[1]!.terminate()
      third.terminate()
      await until(() => door.circuit().tunnels === 0, 'all to end')
      await calm(t, door)
    })

    t.test('a WebSocket that gives up waiting', async t => {
      const { door, ask } = await scene(t, { engine, limits: { requests: 1 } })
      const first = await ask('/1')
      const socket = new WebSocket(`ws://127.0.0.1:${door.port}/`)
      await until(() => door.circuit().pending === 1, 'it to wait')
      const gone = once(socket, 'error')
      socket.terminate()
      await gone
      await until(() => door.circuit().pending === 0, 'its place')
      first.socket.resetAndDestroy()
      await calm(t, door)
    })

    t.test('who is admitted goes by the newest table, and stays with the cluster it waited for', async t => {
      const split = [{ cluster: 'canary', percent: 100 }]
      const routes = [{ host: '*', path: '/', split }]
      const canary = await stage(t)
      const { door, backend } = await scene(t, {
        engine,
        routes,
        limits: {},
        others: {
          canary: {
            backends: [canary.port],
            resilience: { limits: { ...noLimits, requests: 1 } },
          },
        },
      })
      const paths = ['/1', '/2', '/3', '/gone/4']
      const clients: RawClient[] = []
      for (const [i, path] of paths.entries()) {
        clients.push(await rawClient(door.port, `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`))
        await until(() => door.circuit('canary').pending === i, `${path} to wait`)
      }
      door.publish({ routes: [{ host: '*', path: '/', split: [{ cluster: 'canary', percent: 0 }] }] })
      ;(await canary.act(1)).answer(200, 'one')
      ;(await canary.act(2)).answer(200, 'two')
      await clients[1]!.expect('two')
      door.publish({ routes: [{ host: '*', path: '/3' }] })
      ;(await canary.act(3)).answer(200, 'three')
      await clients[2]!.expect('three')
      await clients[3]!.expect('no_route')
      t.equal(backend.acts.length, 0)
      await calm(t, door, ['web', 'canary'])
    })
  })
