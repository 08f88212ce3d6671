/** How the relay treats what comes in odd pieces, what comes late, and readers that take their time. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { SharedReadSocket } from '../../../../../lib/proxy/forward/relay/shared-read-socket.ts'
import { ManualClock } from '../../../../support/manual-clock.ts'
import {
  type FrontDoor,
  openFrontDoor,
  openRawBackend,
  rawClient,
  until,
} from '../../../../support/traffic.ts'

const get = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'
const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'

async function doorTo(
  t: Test,
  onData: Parameters<typeof openRawBackend>[0],
  clock?: ManualClock,
): Promise<FrontDoor> {
  const backend = await openRawBackend(onData)
  const door = await openFrontDoor({ backends: [backend.port], engine: 'relay', ...(clock && { clock }) })
  t.teardown(async () => {
    await door.close()
    await backend.close()
  })
  return door
}

/** Sends each piece after the one before has been read. */
async function inPieces(door: FrontDoor, pieces: readonly string[]) {
  const client = await rawClient(door.port)
  client.socket.setNoDelay(true)
  for (const piece of pieces) {
    client.send(piece)
    await new Promise(resolve => setImmediate(() => setImmediate(resolve)))
  }
  return client
}

t.test('one empty line before a request is forgiven, two are not, whatever the pieces', async t => {
  const door = await doorTo(t, socket => socket.write(ok))
  for (const pieces of [
    [`\r\n${get}`],
    ['\r\n', get],
    ['\r', '\n', get],
    ['\r', `\n${get}`],
    [...`\r\n${get}`],
    [`${get}\r\n${get}`],
    [get, '\r\n', get],
  ]) {
    const client = await inPieces(door, pieces)
    const requests = pieces.join('').split('GET').length - 1
    await until(() => client.text().split(' 200 ').length - 1 === requests, JSON.stringify(pieces))
    t.notMatch(client.text(), / 400 /, JSON.stringify(pieces))
    client.socket.destroy()
  }
  for (const pieces of [
    [`\r\n\r\n${get}`],
    ['\r\n', '\r\n', get],
    ['\r\n', `\r\n${get}`],
    ['\r', '\n\r', `\n${get}`],
    ['\n', get],
    [`\n${get}`],
    ['\r', get],
    [' ', get],
    [...`\r\n\r\n${get}`],
  ]) {
    const client = await inPieces(door, pieces)
    t.match(await client.waitClosed(), /^HTTP\/1\.1 400 /, JSON.stringify(pieces))
  }
})

t.test('empty lines do not keep a connection', async t => {
  const clock = new ManualClock()
  const door = await doorTo(t, socket => socket.write(ok), clock)
  const client = await rawClient(door.port, '\r\n')
  for (let i = 0; i < 12 && !client.closed; i++) {
    await clock.advance(2_000)
    client.send('\r\n')
    await new Promise(resolve => setImmediate(resolve))
  }
  t.match(await client.waitClosed(), /^(HTTP\/1\.1 400 .*)?$/s, 'refused, or closed without a word')
})

t.test('an answer is given to its last byte, however slowly the client reads', async t => {
  for (const [name, request] of [
    ['Connection: close', 'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'],
    ['HTTP/1.0', 'GET / HTTP/1.0\r\n\r\n'],
  ] as const) {
    const clock = new ManualClock()
    const answer = Promise.withResolvers<Socket>()
    const door = await doorTo(t, socket => answer.resolve(socket), clock)
    const client = connect({ port: door.port, host: '127.0.0.1' })
    await once(client, 'connect')
    client.write(request)
    const doorSide = await serverSocket(door.port)
    const backend = await answer.promise
    // The client does not read: bytes fill the kernel's buffers, then begin to wait in ours.
    backend.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
    const piece = Buffer.alloc(0x4000, 'x')
    let sent = 0
    while (doorSide.writableLength === 0) {
      const before = doorSide.bytesWritten
      backend.write(`4000\r\n${piece}\r\n`)
      sent += piece.length
      await until(() => doorSide.bytesWritten >= before + piece.length, 'the piece to be passed on')
    }
    backend.write('0\r\n\r\n')
    await until(() => door.context.exchanges.size === 0, 'the exchange to be over')
    t.ok(doorSide.writableLength > 0, 'some of it has not gone out')
    await clock.advance(10_000)
    let text = ''
    client.on('data', bytes => {
      text += bytes.toString('latin1')
    })
    const [broken] = await once(client, 'close')
    const body = text.slice(text.indexOf('\r\n\r\n') + 4)
    const got = name === 'HTTP/1.0' ? body.length : body.replace(/[^x]/g, '').length
    t.same([broken, got], [false, sent], name)
    if (name !== 'HTTP/1.0') t.match(body, /\r\n0\r\n\r\n$/)
  }
})

