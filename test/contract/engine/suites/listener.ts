/** The listener's own answers and its end. */
import t from 'tap'
import { ManualClock } from '../../../support/manual-clock.ts'
import { openFrontDoor, openRawBackend, rawClient, until } from '../../../support/traffic.ts'

const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'

t.test('what is no request gets a fitting answer and the end of the connection', async t => {
  const clock = new ManualClock()
  const door = await openFrontDoor({ backends: [1], clock })
  const cases: [string, string][] = [
    ['NONSENSE\r\n\r\n', '400'],
    ['GET / HTTP/9.9\r\nHost: x\r\n\r\n', '400'],
    [`GET / HTTP/1.1\r\nHost: x\r\nA: ${'a'.repeat(17_000)}\r\n\r\n`, '431'],
    ['CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n', '501'],
  ]
  for (const [bytes, status] of cases) {
    const client = await rawClient(door.port, bytes)
    const got = await client.waitClosed()
    t.match(got, new RegExp(`^HTTP/1\\.1 ${status} [\\s\\S]*Connection: close`), bytes.slice(0, 20))
  }
  await door.close()
})

t.test('after stop: what runs ends, a kept connection is told to close, nobody new gets in', async t => {
  const backend = await openRawBackend((socket, text) => {
    if (!text.includes('/slow')) socket.write(ok)
  })
  const door = await openFrontDoor({ backends: [backend.port] })
  const kept = await rawClient(door.port, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
  await kept.expect('ok')
  const slow = await rawClient(door.port, 'GET /slow HTTP/1.1\r\nHost: x\r\n\r\n')
  await until(() => backend.received().includes('/slow'), 'the slow request')
  t.equal(door.listener.exchanges(), 1)
  door.listener.stop()
  t.notOk(kept.closed, 'an idle connection is not cut')
  kept.send('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
  t.match(await kept.waitClosed(), /Connection: close\r\n\r\nok$/)
  for (const socket of backend.sockets) socket.write(ok)
  t.match(await slow.expect('ok'), /^HTTP\/1\.1 200 /)
  await t.rejects(fetch(door.url), 'refused')
  await until(() => door.listener.exchanges() === 0, 'everything to end')
  await door.close()
  await backend.close()
})
