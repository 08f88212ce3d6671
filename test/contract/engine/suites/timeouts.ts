/** Every wait has an end: connect, head, body and request upload; the library has none of these by default. */
import { once } from 'node:events'
import { connect } from 'node:net'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { openBare } from '../../../support/bare-http-proxy-3.ts'
import { ManualClock } from '../../../support/manual-clock.ts'
import { inFlight, openFrontDoor, openRawBackend, rawClient, until } from '../../../support/traffic.ts'

const get = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'

t.test('no head: 504 upstream_header_timeout', async t => {
  const silent = await openRawBackend(() => {})
  const bare = await openBare(silent.port)
  const naive = await rawClient(bare.port, get)
  await until(() => silent.received().includes('GET /'), 'the request at the backend')
  const [behind] = [...silent.sockets]
  t.equal(behind?.timeout ?? 0, 0)
  t.same(
    bare.server.listenerCount('timeout') + bare.errors.length,
    0,
    'bare http-proxy-3 has armed nothing that could end this wait',
  )
  naive.socket.destroy()
  await bare.close()

  const clock = new ManualClock()
  const door = await openFrontDoor({ backends: [silent.port], clock, timeouts: { headerMs: 5_000 } })
  const before = silent.received().length
  const client = await rawClient(door.port, get)
  await until(() => silent.received().length > before, 'the request at the backend')
  await clock.advance(4_900)
  t.equal(client.text(), '', 'not before its time')
  await clock.advance(400)
  t.match(await client.expect('504'), /^HTTP\/1\.1 504 /)
  t.match(client.text(), /upstream_header_timeout/)
  t.equal(inFlight(door), 0)
  await until(() => silent.sockets.size <= 1, 'the backend connection to be destroyed')
  client.socket.destroy()
  await door.close()
  await silent.close()
})

t.test('silence in the middle of a body breaks it; progress keeps it alive', async t => {
  const clock = new ManualClock()
  const backend = await openRawBackend(socket =>
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nA'),
  )
  const door = await openFrontDoor({
    backends: [backend.port],
    clock,
    timeouts: { idleMs: 3_000, headerMs: 1_000 },
  })
  const client = await rawClient(door.port, get)
  await client.expect('\r\n\r\nA')
  for (const letter of 'BCD') {
    await clock.advance(2_500)
    for (const socket of backend.sockets) socket.write(letter)
    await client.expect(letter === 'D' ? 'ABCD' : letter)
  }
  t.notOk(client.closed, 'longer than the limit in all, never silent for as long')
  await clock.advance(3_500)
  await client.waitClosed()
  t.equal(inFlight(door), 0)
  await door.close()
  await backend.close()
})

t.test('a client that stops in the middle of its upload gets 408; the member is not blamed', async t => {
  const clock = new ManualClock()
  const backend = await openRawBackend(() => {})
  const door = await openFrontDoor({ backends: [backend.port], clock, timeouts: { idleMs: 3_000 } })
  const client = await rawClient(door.port, 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf')
  await until(() => backend.received().includes('half'), 'half the body')
  await clock.advance(3_500)
  await client.expect('408')
  t.match(client.text(), /^HTTP\/1\.1 408 [\s\S]*Connection: close/)
  t.equal(door.board.total(0, 'failed'), 0)
  await clock.advance(2_000)
  await client.waitClosed()
  await until(() => backend.sockets.size === 0, 'the half request to be given up')
  await door.close()
  await backend.close()
})

t.test('a connection that nobody accepts: 504 upstream_connect_timeout', async t => {
  // A listener whose thread sleeps, behind a full accept queue: the kernel leaves further handshakes unanswered.
  const sleeper = new Worker(
    `const { parentPort } = require('node:worker_threads')
     const server = require('node:net').createServer()
     server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
       parentPort.postMessage(server.address().port)
       setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0))
     })`,
    { eval: true },
  )
  const [port] = await once(sleeper, 'message')
  const fillers = Array.from({ length: 8 }, () => connect(port, '127.0.0.1').on('error', () => {}))
  await until(() => fillers.filter(socket => !socket.connecting).length >= 2, 'the queue to be full')
  const clock = new ManualClock()
  const door = await openFrontDoor({ backends: [port], clock, timeouts: { connectMs: 1_000 } })
  const client = await rawClient(door.port, get)
  await until(() => inFlight(door) === 1, 'the exchange to be on its member')
  await clock.advance(1_500)
  t.match(await client.expect('connect'), /^HTTP\/1\.1 504 [\s\S]*upstream_connect_timeout/)
  t.equal(inFlight(door), 0)
  await until(() => door.records.length === 1, 'the end of it')
  t.equal(door.records[0]!.ending, 'bC')
  client.socket.destroy()
  await door.close()
  for (const socket of fillers) socket.destroy()
  await sleeper.terminate()
})
