import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { PassThrough } from 'node:stream'
import t, { type Test } from 'tap'
import { writeLent } from '../../../lib/proxy/lent-write.ts'

async function pair(t: Test): Promise<{ from: Socket; to: Socket }> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const accepted = once(server, 'connection') as Promise<[Socket]>
  const from = connect((server.address() as AddressInfo).port, '127.0.0.1')
  await once(from, 'connect')
  const [to] = await accepted
  t.teardown(() => {
    from.destroy()
    to.destroy()
    server.close()
  })
  return { from, to }
}

async function readTo(socket: Socket, length: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let got = 0
  for await (const chunk of socket) {
    chunks.push(chunk)
    got += chunk.length
    if (got >= length) break
  }
  return Buffer.concat(chunks)
}

t.test(
  'what is written is a copy: the bytes are the caller’s again at once, whatever still waits',
  async t => {
    const { from, to } = await pair(t)
    const lent = Buffer.alloc(64 * 1024)
    const expected: Buffer[] = []
    // The other end does not read: the kernel's buffers fill up, then pieces of every size wait in the socket.
    for (let i = 0; i < 300; i++) {
      const piece = lent.subarray(0, [7, 900, 3_000, 64 * 1024][i % 4])
      piece.fill(i)
      expected.push(Buffer.from(`<${i}`), Buffer.from(piece), Buffer.from('>'))
      writeLent(from, piece, `<${i}`, '>')
      lent.fill(255)
    }
    t.ok(from.writableLength > 0, 'some of it waits')
    const all = Buffer.concat(expected)
    t.ok((await readTo(to, all.length)).equals(all))
  },
)

t.test('many small pieces that wait hold little more than they are', async t => {
  const { from, to } = await pair(t)
  const block = Buffer.alloc(64 * 1024)
  while (from.writableLength === 0) writeLent(from, block)
  const before = process.memoryUsage().arrayBuffers
  const pieces = 2_000
  for (let i = 0; i < pieces; i++) writeLent(from, block.subarray(0, 100))
  t.ok(from.writableLength >= pieces * 100)
  t.ok(process.memoryUsage().arrayBuffers - before < 4 * pieces * 100, 'not a large memory for each')
  to.resume()
})

t.test('a stream that is no socket may keep what it is given', async t => {
  const stream = new PassThrough()
  const lent = Buffer.from('one')
  writeLent(stream, lent)
  lent.write('two')
  writeLent(stream, lent, '(', ')')
  t.equal(String(stream.read()), 'one(two)')
})
