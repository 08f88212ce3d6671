/**
 * HTTP/2 through a whole Tidegate with two threads, over TLS: affinity, what clients are told when a listener changes and when the
 * process ends, WebSockets of RFC 8441 that outlive a reload and are told by a drain, and gRPC to a backend behind TLS.
 */
import { once } from 'node:events'
import { type ClientHttp2Session, type ClientHttp2Stream, connect } from 'node:http2'
import { Client, credentials, Server, ServerCredentials, type ServerDuplexStream } from '@grpc/grpc-js'
import t, { type Test } from 'tap'
import { closeFrame } from '../../../lib/proxy/websocket-frames.ts'
import { Authority, text } from '../../support/certificates.ts'
import { origin } from '../../support/origin.ts'
import { reloadable } from '../../support/reloadable.ts'
import { until } from '../../support/wait.ts'

const ca = new Authority(t.testdir())
const pair = ca.issue('server')

type Ports = Readonly<Record<string, number>>

function document(ports: Ports, listener: object = {}, cluster: object = {}) {
  const backends = Object.entries(ports).map(([id, port]) => ({ id, address: `127.0.0.1:${port}` }))
  const tls = { certificates: [{ cert: pair.cert, key: pair.key }], alpn: ['h2', 'http/1.1'] }
  return {
    listeners: [{ address: '127.0.0.1:0', tls: { ...tls, ...listener } }],
    threads: 2,
    admin: { address: '127.0.0.1:0' },
    store: { kind: 'memory' },
    overload: { max_event_loop_delay: '60s' },
    shutdown: { grace: '30s' },
    clusters: [{ id: 'web', backends, balance: 'round_robin', health: { healthy_threshold: 1 }, ...cluster }],
  }
}

async function scene(t: Test, ports: Ports, cluster: object = {}) {
  const door = await reloadable(t, document(ports, {}, cluster))
  const ready = () => door.server.control.backends('web').every(({ state }) => state === 'ready')
  await until('all to be ready', ready)
  const open = async () => {
    const client = connect(`https://127.0.0.1:${door.port()}`, { ca: ca.pem, servername: 'localhost' })
    client.on('error', () => {})
    t.teardown(() => client.destroy())
    const told = { goaway: null as number | null, closed: false }
    client.on('goaway', code => {
      told.goaway = code
    })
    client.on('close', () => {
      told.closed = true
    })
    await once(client, 'connect')
    return { client, told }
  }
  return { door, open }
}

async function get(client: ClientHttp2Session, path: string, cookie = '') {
  const stream = client.request({ ':path': path, ...(cookie === '' ? {} : { cookie }) })
  const [head] = await once(stream, 'response')
  let body = ''
  stream.on('data', chunk => {
    body += chunk
  })
  await once(stream, 'close')
  return { status: head[':status'], cookie: head['set-cookie']?.[0]?.split(';')[0] ?? '', body }
}

/** A backend whose answers to `/slow` are finished by the test. */
async function slow(t: Test) {
  const held: (() => void)[] = []
  const { port } = await origin(t, 'a', (request, response) => {
    if (request.url !== '/slow') return void response.end('a')
    response.write('begun ')
    held.push(() => response.end('and done'))
  })
  return { port, held }
}

async function begun(client: ClientHttp2Session) {
  const stream = client.request({ ':path': '/slow' })
  let body = ''
  stream.on('data', chunk => {
    body += chunk
  })
  await until('its answer to begin', () => body === 'begun ')
  return { closed: once(stream, 'close'), body: () => body, code: () => stream.rstCode }
}

t.test(
  'a cookie leads back to its backend on any connection, and streams of one connection go their own ways',
  async t => {
    const names = ['a', 'b', 'c']
    const origins = await Promise.all(names.map(name => origin(t, name)))
    const ports = Object.fromEntries(origins.map(({ port }, i) => [names[i]!, port]))
    const { open } = await scene(t, ports, { affinity: { method: 'cookie' } })
    const first = await open()
    const homes = new Map<string, string>()
    await until('all three', async () => {
      const { body, cookie } = await get(first.client, '/')
      t.ok(cookie.startsWith('tidegate='))
      homes.set(body, cookie)
      return homes.size === 3
    })
    // Each on a connection of its own, so both threads are asked, and all at a time on one.
    const others = await Promise.all([open(), open(), open(), open()])
    for (const { client } of [first, ...others]) {
      const answers = await Promise.all([...homes].map(([, cookie]) => get(client, '/', cookie)))
      t.strictSame(
        answers.map(({ status, body, cookie }) => [status, body, cookie]),
        [...homes.keys()].map(name => [200, name, '']),
      )
    }
  },
)

t.test(
  'a listener that changes, and the end of the process: GOAWAY, and what is under way is finished',
  async t => {
    const backend = await slow(t)
    const { door, open } = await scene(t, { a: backend.port })
    const [busy, idle] = [await open(), await open()]
    const answer = await begun(busy.client)
    const { changes } = await door.become(document({ a: backend.port }, { handshake_timeout: '7s' }))
    t.strictSame(changes, ['listener 127.0.0.1:0 changed'])
    await until('both to be told', () => busy.told.goaway === 0 && idle.told.goaway === 0)
    await until('the idle one to be closed', () => idle.told.closed)
    t.notOk(busy.told.closed)
    backend.held.shift()!()
    await answer.closed
    t.strictSame([answer.body(), answer.code()], ['begun and done', 0])
    await until('the other one too', () => busy.told.closed)

    const last = await open()
    t.equal((await get(last.client, '/')).body, 'a', 'the listener that took its place')
    const final = await begun(last.client)
    const closing = door.server.close()
    await until('it to be told', () => last.told.goaway === 0)
    t.notOk(last.told.closed)
    backend.held.shift()!()
    await final.closed
    t.strictSame([final.body(), final.code()], ['begun and done', 0])
    await closing
    t.ok(last.told.closed)
  },
)

