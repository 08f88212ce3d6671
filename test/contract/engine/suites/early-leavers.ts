/** Defect E: WebSocket clients that leave before the 101 leave their backend connections behind. */
import t from 'tap'
import { openBare } from '../../../support/bare-http-proxy-3.ts'
import { inFlight, openFrontDoor, openRawBackend, rawClient, until } from '../../../support/traffic.ts'

const handshake =
  'GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
  'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n'
const clients = 5

for (const how of ['end', 'reset'] as const) {
  t.test(`clients leave before the 101: ${how}`, async t => {
    const silent = await openRawBackend(() => {})
    const bare = await openBare(silent.port)
    const leave = async (port: number) => {
      const waiting = await Promise.all(Array.from({ length: clients }, () => rawClient(port, handshake)))
      await until(() => silent.sockets.size === clients, 'all handshakes at the backend')
      for (const { socket } of waiting) how === 'end' ? socket.end() : socket.resetAndDestroy()
      return waiting
    }
    const naive = await leave(bare.port)
    // The proxy has seen that they left once it has served somebody who came after them.
    const late = await rawClient(bare.port, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    await until(() => silent.received().includes('GET / HTTP'), 'a later request at the backend')
    t.ok(silent.sockets.size >= clients, 'bare http-proxy-3 keeps the backend connections')
    late.socket.destroy()
    for (const { socket } of naive) socket.destroy()
    for (const socket of silent.sockets) socket.destroy()
    await until(() => silent.sockets.size === 0, 'a clean start')
    await bare.close()

    const door = await openFrontDoor({ backends: [silent.port] })
    const guarded = await leave(door.port)
    await until(() => silent.sockets.size === 0, 'Tidegate to close the backend connections')
    await until(() => inFlight(door) === 0, 'the member to be left')
    t.equal(door.board.total(0, 'failed'), 0, 'a client that leaves is no failure of the member')
    for (const { socket } of guarded) socket.destroy()
    await door.close()
    await silent.close()
  })
}
