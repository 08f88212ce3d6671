/** The WebSocket origin: sends every message back to its tunnel, and 100 bytes to whoever asks without an upgrade. Prints its port. */
import { createServer } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { acceptKey, FrameReader, frame } from '../load/frames.ts'

const server = createServer((_request, response) => response.end('x'.repeat(100)))
server.on('upgrade', (request, stream) => {
  const socket = stream as Socket
  const accept = acceptKey(String(request.headers['sec-websocket-key']))
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
  )
  socket.setNoDelay(true)
  const reader = new FrameReader()
  socket.on('error', () => socket.destroy())
  socket.on('data', chunk => {
    for (const payload of reader.read(chunk)) socket.write(frame(payload, null))
    if (reader.closed) socket.end()
  })
  // A client that is killed says no Close, and its proxy passes on the bare end: whoever kept those sockets would have no descriptors
  // left after twenty rounds, and answer nobody any more.
  socket.on('end', () => socket.end())
})
server.listen({ host: '127.0.0.1', port: 0, backlog: 4_096 }, () => {
  process.stdout.write(`${(server.address() as AddressInfo).port}\n`)
})
