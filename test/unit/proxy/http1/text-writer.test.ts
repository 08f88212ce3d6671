/** Text past the stream: the same bytes in the same order, whatever the kernel takes, and errors as a stream tells them. */
import { once } from 'node:events'
import { connect, createServer, Socket } from 'node:net'
import t, { type Test } from 'tap'
import { TextWriter } from '../../../../lib/proxy/http1/text-writer.ts'
import { closeServer, listenOn, until } from '../../../support/traffic.ts'

async function pair(t: Test) {
  const server = createServer()
  const port = await listenOn(server)
  const far = connect(port, '127.0.0.1')
  const [near] = (await once(server, 'connection')) as [Socket]
  if (far.connecting) await once(far, 'connect')
  far.on('error', () => {})
  t.teardown(async () => {
    far.destroy()
    near.destroy()
    await closeServer(server)
  })
  return { near, far }
}

/** How often the socket's stream was asked to write. */
function counted(socket: Socket): { writes: number } {
  const seen = { writes: 0 }
  const write = socket.write
  socket.write = function (this: Socket, ...args: unknown[]) {
    seen.writes++
    return write.apply(this, args as Parameters<typeof write>)
  } as typeof socket.write
  return seen
}

t.test(
  'the stream is asked once in a process, to learn from, and what arrives is what was written',
  async t => {
    const { near, far } = await pair(t)
    const got: Buffer[] = []
    far.on('data', chunk => got.push(chunk))
    const seen = counted(near)
    const writer = new TextWriter(near)
    const pieces = Array.from({ length: 200 }, (_, i) => `${i} ${'é'.repeat(i)}\n`)
    for (const piece of pieces) writer.write(piece)
    t.equal(seen.writes, 1, 'Node has what this is built on')
    const expected = Buffer.from(pieces.join(''), 'latin1')
    await until(() => Buffer.concat(got).length === expected.length, 'all of it')
    t.ok(Buffer.concat(got).equals(expected), 'in order, as latin1')
    t.equal(near.bytesWritten, expected.length, 'and counted')
  },
)

t.test(
  'when the kernel is full the order stays, the stream bounds the rest, and it is direct again afterwards',
  async t => {
    const { near, far } = await pair(t)
    far.pause()
    const seen = counted(near)
    const writer = new TextWriter(near)
    let sent = ''
    const write = (text: string) => {
      sent += text
      writer.write(text)
    }
    for (let i = 0; !near.writableNeedDrain; i++) write(`${i} ${'x'.repeat(15_000)}\n`)
    t.ok(near.writableLength < 100_000, `${near.writableLength} bytes wait in the stream`)
    near.write('by the stream\n')
    sent += 'by the stream\n'
    write('and after\n')
    let got = ''
    far.on('data', chunk => {
      got += chunk.toString('latin1')
    })
    far.resume()
    await until(() => got.length === sent.length, 'all of it')
    t.ok(got === sent, 'in order')
    await until(() => near.writableLength === 0, 'the stream to be empty')
    const before = seen.writes
    write('again\n')
    t.equal(seen.writes, before, 'directly')
    await until(() => got === sent, 'the last')
  },
)

t.test('an end waits for what waits', async t => {
  const { near, far } = await pair(t)
  far.pause()
  const writer = new TextWriter(near)
  let sent = 0
  const text = 'y'.repeat(16_000)
  while (near.writableLength === 0) {
    writer.write(text)
    sent += text.length
  }
  near.end()
  let got = 0
  far.on('data', chunk => {
    got += chunk.length
  })
  far.resume()
  await once(far, 'end')
  t.equal(got, sent)
})

t.test('to one that was ended nothing is written, and it is no error', async t => {
  const { near, far } = await pair(t)
  const writer = new TextWriter(near)
  let got = ''
  far.on('data', chunk => {
    got += chunk.toString('latin1')
  })
  writer.write('last')
  near.end()
  await new Promise(resolve => near.once('finish', resolve))
  writer.write('too late')
  await once(far, 'end')
  t.equal(got, 'last')
})

t.test('a connection that is gone is told as by the stream', async t => {
  const { near, far } = await pair(t)
  const writer = new TextWriter(near)
  const errors: string[] = []
  near.on('error', error => errors.push((error as NodeJS.ErrnoException).code ?? ''))
  const closed = new Promise(resolve => near.once('close', resolve))
  far.resetAndDestroy()
  await until(() => {
    if (!near.destroyed) writer.write('z')
    return near.destroyed
  }, 'the error')
  await closed
  t.equal(errors.length, 1)
  t.match(errors[0], /^(EPIPE|ECONNRESET)$/)
  writer.write('nobody there')
})

t.test('one that breaks while text waits', async t => {
  const { near, far } = await pair(t)
  far.pause()
  const writer = new TextWriter(near)
  near.on('error', () => {})
  const text = 'w'.repeat(200_000)
  const handle = (near as unknown as { _handle: { writeQueueSize: number } })._handle
  while (handle.writeQueueSize === 0) writer.write(text)
  t.equal(near.writableLength, 0, 'it waits past the stream')
  t.equal(writer.waiting, true)
  const closed = new Promise(resolve => near.once('close', resolve))
  far.resetAndDestroy()
  await closed
  t.pass('is closed')
})

t.test('a socket that has no such connection is written to as a stream', async t => {
  const written: string[] = []
  const socket = Object.assign(Object.create(Socket.prototype) as Socket, {
    write: (text: string) => written.push(text) > 0,
  })
  Object.defineProperty(socket, 'writableLength', { value: 0 })
  Object.defineProperty(socket, 'writable', { value: true })
  Object.defineProperty(socket, 'connecting', { value: false })
  new TextWriter(socket).write('plain')
  t.same(written, ['plain'])
})