t.test('a client that never reads the end of its answer is not waited for for ever', async t => {
  const clock = new ManualClock()
  const door = await doorTo(
    t,
    socket => socket.end(`HTTP/1.1 200 OK\r\n\r\n${'x'.repeat(40_000_000)}`),
    clock,
  )
  const client = connect({ port: door.port, host: '127.0.0.1' })
  client.on('error', () => {})
  await once(client, 'connect')
  client.pause()
  client.write('GET / HTTP/1.0\r\n\r\n')
  const socket = await serverSocket(door.port)
  await until(() => socket.writableNeedDrain, 'the client to hold things up')
  for (let i = 0; i < 8 && !socket.destroyed; i++) await clock.advance(10_000)
  t.ok(socket.destroyed)
  client.destroy()
})

/** The server's end of the one connection to `port`. */
async function serverSocket(port: number): Promise<Socket> {
  let found: Socket | undefined
  await until(() => {
    // Not documented, but the one way to a socket of which nobody tells.
    const handles = (process as unknown as { _getActiveHandles(): unknown[] })._getActiveHandles()
    found = handles.find((one): one is Socket => one instanceof SharedReadSocket && one.localPort === port)
    return found !== undefined
  }, 'the connection to be accepted')
  return found!
}

/** A client that asks and ends its half, and what it has read so far. */
async function halfClosed(door: FrontDoor) {
  const client = connect({ port: door.port, host: '127.0.0.1', allowHalfOpen: true })
  let text = ''
  client.on('data', bytes => {
    text += bytes.toString('latin1')
  })
  client.on('error', () => {})
  await once(client, 'connect')
  client.end(get)
  return { client, got: () => text }
}

t.test(
  'a client that has ended its half gets its answer while it moves, and is given up when it is silent',
  async t => {
    const clock = new ManualClock()
    const answer = Promise.withResolvers<Socket>()
    const door = await doorTo(t, socket => answer.resolve(socket), clock)
    const { client, got } = await halfClosed(door)
    const backend = await answer.promise
    let backendClosed = false
    backend.on('close', () => {
      backendClosed = true
    })
    backend.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n')
    for (let event = 0; event < 4; event++) {
      backend.write(`data: ${event}\n\n`)
      await until(() => got().includes(`data: ${event}`), 'an event')
      await clock.advance(900)
    }
    t.notOk(backendClosed, 'several seconds, never silent for long')
    await clock.advance(5_000)
    await until(() => backendClosed, 'the backend to be let go')
    client.destroy()
  },
)

t.test(
  'a client that has ended its half is waited for, until the head of its answer, for two seconds',
  async t => {
    for (const [waitMs, comes] of [
      [1_500, true],
      [3_000, false],
    ] as const) {
      const clock = new ManualClock()
      const asked = Promise.withResolvers<Socket>()
      const door = await doorTo(t, socket => asked.resolve(socket), clock)
      const { client, got } = await halfClosed(door)
      const backend = await asked.promise
      const letGo = once(backend, 'close')
      const accepted = await serverSocket(door.port)
      await until(() => accepted.readableEnded, 'its end to be seen')
      await clock.advance(waitMs)
      if (comes) {
        backend.write(ok)
        await until(() => got().endsWith('ok'), 'the answer')
      } else {
        await letGo
        t.equal(got(), '', 'it was taken to have left')
      }
      client.destroy()
    }
  },
)

t.test('nothing is sent on a connection that its backend is about to close by its own word', async t => {
  const clock = new ManualClock()
  const connections: Socket[] = []
  const keeping =
    'HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=3\r\nContent-Length: 2\r\n\r\nok'
  const answered = async (socket: Socket) => {
    if (!connections.includes(socket)) connections.push(socket)
    socket.write(keeping)
  }
  const door = await doorTo(t, answered, clock)
  const client = await rawClient(door.port)
  const ask = async (times: number) => {
    client.send(get)
    await until(() => client.text().split(' 200 ').length - 1 === times, `answer ${times}`)
  }
  await ask(1)
  await clock.advance(1_800)
  await ask(2)
  t.equal(connections.length, 1, 'it is used again')
  t.notMatch(client.text(), /keep-alive/i)
  await clock.advance(2_400)
  await until(() => connections[0]!.destroyed || connections[0]!.readableEnded, 'it to be closed by us')
  await ask(3)
  t.equal(connections.length, 2)
})
