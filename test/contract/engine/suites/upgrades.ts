/** Upgrades: h2c and refusals (defect J and the library's relay of non-101 answers), affinity's cookie, tunnels that end well. */

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import t from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { openBare } from '../../../support/bare-http-proxy-3.ts'
import { ManualClock } from '../../../support/manual-clock.ts'
import {
  closeServer,
  inFlight,
  listenOn,
  openFrontDoor,
  openRawBackend,
  rawClient,
  tunnelCount,
  until,
} from '../../../support/traffic.ts'

const upgrade = (protocol: string) =>
  `GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\n` +
  'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n'

async function chat() {
  const server = createServer((request, response) => response.end(`plain ${request.headers.upgrade ?? '-'}`))
  const sockets = new WebSocketServer({ server })
  const closes: { code: number; reason: string }[] = []
  sockets.on('connection', socket => {
    socket.on('error', () => {})
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }))
    socket.on('close', (code, reason) => closes.push({ code, reason: String(reason) }))
  })
  const port = await listenOn(server)
  const close = async () => {
    for (const socket of sockets.clients) socket.terminate()
    server.closeAllConnections()
    await closeServer(server)
  }
  return { port, sockets, closes, close }
}

const open = async (port: number) => {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/chat`)
  socket.on('error', () => {})
  await once(socket, 'open')
  return socket
}

t.test('J: Upgrade: h2c is ignored and the request served', async t => {
  const backend = await chat()
  const bare = await openBare(backend.port)
  const naive = await rawClient(bare.port, upgrade('h2c'))
  t.equal(await naive.waitClosed(), '', 'bare http-proxy-3 drops the connection without a word')
  await bare.close()
  const door = await openFrontDoor({ backends: [backend.port] })
  const client = await rawClient(door.port, upgrade('h2c'))
  t.match(await client.expect('plain'), /^HTTP\/1\.1 200 [\s\S]*plain -$/)
  client.socket.destroy()
  await door.close()
  await backend.close()
})

t.test('an upgrade with a body is a plain request', async t => {
  const backend = await chat()
  const door = await openFrontDoor({ backends: [backend.port] })
  const request = upgrade('websocket').replace('\r\n\r\n', '\r\nContent-Length: 5\r\n\r\nhello')
  const client = await rawClient(door.port, request.replace('GET', 'POST'))
  t.match(await client.expect('plain'), /plain -$/)
  client.socket.destroy()
  await door.close()
  await backend.close()
})

t.test('a refusal is relayed whole, with back-pressure and every field', async t => {
  const bodyBytes = 64 * 1024 * 1024
  let written = 0
  const backend = await openRawBackend(socket => {
    socket.write(
      `HTTP/1.1 403 Forbidden\r\nContent-Length: ${bodyBytes}\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nWWW-Authenticate: A\r\nWWW-Authenticate: B\r\n\r\n`,
    )
    const more = () => {
      while (written < bodyBytes) {
        written += 65_536
        if (!socket.write(Buffer.alloc(65_536, 'x'))) return void socket.once('drain', more)
      }
    }
    more()
  })
  const door = await openFrontDoor({ backends: [backend.port] })
  const client = await rawClient(door.port)
  client.socket.pause()
  client.send(upgrade('websocket'))
  let last = -1
  // The client reads nothing: the backend must come to a stand.
  await until(() => {
    const still = written === last && written > 0
    last = written
    return still && [...backend.sockets][0]!.writableNeedDrain
  }, 'the backend to be held back')
  t.ok(written < bodyBytes)
  client.socket.resume()
  const got = await client.waitClosed()
  const [head = '', body = ''] = got.split('\r\n\r\n')
  t.match(head, /^HTTP\/1\.1 403 /)
  t.equal(head.match(/^set-cookie: /gim)?.length, 2)
  t.equal(head.match(/^www-authenticate: /gim)?.length, 2)
  t.equal(body.length, bodyBytes)
  t.equal(inFlight(door), 0)
  await door.close()
  await backend.close()
})

t.test(
  'a tunnel is counted, carries bytes both ways from the first, and is forgotten when it ends',
  async t => {
    const backend = await chat()
    const door = await openFrontDoor({
      backends: [backend.port],
      affinity: { method: 'cookie', name: 'tg', ttlSeconds: 60 },
    })
    const socket = new WebSocket(door.url.replace('http', 'ws'))
    const [[response]] = await Promise.all([once(socket, 'upgrade'), once(socket, 'open')])
    t.match(response.headers['set-cookie'], [/^tg=/], 'affinity follows the upgrade')
    t.same([inFlight(door), tunnelCount(door), door.context.tunnels.size], [0, 1, 1])
    const payload = randomBytes(300_000)
    socket.send(payload)
    const [echo] = await once(socket, 'message')
    t.ok(payload.equals(echo))
    socket.close(4000, 'enough')
    const [code] = await once(socket, 'close')
    t.equal(code, 4000)
    await until(
      () => tunnelCount(door) === 0 && door.context.tunnels.size === 0,
      'the tunnel to be forgotten',
    )
    t.same(backend.closes, [{ code: 4000, reason: 'enough' }])
    await door.close()
    await backend.close()
  },
)

t.test('bytes sent before the 101 wait for it', async t => {
  let answered = false
  const backend = await openRawBackend((socket, text) => {
    if (answered || !text.includes('\r\n\r\n')) return
    answered = true
    t.notMatch(text, /EARLY/)
    socket.write(
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nGREETING',
    )
  })
  const door = await openFrontDoor({ backends: [backend.port] })
  const client = await rawClient(door.port, `${upgrade('websocket')}EARLY`)
  await client.expect('GREETING')
  await until(() => backend.received().includes('EARLY'), 'the early bytes')
  client.socket.destroy()
  await door.close()
  await backend.close()
})

t.test('a backend that switches to something else is not believed', async t => {
  const backend = await openRawBackend(socket =>
    socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: Upgrade\r\n\r\n'),
  )
  const door = await openFrontDoor({ backends: [backend.port] })
  const client = await rawClient(door.port, upgrade('websocket'))
  t.match(await client.waitClosed(), /^HTTP\/1\.1 502 /)
  t.same([inFlight(door), tunnelCount(door)], [0, 0])
  await door.close()
  await backend.close()
})

t.test('an end that breaks takes the other with it, and the process stays', async t => {
  const backend = await chat()
  const door = await openFrontDoor({ backends: [backend.port] })
  const first = await open(door.port)
  const seen = once(first, 'close')
  for (const socket of backend.sockets.clients) socket.terminate()
  t.equal((await seen)[0], 1006)
  const second = await open(door.port)
  ;(second as unknown as { _socket: { resetAndDestroy(): void } })._socket.resetAndDestroy()
  await until(() => tunnelCount(door) === 0, 'both tunnels to be gone')
  await until(() => backend.sockets.clients.size === 0, 'the backend to notice')
  await door.close()
  await backend.close()
})

t.test('a silent tunnel is closed with a Close frame, a busy one is not', async t => {
  const clock = new ManualClock()
  const backend = await chat()
  const door = await openFrontDoor({ backends: [backend.port], clock, timeouts: { tunnelIdleMs: 30_000 } })
  const socket = await open(door.port)
  await clock.advance(25_000)
  socket.send('still here')
  await once(socket, 'message')
  await clock.advance(25_000)
  t.equal(tunnelCount(door), 1)
  const closed = once(socket, 'close')
  await clock.advance(6_000)
  t.equal((await closed)[0], 1001)
  await until(() => tunnelCount(door) === 0, 'the tunnel to be forgotten')
  await door.close()
  await backend.close()
})
