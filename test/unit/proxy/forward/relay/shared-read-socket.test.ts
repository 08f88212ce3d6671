/** Accepted sockets that are read into one buffer: what Node keeps to itself must still be where we look for it. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { readTogether, SharedReadSocket } from '../../../../../lib/proxy/forward/relay/shared-read-socket.ts'

async function pair(
  t: Test,
): Promise<{ client: Socket; accepted: SharedReadSocket; count(): Promise<number> }> {
  const server = createServer({ allowHalfOpen: true })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const taken = Promise.withResolvers<Socket>()
  server.on('connection', socket => taken.resolve(readTogether(socket)))
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
  await once(client, 'connect')
  const accepted = await taken.promise
  t.teardown(() => {
    client.destroy()
    accepted.destroy()
    server.close()
  })
  if (!(accepted instanceof SharedReadSocket)) throw new Error('this Node keeps its sockets otherwise')
  const count = () =>
    new Promise<number>((resolve, reject) =>
      server.getConnections((error, n) => (error ? reject(error) : resolve(n))),
    )
  return { client, accepted, count }
}

t.test('a reader gets what comes, in a buffer that it may not keep', async t => {
  const { client, accepted } = await pair(t)
  const { client: other, accepted: second } = await pair(t)
  const read = (socket: SharedReadSocket) =>
    new Promise<Buffer>(resolve => {
      socket.reader = resolve
    })
  const first = read(accepted)
  client.write('one')
  const bytes = await first
  t.equal(String(bytes), 'one')
  const next = read(second)
  other.write('two')
  t.equal(String(await next), 'two')
  t.equal(String(bytes), 'two', 'the same memory for every connection')
})

t.test('without a reader it is a socket like any other, whose pieces may be kept', async t => {
  const { client, accepted } = await pair(t)
  const pieces: Buffer[] = []
  accepted.on('data', (bytes: Buffer) => pieces.push(bytes))
  client.write('one')
  await once(accepted, 'data')
  client.write('two')
  await once(accepted, 'data')
  t.same(pieces.map(String), ['one', 'two'])
  t.equal(accepted.remoteAddress, '127.0.0.1')
})

t.test('it pauses and goes on, ends half by half, and the server counts it until it is closed', async t => {
  const { client, accepted, count } = await pair(t)
  let read = ''
  accepted.reader = bytes => {
    read += bytes
    accepted.pause()
  }
  client.write('x'.repeat(1_000_000))
  while (read === '') await new Promise(resolve => setImmediate(resolve))
  const before = read.length
  for (let i = 0; i < 20; i++) await new Promise(resolve => setImmediate(resolve))
  t.equal(read.length, before, 'nothing more while it is paused')
  accepted.reader = bytes => {
    read += bytes
  }
  const ended = once(accepted, 'end')
  client.end()
  accepted.resume()
  await ended
  t.equal(read.length, 1_000_000)
  t.equal(await count(), 1)
  accepted.end('bye')
  client.resume()
  await once(accepted, 'close')
  t.equal(await count(), 0)
})
