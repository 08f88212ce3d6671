/** gRPC end to end, with its own library at both ends: unary and the three streaming kinds, status, metadata, deadlines, cancelling. */
import { once } from 'node:events'
import {
  type ChannelCredentials,
  Client,
  credentials,
  type Deadline,
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceDefinition,
  type ServiceError,
  type StatusObject,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js'
import t, { type Test } from 'tap'
import { TlsHolder } from '../../../lib/proxy/tls/holder.ts'
import { Authority, listenerTls, materialOf } from '../../support/certificates.ts'
import { type FrontDoorOptions, inFlight, openFrontDoor, until } from '../../support/traffic.ts'

interface Answer {
  error: ServiceError | null
  value: string
  head: Metadata
  end: StatusObject
}

const same = (bytes: Buffer) => bytes
const kind = (path: string, requestStream: boolean, responseStream: boolean) => ({
  path: `/test.Echo/${path}`,
  requestStream,
  responseStream,
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
})
/** Messages are plain bytes: what matters is on the wire around them. */
const service: ServiceDefinition = {
  Unary: kind('Unary', false, false),
  Down: kind('Down', false, true),
  Up: kind('Up', true, false),
  Both: kind('Both', true, true),
}

async function backend(t: Test) {
  const seen = { cancelled: 0, deadlines: [] as Deadline[] }
  const server = new Server()
  server.addService(service, {
    Unary: (call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) => {
      seen.deadlines.push(call.getDeadline())
      call.on('cancelled', () => {
        seen.cancelled++
      })
      const text = String(call.request)
      if (text === 'hang') return
      if (text === 'fail') {
        const trailers = new Metadata()
        trailers.set('x-why', 'because')
        return done({ code: status.NOT_FOUND, details: 'no such thing', metadata: trailers })
      }
      const head = new Metadata()
      head.set('x-head', String(call.metadata.get('x-ask')[0] ?? '-'))
      call.sendMetadata(head)
      const trailers = new Metadata()
      trailers.set('x-trailer', 'end')
      done(null, Buffer.from(`${text}!`), trailers)
    },
    Down: (call: ServerWritableStream<Buffer, Buffer>) => {
      for (let i = 0; i < 100; i++) call.write(Buffer.alloc(10_000, i))
      call.end()
    },
    Up: (call: ServerReadableStream<Buffer, Buffer>, done: sendUnaryData<Buffer>) => {
      let bytes = 0
      call.on('data', (chunk: Buffer) => {
        bytes += chunk.length
      })
      call.on('end', () => done(null, Buffer.from(String(bytes))))
    },
    Both: (call: ServerDuplexStream<Buffer, Buffer>) => {
      call.on('data', (chunk: Buffer) => call.write(Buffer.concat([chunk, Buffer.from('!')])))
      call.on('end', () => call.end())
      call.on('cancelled', () => {
        seen.cancelled++
      })
    },
  })
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  )
  t.teardown(() => server.forceShutdown())
  return { port, seen }
}

async function talk(t: Test, over: Partial<FrontDoorOptions>, secure: ChannelCredentials, host: string) {
  const { port, seen } = await backend(t)
  const front = await openFrontDoor({ backends: [port], protocol: 'h2', ...over })
  const client = new Client(`${host}:${front.port}`, secure)
  t.teardown(async () => {
    client.close()
    await front.close()
  })
  const unary = (text: string, options = {}, metadata = new Metadata()) =>
    new Promise<Answer>(resolve => {
      const answer = {} as Answer
      const call = client.makeUnaryRequest(
        '/test.Echo/Unary',
        same,
        same,
        Buffer.from(text),
        metadata,
        options,
        (error, value) => Object.assign(answer, { error, value: String(value) }),
      )
      call.on('metadata', head => Object.assign(answer, { head }))
      call.on('status', end => setImmediate(() => resolve(Object.assign(answer, { end }))))
    })
  return { front, client, seen, unary }
}

const directory = t.testdir()
const ca = new Authority(directory)
const tls = listenerTls([ca.issue('server')])
const ways: Record<string, [Partial<FrontDoorOptions>, ChannelCredentials, string]> = {
  'in the clear': [{ listener: { protocol: 'h2c' } }, credentials.createInsecure(), '127.0.0.1'],
  'over TLS': [
    { listener: { tls }, tls: new TlsHolder(materialOf([tls])) },
    credentials.createSsl(Buffer.from(ca.pem)),
    'localhost',
  ],
}

