/** A client that ended its half is believed as long as its answer moves, or waits for it to read. */
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import t from 'tap'
import { HalfClosed } from '../../../../../lib/proxy/forward/relay/half-closed.ts'
import { MessageWriter } from '../../../../../lib/proxy/http1/message-writer.ts'
import { clientReadIdleMs, halfClosedSilenceMs } from '../../../../../lib/proxy/limits.ts'
import { closeServer, listenOn } from '../../../../support/traffic.ts'

t.test('as long as it moves, or something waits and not for too long', async t => {
  const socket = { bytesWritten: 0 }
  Object.defineProperty(socket, 'writableLength', { value: 0 })
  const half = new HalfClosed(socket as unknown as Socket)
  socket.bytesWritten = 10
  t.equal(half.reads(false), true, 'it moved')
  t.equal(half.reads(false), false, 'nothing waits, and nothing moves')
  for (let stillMs = 2 * halfClosedSilenceMs; stillMs < clientReadIdleMs; stillMs += halfClosedSilenceMs)
    if (!half.reads(true)) throw new Error(`given up after ${stillMs} ms`)
  t.equal(half.reads(true), false, 'it had its time')
})

t.test('what waits in the kernel’s queue, past the stream, is something that waits', async t => {
  const server = createServer()
  const port = await listenOn(server)
  const far = connect(port, '127.0.0.1')
  far.on('error', () => {})
  const [near] = (await once(server, 'connection')) as [Socket]
  far.pause()
  const writer = new MessageWriter(near)
  while (!writer.waits) {
    writer.begin('x'.repeat(15_000), 'none', 0)
    writer.sendNow()
  }
  t.equal(near.writableLength, 0, 'the stream does not know of it')
  const half = new HalfClosed(near)
  t.equal(half.reads(writer.waits), true)
  t.equal(half.reads(writer.waits), true)
  far.destroy()
  near.destroy()
  await closeServer(server)
})
