/** The event stream over real WebSockets: kept events, live ones, dead and slow clients. */
import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import { WebSocket } from 'ws'
import type { StampedEvent } from '../../../lib/events.ts'
import { startAdmin } from '../../support/admin.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { until } from '../../support/wait.ts'

const generation = (number: number) => ({ type: 'generation', generation: number, members: 1 }) as const

async function open(t: { teardown(fn: () => void): void }, url: string) {
  const socket = new WebSocket(url)
  const seen: StampedEvent[] = []
  socket.on('message', data => seen.push(JSON.parse(String(data))))
  t.teardown(() => socket.terminate())
  await once(socket, 'open')
  return { socket, seen, seqs: () => seen.map(({ seq }) => seq) }
}

t.test('kept events after `since` come first, then what happens', async t => {
  const { control, port } = await startAdmin(t)
  for (const n of [1, 2, 3]) control.eventLog.publish(generation(n))
  const all = await open(t, `ws://127.0.0.1:${port}/api/v1/events?since=0`)
  const late = await open(t, `ws://127.0.0.1:${port}/api/v1/events?since=2`)
  const live = await open(t, `ws://127.0.0.1:${port}/api/v1/events`)
  control.eventLog.publish(generation(4))
  await until('the events', () => all.seen.length === 4 && late.seen.length === 2 && live.seen.length === 1)
  t.strictSame(all.seqs(), [1, 2, 3, 4])
  t.strictSame(late.seqs(), [3, 4])
  t.strictSame(live.seen, [{ seq: 4, at: '2026-01-02T00:00:00.000Z', event: generation(4) }])
})

t.test('a client that does not answer pings is ended, one that does stays', async t => {
  const clock = new ManualClock()
  const { port } = await startAdmin(t, { clock })
  const good = await open(t, `ws://127.0.0.1:${port}/api/v1/events`)
  const deaf = connect(port, '127.0.0.1')
  t.teardown(() => deaf.destroy())
  const key = Buffer.alloc(16, 7).toString('base64')
  deaf.write(
    `GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n\r\n`,
  )
  await once(deaf, 'data')
  let closed = false
  deaf.on('close', () => {
    closed = true
  })
  const pinged = once(good.socket, 'ping')
  await clock.advance(30_000)
  await pinged
  t.notOk(closed, 'one missed turn is not yet the end')
  // Our pong is ahead of this ping on the same connection: its reply says that the pong has arrived.
  good.socket.ping()
  await once(good.socket, 'pong')
  await clock.advance(30_000)
  await until('the deaf client to be ended', () => closed)
  t.equal(good.socket.readyState, good.socket.OPEN)
})

t.test('a client that reads too slowly is closed with 1013 and the others go on', async t => {
  const { control, port } = await startAdmin(t, { eventBytesMax: 256 * 1024 })
  const slow = await open(t, `ws://127.0.0.1:${port}/api/v1/events`)
  const good = await open(t, `ws://127.0.0.1:${port}/api/v1/events`)
  const code = once(slow.socket, 'close').then(([code]) => code)
  slow.socket.pause()
  const detail = 'x'.repeat(64 * 1024)
  const published = 400
  for (let i = 0; i < published; i++) {
    const heard = once(good.socket, 'message')
    control.eventLog.publish({ type: 'thread', thread: i, status: 'started', detail })
    await heard
  }
  slow.socket.resume()
  t.equal(await code, 1013)
  t.ok(slow.seen.length < published, 'it was cut short')
  t.equal(good.seen.length, published)
})

t.test('closing the server says goodbye with 1001', async t => {
  const { server, port } = await startAdmin(t)
  const { socket } = await open(t, `ws://127.0.0.1:${port}/api/v1/events`)
  const code = once(socket, 'close').then(([code]) => code)
  await server.close()
  t.equal(await code, 1001)
})

t.test('messages from a client are ignored, large ones end it', async t => {
  const { control, port } = await startAdmin(t)
  const { socket, seen } = await open(t, `ws://127.0.0.1:${port}/api/v1/events`)
  socket.send('hello')
  control.eventLog.publish(generation(1))
  await until('the event', () => seen.length === 1)
  const code = once(socket, 'close').then(([code]) => code)
  socket.send('x'.repeat(5000))
  t.equal(await code, 1009)
})