for (const [how, [over, secure, host]] of Object.entries(ways)) {
  t.test(`${how}: unary calls, metadata both ways, status`, async t => {
    const { front, unary, seen } = await talk(t, over, secure, host)
    const metadata = new Metadata()
    metadata.set('x-ask', 'please')
    const fine = await unary('hello', { deadline: Date.now() + 60_000 }, metadata)
    t.equal(fine.value, 'hello!')
    t.same(fine.head.get('x-head'), ['please'])
    t.same(fine.end.metadata.get('x-trailer'), ['end'])
    t.ok(Number(seen.deadlines[0]) < Date.now() + 61_000, 'the deadline has come along')
    const failed = await unary('fail')
    t.match(failed.error, { code: status.NOT_FOUND, details: 'no such thing' })
    t.same(failed.end.metadata.get('x-why'), ['because'])
    t.equal((await unary('x'.repeat(3_000_000))).value.length, 3_000_001)
    t.equal(inFlight(front), 0)
  })

  t.test(`${how}: the three streaming kinds`, async t => {
    const { front, client } = await talk(t, over, secure, host)
    const down = client.makeServerStreamRequest('/test.Echo/Down', same, same, Buffer.alloc(0))
    let [bytes, messages] = [0, 0]
    down.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      messages++
    })
    const [ended] = await once(down, 'status')
    t.same([ended.code, bytes, messages], [status.OK, 1_000_000, 100])

    const value = await new Promise<Buffer | undefined>((resolve, reject) => {
      const up = client.makeClientStreamRequest('/test.Echo/Up', same, same, (error, sum) =>
        error ? reject(error) : resolve(sum),
      )
      for (let i = 0; i < 100; i++) up.write(Buffer.alloc(10_000))
      up.end()
    })
    t.equal(String(value), '1000000')

    const both = client.makeBidiStreamRequest('/test.Echo/Both', same, same)
    for (const text of ['a', 'b', 'c']) {
      both.write(Buffer.from(text))
      const [chunk] = await once(both, 'data')
      t.equal(String(chunk), `${text}!`, 'back and forth')
    }
    both.end()
    const [done] = await once(both.resume(), 'status')
    t.equal(done.code, status.OK)
    await until(() => inFlight(front) === 0, 'all to be over')
  })
}

t.test('cancelled and too late: the backend hears of both', async t => {
  const [over, secure, host] = ways['in the clear']!
  const { front, client, seen, unary } = await talk(t, over, secure, host)
  const both = client.makeBidiStreamRequest('/test.Echo/Both', same, same)
  both.on('error', () => {})
  both.write(Buffer.from('a'))
  await once(both, 'data')
  both.cancel()
  await until(() => seen.cancelled === 1, 'the cancelling')
  const late = await unary('hang', { deadline: Date.now() + 100 })
  t.equal(late.error?.code, status.DEADLINE_EXCEEDED)
  await until(() => seen.cancelled === 2 && inFlight(front) === 0, 'the end of the call that came too late')
})

t.test('no backend is UNAVAILABLE, no route UNIMPLEMENTED: what gRPC makes of 503 and 404', async t => {
  const { port } = await backend(t)
  const front = await openFrontDoor({
    backends: [port],
    protocol: 'h2',
    listener: { protocol: 'h2c' },
    routes: [{ host: '*', path: '/test.Echo/Unary' }],
  })
  const client = new Client(`127.0.0.1:${front.port}`, credentials.createInsecure())
  t.teardown(async () => {
    client.close()
    await front.close()
  })
  const code = (path: string) =>
    new Promise<number | undefined>(resolve => {
      client.makeUnaryRequest(path, same, same, Buffer.from('x'), error => resolve(error?.code))
    })
  t.equal(await code('/test.Echo/Unary'), undefined)
  t.equal(await code('/other'), status.UNIMPLEMENTED)
  front.board.admit(0, 1, 'none')
  t.equal(await code('/test.Echo/Unary'), status.UNAVAILABLE)
})