/** `hello`, masked with zeros, as a client sends it; and as a server does. */
const masked = Buffer.from([0x81, 0x85, 0, 0, 0, 0, ...Buffer.from('hello')])
const plain = Buffer.from([0x81, 5, ...Buffer.from('hello')])

async function webSocket(client: ClientHttp2Session) {
  if (!client.remoteSettings?.enableConnectProtocol) await once(client, 'remoteSettings')
  const head = {
    ':method': 'CONNECT',
    ':protocol': 'websocket',
    ':path': '/ws',
    'sec-websocket-version': '13',
  }
  const stream: ClientHttp2Stream = client.request(head, { endStream: false })
  stream.on('error', () => {})
  let got = Buffer.alloc(0)
  stream.on('data', chunk => {
    got = Buffer.concat([got, chunk])
  })
  const [response] = await once(stream, 'response')
  t.equal(response[':status'], 200)
  const echo = async () => {
    got = Buffer.alloc(0)
    stream.write(masked)
    await until('the echo', () => got.equals(plain))
    got = Buffer.alloc(0)
  }
  await echo()
  return { stream, echo, got: () => got }
}

t.test('a WebSocket over HTTP/2 outlives reloads, and is told by the drain of its backend', async t => {
  const [a, b] = [await origin(t, 'a'), await origin(t, 'b')]
  const ports = { a: a.port, b: b.port }
  const { door, open } = await scene(t, ports)
  const { client, told } = await open()
  const sockets = [await webSocket(client), await webSocket(client)]
  const tunnels = () => door.server.control.backends('web').map(one => one.tunnels)
  await until('one on each', () => tunnels().join() === '1,1')
  const changed = { balance: 'random', timeouts: { idle: '7s' } }
  t.ok((await door.become(document(ports, {}, changed))).changed)
  for (const { echo } of sockets) await echo()
  t.equal(told.goaway, null, 'and so does its connection, where its listener stays')
  t.ok((await door.become(document(ports, { handshake_timeout: '7s' }, changed))).changed)
  await until('to begin nothing new here', () => told.goaway === 0)
  for (const { echo } of sockets) await echo()
  t.strictSame(tunnels(), [1, 1])

  const policy = { gracePeriodMs: 60_000, closeSpreadMs: 60_000, tunnels: 'close' } as const
  for (const [backend, closeCode] of [
    ['a', 1001],
    ['b', 1012],
  ] as const) {
    const left = sockets.filter(({ stream }) => !stream.destroyed && !stream.closed)
    const drain = { kind: 'drain_backend', cluster: 'web', backend } as const
    // Shorter than a Close needs: it is told at once.
    await door.server.control.execute(
      { ...drain, policy: { ...policy, gracePeriodMs: 1_000, closeSpreadMs: 0, closeCode } },
      'test',
    )
    const one = await until('one to be told', () => left.find(({ got }) => got().length > 0))
    const close = Buffer.from(closeFrame(closeCode, '', null)).subarray(2, 4)
    t.strictSame([one.got()[0], one.got().subarray(2, 4)], [0x88, close])
    one.stream.end(Buffer.from(closeFrame(closeCode, '', Buffer.alloc(4))))
    await once(one.stream, 'close')
    for (const other of left) if (other !== one) await other.echo()
  }
  await until('nothing to be left', () => tunnels().join() === '0,0')
  await until('the connection to end after its last stream', () => told.closed)
})

t.test('gRPC by its own library, to a backend behind TLS whose name is verified', async t => {
  const same = (bytes: Buffer) => bytes
  const serialize = { requestSerialize: same, requestDeserialize: same }
  const deserialize = { responseSerialize: same, responseDeserialize: same }
  const path = '/test.Echo/Both'
  const server = new Server()
  server.addService(
    { Both: { path, requestStream: true, responseStream: true, ...serialize, ...deserialize } },
    {
      Both: (call: ServerDuplexStream<Buffer, Buffer>) => {
        call.on('data', (chunk: Buffer) => call.write(Buffer.concat([chunk, Buffer.from('!')])))
        call.on('end', () => call.end())
      },
    },
  )
  const keys = [{ cert_chain: Buffer.from(text(pair.cert)), private_key: Buffer.from(text(pair.key)) }]
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createSsl(null, keys), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  )
  t.teardown(() => server.forceShutdown())
  const cluster = { protocol: 'h2', tls: { ca: ca.cert, server_name: 'localhost' }, health: { type: 'tcp' } }
  const { door } = await scene(t, { a: port }, cluster)
  const client = new Client(`localhost:${door.port()}`, credentials.createSsl(Buffer.from(ca.pem)))
  t.teardown(() => client.close())
  const call = client.makeBidiStreamRequest(path, same, same)
  for (const word of ['a', 'b', 'c']) {
    call.write(Buffer.from(word))
    const [chunk] = await once(call, 'data')
    t.equal(String(chunk), `${word}!`)
  }
  call.end()
  const [ended] = await once(call.resume(), 'status')
  t.equal(ended.code, 0)
})
