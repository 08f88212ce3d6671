/**
 * The four ways of slowhttptest, small: clients that take their time with their head, with their body, with reading, or that ask for as
 * much as they can in one field. Everybody else is served meanwhile, and the slow ones end by the deadlines.
 */
import t from 'tap'
import { ManualClock } from '../support/manual-clock.ts'
import { openFrontDoor, openRawBackend, type RawClient, rawClient, until } from '../support/traffic.ts'

const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
const large = Buffer.alloc(16 * 1024 * 1024, 'x')
const headMs = 10_000
const idleMs = 30_000

const kinds = {
  head: { count: 90, text: 'GET / HTTP/1.1\r\nHost: x\r\nX-1: a\r\n' },
  trickle: { count: 10, text: 'GET / HTTP/1.1\r\nHost: x\r\n' },
  body: { count: 90, text: 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8192\r\n\r\nfoo=bar' },
  read: { count: 10, text: 'GET /large HTTP/1.1\r\nHost: x\r\n\r\n' },
} as const

t.test('200 slow clients, and a probe that is served', async t => {
  const clock = new ManualClock()
  const backend = await openRawBackend((socket, text) => {
    if (text.includes('/large')) {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${large.length}\r\n\r\n`)
      socket.write(large)
    } else if (text.endsWith('\r\n\r\n')) socket.write(ok)
  })
  const door = await openFrontDoor({
    backends: [backend.port],
    clock,
    engine: 'relay',
    timeouts: { idleMs, headerMs: idleMs },
  })
  const probe = async () => {
    const response = await fetch(door.url)
    t.equal(await response.text(), 'ok', 'a probe is served')
  }
  const clients: Record<keyof typeof kinds, RawClient[]> = { head: [], trickle: [], body: [], read: [] }
  for (const kind of Object.keys(kinds) as (keyof typeof kinds)[]) {
    const { count, text } = kinds[kind]
    for (let i = 0; i < count; i++) {
      const client = await rawClient(door.port)
      if (kind === 'read') client.socket.pause()
      client.send(text)
      clients[kind].push(client)
    }
  }
  await until(
    () => door.listener.exchanges() === kinds.body.count + kinds.read.count,
    'all of them to be there',
  )
  await probe()

  // Heads: what is sent now and then does not gain time.
  for (let second = 0; second < headMs / 1_000; second++) {
    for (const client of clients.trickle) client.send(`X-${second}: b\r\n`)
    await clock.advance(1_000)
  }
  await clock.advance(300)
  for (const client of [...clients.head, ...clients.trickle]) await client.expect('408')
  t.match(clients.trickle[0]!.text(), /^HTTP\/1\.1 408 [\s\S]*Connection: close/)
  await probe()

  // Bodies and readers: it is the silence that counts.
  await clock.advance(idleMs)
  for (const client of clients.body) await client.expect('408')
  await until(() => door.context.exchanges.size === 0, 'every exchange to end')
  await probe()
  await clock.advance(2_000)
  for (const client of clients.read) client.socket.resume()
  const all = Object.values(clients).flat()
  await until(() => all.every(({ closed }) => closed), 'every slow connection to be closed')
  for (const client of clients.read) t.ok(client.text().length < large.length, 'its answer is not whole')
  t.equal(door.board.total(0, 'failed'), 0, 'no member is blamed')
  await door.close()
  await backend.close()
})

t.test('a field that asks for a thousand ranges is only a field', async t => {
  const backend = await openRawBackend(socket => socket.write(ok))
  const door = await openFrontDoor({ backends: [backend.port], engine: 'relay' })
  const ranges = Array.from({ length: 1_000 }, (_, i) => `5-${i}`).join()
  const client = await rawClient(door.port, `GET / HTTP/1.1\r\nHost: x\r\nRange: bytes=0-,${ranges}\r\n\r\n`)
  await client.expect('ok')
  t.match(backend.received(), `Range: bytes=0-,${ranges}\r\n`)
  client.socket.destroy()
  await door.close()
  await backend.close()
})
