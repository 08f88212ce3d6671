/** A drained tunnel gets its Close frame between two frames, whatever is under way; who does not answer is cut after two seconds. */

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { Socket } from 'node:net'
import t from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { ManualClock } from '../../../support/manual-clock.ts'
import {
  closeServer,
  listenOn,
  openFrontDoor,
  openRawBackend,
  rawClient,
  tunnelCount,
  until,
} from '../../../support/traffic.ts'

const part = randomBytes(200_000)

/** Sends one endless fragmented message. */
function babble(socket: WebSocket): void {
  const more = () => {
    if (socket.readyState !== WebSocket.OPEN) return
    socket.send(part, { fin: false, binary: true }, error => {
      if (!error) setImmediate(more)
    })
  }
  more()
}

function moved(socket: WebSocket): number {
  const { _socket } = socket as unknown as { _socket: Socket }
  return _socket.bytesRead + _socket.bytesWritten
}

for (const who of ['backend', 'client', 'both'] as const) {
  t.test(`Close in the middle of endless fragmented messages from: ${who}`, async t => {
    const server = createServer()
    const sockets = new WebSocketServer({ server, maxPayload: 0 })
    const backendCloses: number[] = []
    const problems: string[] = []
    sockets.on('connection', socket => {
      socket.on('error', error => problems.push(`backend: ${error.message}`))
      socket.on('close', code => backendCloses.push(code))
      if (who !== 'client') babble(socket)
    })
    const port = await listenOn(server)
    // Its clock stands still: the two seconds that a Close has are not used up by a machine that is slow to move all this.
    const door = await openFrontDoor({ backends: [port], clock: new ManualClock() })
    const clients = await Promise.all(
      Array.from({ length: 4 }, async () => {
        const socket = new WebSocket(`ws://127.0.0.1:${door.port}`, { maxPayload: 0 })
        socket.on('error', error => problems.push(`client: ${error.message}`))
        await once(socket, 'open')
        if (who !== 'backend') babble(socket)
        return socket
      }),
    )
    const bytesMoved = () => clients.reduce((sum, socket) => sum + moved(socket), 0)
    await until(() => bytesMoved() > 4_000_000, 'traffic to flow')
    const closes = clients.map(socket => once(socket, 'close'))
    door.context.tunnels.closeMember(0, 1, 1001, 'moving')
    for (const close of closes) {
      const [code, reason] = await close
      t.equal(code, 1001)
      t.equal(String(reason), 'moving')
    }
    await until(() => tunnelCount(door) === 0, 'all tunnels to be gone')
    await until(() => backendCloses.length === clients.length, 'the backend to see every close')
    t.same(problems, [], 'nobody saw a protocol error')
    t.same(
      backendCloses,
      clients.map(() => 1001),
      'the backend is told too',
    )
    await door.close()
    await closeServer(server)
  })
}

t.test('a client that does not answer is cut after two seconds; one inside a frame too', async t => {
  const clock = new ManualClock()
  const backend = await openRawBackend((socket, text) => {
    if (!text.endsWith('\r\n\r\n')) return
    socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n')
    // The head of a frame of 100 bytes, and not one byte of it.
    socket.write(Buffer.from([0x82, 100]))
  })
  const door = await openFrontDoor({ backends: [backend.port], clock })
  const client = await rawClient(
    door.port,
    'GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
  )
  await client.expect('\x82d')
  door.context.tunnels.closeMember(0, 1, 1012, 'restart')
  await until(() => backend.received().includes('\x88\x89'), 'the masked Close at the backend')
  t.notMatch(client.text(), /restart/, 'nothing is put inside a frame')
  await clock.advance(1_900)
  t.equal(tunnelCount(door), 1)
  await clock.advance(500)
  await client.waitClosed()
  t.equal(tunnelCount(door), 0)
  await clock.advance(2_500)
  await until(() => backend.sockets.size === 0, 'the backend connection to be gone')
  await door.close()
  await backend.close()
})

t.test('cut ends at once and only the named member', async t => {
  const make = async () => {
    const server = createServer()
    const sockets = new WebSocketServer({ server })
    sockets.on('connection', socket => socket.on('error', () => {}))
    return { server, port: await listenOn(server) }
  }
  const backends = [await make(), await make()]
  const door = await openFrontDoor({ backends: backends.map(({ port }) => port) })
  const sockets = [new WebSocket(`ws://127.0.0.1:${door.port}`), new WebSocket(`ws://127.0.0.1:${door.port}`)]
  await Promise.all(sockets.map(socket => once(socket, 'open')))
  t.same([tunnelCount(door, 0), tunnelCount(door, 1)], [1, 1])
  door.context.tunnels.cutMember(0, 2)
  t.equal(tunnelCount(door, 0), 1, 'another tenancy of the slot is another member')
  door.context.tunnels.cutMember(0, 1)
  t.same([tunnelCount(door, 0), tunnelCount(door, 1)], [0, 1])
  await door.close()
  for (const { server } of backends) {
    server.closeAllConnections()
    await closeServer(server)
  }
})
