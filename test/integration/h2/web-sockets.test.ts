/** WebSockets over HTTP/2 (RFC 8441), at either end: tunnels like any other, counted, and closed between two frames. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type ClientHttp2Stream, connect, constants, createServer as createServer2 } from 'node:http2'
import t from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { closeFrame } from '../../../lib/proxy/websocket-frames.ts'
import {
  closeServer,
  inFlight,
  listenOn,
  openFrontDoor,
  openRawBackend,
  tunnelCount,
  until,
} from '../../support/traffic.ts'

/** `hello`, masked with zeros, as a client sends it; and as a server does. */
const masked = Buffer.from([0x81, 0x85, 0, 0, 0, 0, ...Buffer.from('hello')])
const plain = Buffer.from([0x81, 5, ...Buffer.from('hello')])

async function chat() {
  const server = createServer()
  const sockets = new WebSocketServer({ server, handleProtocols: protocols => [...protocols][0] ?? false })
  const closes: number[] = []
  sockets.on('connection', socket => {
    socket.on('error', () => {})
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }))
    socket.on('close', code => closes.push(code))
  })
  const port = await listenOn(server)
  const close = async () => {
    for (const socket of sockets.clients) socket.terminate()
    server.closeAllConnections()
    await closeServer(server)
  }
  return { port, closes, close }
}

async function handshake(port: number) {
  const client = connect(`http://127.0.0.1:${port}`)
  client.on('error', () => {})
  if (!client.remoteSettings?.enableConnectProtocol) await once(client, 'remoteSettings')
  const stream = client.request(
    {
      ':method': 'CONNECT',
      ':protocol': 'websocket',
      ':path': '/chat',
      'sec-websocket-version': '13',
      'sec-websocket-protocol': 'talk',
    },
    { endStream: false },
  )
  stream.on('error', () => {})
  const [head] = await once(stream, 'response')
  return { client, stream, head }
}

const received = (stream: ClientHttp2Stream) => {
  let bytes = Buffer.alloc(0)
  stream.on('data', chunk => {
    bytes = Buffer.concat([bytes, chunk])
  })
  return () => bytes
}

t.test('an HTTP/2 client talks to a backend that knows HTTP/1.1', async t => {
  const backend = await chat()
  const door = await openFrontDoor({ backends: [backend.port], listener: { protocol: 'h2c' } })
  const { client, stream, head } = await handshake(door.port)
  t.match(head, { ':status': 200, 'sec-websocket-protocol': 'talk' })
  t.notOk('sec-websocket-accept' in head)
  t.equal(tunnelCount(door), 1)
  t.equal(inFlight(door), 0)
  const got = received(stream)
  stream.write(masked)
  await until(() => got().equals(plain), 'an echo')
  door.context.tunnels.closeAll(1001, 'bye')
  await until(() => got().length > plain.length, 'a Close frame')
  t.same(got().subarray(plain.length), Buffer.from(closeFrame(1001, 'bye', null)))
  stream.end(Buffer.from(closeFrame(1001, '', Buffer.alloc(4))))
  await until(() => tunnelCount(door) === 0 && backend.closes.length === 1, 'the tunnel to end')
  t.same(backend.closes, [1001])
  client.destroy()
  await door.close()
  await backend.close()
})

t.test('a client that leaves, a backend that refuses, a backend that cannot shake hands', async t => {
  const backend = await chat()
  const door = await openFrontDoor({ backends: [backend.port], listener: { protocol: 'h2c' } })
  const { client, stream } = await handshake(door.port)
  stream.close(constants.NGHTTP2_CANCEL)
  await until(() => tunnelCount(door) === 0 && backend.closes.length === 1, 'the tunnel to end')
  client.destroy()
  await door.close()
  await backend.close()

  const answers = [
    'HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno',
    'HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: wrong\r\n\r\n',
  ]
  const raw = await openRawBackend(socket => socket.write(answers.shift()!))
  const front = await openFrontDoor({ backends: [raw.port], listener: { protocol: 'h2c' } })
  const refused = await handshake(front.port)
  t.equal(refused.head[':status'], 403)
  refused.client.destroy()
  const wrong = connect(front.url)
  wrong.on('error', () => {})
  await once(wrong, 'remoteSettings')
  const asked = wrong.request(
    { ':method': 'CONNECT', ':protocol': 'websocket', ':path': '/' },
    { endStream: false },
  )
  asked.on('error', () => {})
  let answered = false
  asked.on('response', () => {
    answered = true
  })
  await new Promise(resolve => asked.once('close', resolve))
  t.notOk(answered, 'a wrong proof is no handshake')
  await until(() => tunnelCount(front) === 0 && inFlight(front) === 0, 'nothing to be left')
  wrong.destroy()
  await front.close()
  await raw.close()
})

t.test('an HTTP/1.1 client talks to a backend that knows HTTP/2, if that takes WebSockets', async t => {
  for (const enableConnectProtocol of [true, false]) {
    const server = createServer2({ settings: { enableConnectProtocol } })
    server.on('stream', (stream, headers) => {
      stream.on('error', () => {})
      t.equal(headers[':protocol'], 'websocket')
      stream.respond({ ':status': 200 })
      // An echo of whole frames: the mask is zeros.
      stream.on('data', (chunk: Buffer) => {
        if (chunk[0] === 0x88) return void stream.end(Buffer.from([0x88, 2, chunk[6]!, chunk[7]!]))
        const mask = chunk.subarray(2, 6)
        const text = chunk.subarray(6).map((byte, i) => byte ^ mask[i & 3]!)
        stream.write(Buffer.from([0x81, text.length, ...text]))
      })
    })
    const port = await listenOn(server)
    const door = await openFrontDoor({ backends: [port], protocol: 'h2' })
    const socket = new WebSocket(`ws://127.0.0.1:${door.port}/chat`)
    socket.on('error', () => {})
    if (!enableConnectProtocol) {
      const [, response] = await once(socket, 'unexpected-response')
      t.equal(response.statusCode, 501)
      response.destroy()
    } else {
      await once(socket, 'open')
      t.equal(tunnelCount(door), 1)
      socket.send('hello')
      const [data] = await once(socket, 'message')
      t.equal(String(data), 'hello')
      door.context.tunnels.closeAll(1012, 'again')
      const [code] = await once(socket, 'close')
      t.equal(code, 1012)
    }
    await until(() => tunnelCount(door) === 0 && inFlight(door) === 0, 'the tunnel to end')
    await door.close()
    await closeServer(server)
  }
})
