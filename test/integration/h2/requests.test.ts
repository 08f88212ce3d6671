/** HTTP/2 clients in front of HTTP/1.1 backends: what arrives there, what comes back, and what is refused before it could. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type OutgoingHttpHeaders,
} from 'node:http2'
import t, { type Test } from 'tap'
import { TlsHolder } from '../../../lib/proxy/tls/holder.ts'
import { Authority, listenerTls, materialOf } from '../../support/certificates.ts'
import {
  endHeaders,
  endStream,
  frame,
  frameTypes,
  getHeaders,
  postHeaders,
  rawH2Client,
} from '../../support/h2-frames.ts'
import {
  closeServer,
  type FrontDoorOptions,
  inFlight,
  listenOn,
  openFrontDoor,
  openRawBackend,
  rawClient,
  until,
} from '../../support/traffic.ts'

async function door(t: Test, backends: readonly number[], over: Partial<FrontDoorOptions> = {}) {
  const front = await openFrontDoor({ backends, listener: { protocol: 'h2c' }, ...over })
  const client = connect(front.url)
  client.on('error', () => {})
  t.teardown(async () => {
    client.destroy()
    await front.close()
  })
  return { front, client }
}

interface Answer {
  readonly status: number
  readonly headers: Record<string, unknown>
  readonly trailers: Record<string, unknown>
  readonly body: string
  readonly code: number
}

async function answerOf(stream: ClientHttp2Stream): Promise<Answer> {
  let [status, body, headers, trailers] = [0, '', {}, {}]
  stream.on('error', () => {})
  stream.on('response', head => {
    status = head[':status'] ?? 0
    headers = { ...head }
  })
  stream.on('trailers', fields => {
    trailers = { ...fields }
  })
  stream.on('data', chunk => {
    body += chunk
  })
  await new Promise(resolve => stream.once('close', resolve))
  return { status, headers, trailers, body, code: stream.rstCode }
}

const get = (client: ClientHttp2Session, path = '/', fields: OutgoingHttpHeaders = {}) =>
  answerOf(client.request({ ':path': path, ...fields }))

const ok =
  'HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nX-A: 1\r\nx-a: 2\r\nConnection: keep-alive, x-gone\r\nX-Gone: 1\r\n\r\nok'

t.test('a request becomes the same request in HTTP/1.1', async t => {
  const backend = await openRawBackend((socket, text) => {
    if (text.endsWith('\r\n\r\n')) socket.write(ok)
  })
  t.teardown(() => backend.close())
  const { client } = await door(t, [backend.port], { listener: { protocol: 'h2c' } })
  const answer = await get(client, '//a/%2e?c', {
    cookie: ['a=1', 'b=2'],
    'x-list': ['1', '2'],
    'x-forwarded-for': '6.6.6.6',
    x_forwarded_for: '6.6.6.6',
    te: 'trailers',
  })
  t.equal(answer.status, 400, 'dot segments are refused here too')
  const good = await get(client, '//a/b?c', {
    cookie: ['a=1', 'b=2'],
    'x-list': ['1', '2'],
    'x-forwarded-for': '6.6.6.6',
    x_forwarded_for: '6.6.6.6',
    te: 'trailers',
  })
  t.match(good, { status: 200, body: 'ok', code: 0, headers: { 'x-a': '1, 2', via: '1.1 tidegate' } })
  t.notOk('x-gone' in good.headers || 'connection' in good.headers, 'fields of the connection stay behind')
  const received = backend.received()
  t.match(received, /^GET \/\/a\/b\?c HTTP\/1\.1\r\n/)
  t.match(received, /^host: 127\.0\.0\.1:\d+\r$/im)
  t.match(received, /^cookie: a=1; b=2\r$/im)
  t.match(received, /^x-list: 1, 2\r$/im)
  t.match(received, /^x-forwarded-for: 127\.0\.0\.1\r$/im)
  t.match(received, /^te: trailers\r$/im)
  t.match(received, /^connection: TE\r$/im)
  t.match(received, /^via: 2\.0 tidegate\r$/im)
  t.notMatch(received, /6\.6\.6\.6|^:/m)
})

t.test('bodies of every size and kind, trailers both ways, interim answers, and 100-continue', async t => {
  const server = createServer((request, response) => {
    let bytes = 0
    request.on('data', chunk => {
      bytes += chunk.length
    })
    request.on('end', () => {
      response.writeEarlyHints({ link: '</a.css>; rel=preload' })
      response.writeHead(200, {
        trailer: 'x-sum',
        'x-framing': request.headers['content-length'] ?? request.headers['transfer-encoding'] ?? '-',
      })
      response.addTrailers({ 'x-sum': `${bytes} ${request.trailers['x-t'] ?? '-'}` })
      response.write('a')
      response.end('b')
    })
  })
  const port = await listenOn(server)
  const { front, client } = await door(t, [port])
  const send = async (body: string, fields: OutgoingHttpHeaders, trailers: OutgoingHttpHeaders | null) => {
    const stream = client.request(
      { ':method': 'POST', ':path': '/', ...fields },
      { endStream: false, waitForTrailers: trailers !== null },
    )
    const hints: unknown[] = []
    stream.on('headers', head => hints.push(head[':status'], head.link))
    if (trailers) stream.on('wantTrailers', () => stream.sendTrailers(trailers))
    if (fields.expect) await once(stream, 'continue')
    stream.end(body)
    return { ...(await answerOf(stream)), hints }
  }
  for (const size of [0, 1, 70_000, 3_000_000]) {
    const known = await send('x'.repeat(size), { 'content-length': size }, null)
    t.match(known, {
      status: 200,
      body: 'ab',
      trailers: { 'x-sum': `${size} -` },
      headers: { 'x-framing': String(size) },
    })
    const unknown = await send('x'.repeat(size), {}, { 'x-t': 'end', host: 'evil' })
    t.match(unknown, {
      status: 200,
      body: 'ab',
      trailers: { 'x-sum': `${size} end` },
      headers: { 'x-framing': 'chunked' },
    })
  }
  await until(() => front.records.length === 8, 'what is told of them')
  const sizes = [0, 1, 70_000, 3_000_000].flatMap(size => [size, size])
  t.strictSame(
    front.records.map(({ bytesIn, bytesOut }) => [bytesIn, bytesOut]),
    sizes.map(size => [size, 2]),
  )
  t.match(await send('x', {}, null), { hints: [103, '</a.css>; rel=preload'] })
  const patient = await send('hello', { expect: '100-continue', 'content-length': 5 }, null)
  t.match(patient, { status: 200, trailers: { 'x-sum': '5 -' }, hints: [100, undefined, 103] })
  t.equal(inFlight(front), 0)
  server.closeAllConnections()
  await closeServer(server)
})

t.test('answers without a body: HEAD, 204, 304', async t => {
  const server = createServer((request, response) => {
    const status = Number(request.url!.slice(1))
    response.writeHead(status, status === 200 ? { 'content-length': '9' } : {})
    response.end(status === 200 && request.method === 'GET' ? 'ninebytes' : undefined)
  })
  const port = await listenOn(server)
  const { client } = await door(t, [port])
  t.match(await answerOf(client.request({ ':method': 'HEAD', ':path': '/200' })), {
    status: 200,
    body: '',
    code: 0,
    headers: { 'content-length': '9' },
  })
  for (const status of [204, 304]) t.match(await get(client, `/${status}`), { status, body: '', code: 0 })
  t.match(await get(client, '/200'), { body: 'ninebytes' })
  server.closeAllConnections()
  await closeServer(server)
})

t.test('many at a time on one connection', async t => {
  const waiting: (() => void)[] = []
  const server = createServer((request, response) => waiting.push(() => response.end(request.url)))
  const port = await listenOn(server)
  const { front, client } = await door(t, [port])
  const asked = Array.from({ length: 50 }, (_, i) => get(client, `/${i}`))
  await until(() => waiting.length === 50, 'all to be under way')
  t.equal(inFlight(front), 50)
  t.equal(front.listener.exchanges(), 50)
  for (const answer of waiting.toReversed()) answer()
  t.same(
    (await Promise.all(asked)).map(({ body }) => body),
    Array.from({ length: 50 }, (_, i) => `/${i}`),
  )
  t.equal(inFlight(front), 0)
  server.closeAllConnections()
  await closeServer(server)
})

t.test('what could become another request in HTTP/1.1 is refused', async t => {
  const backend = await openRawBackend(socket => socket.write(ok))
  t.teardown(() => backend.close())
  const { client } = await door(t, [backend.port])
  const refused: Record<string, [number, OutgoingHttpHeaders]> = {
    // Status 0: nghttp2 resets the stream before we hear of it.
    'two hosts': [400, { ':authority': 'a.test', host: 'b.test' }],
    'a whole URL as path': [0, { ':path': 'http://other.test/' }],
    'no path': [0, { ':path': 'a' }],
    'a space in the path': [0, { ':path': '/a b' }],
    'a control character in the path': [0, { ':path': '/a\tb' }],
    'a dot segment': [400, { ':path': '/a/..;/b' }],
    'a scheme of another kind': [400, { ':scheme': 'ftp' }],
    'userinfo in the authority': [0, { ':authority': 'user@a.test' }],
    'an expectation': [417, { ':method': 'POST', expect: 'magic' }],
    'a head that is too large': [431, { 'x-large': 'x'.repeat(17_000) }],
  }
  for (const [what, [status, fields]] of Object.entries(refused)) {
    const answer = await get(client, '/', fields)
    t.match(answer, { status, code: status === 0 ? constants.NGHTTP2_PROTOCOL_ERROR : 0 }, what)
  }
  const tunnel = client.request({ ':method': 'CONNECT', ':authority': 'a.test:443' })
  t.match(await answerOf(tunnel), { status: 501 })
  t.match(await get(client, '/fine'), { status: 200 }, 'the connection is as good as before')
  const lying = client.request({ ':method': 'POST', ':path': '/', 'content-length': 5 }, { endStream: false })
  lying.end('hello, and more')
  const told = await answerOf(lying)
  t.ok(told.status === 0 && told.code !== 0, 'a body longer than it said')
  t.notMatch(
    backend.received().replace('GET /fine', ''),
    /GET|and more/,
    'the backend has heard of none of them',
  )
})

t.test(
  'backends that break: 502 before the head, a reset after it; the client that leaves takes its request along',
  async t => {
    const backend = await openRawBackend((socket, text) => {
      if (text.includes('/half')) socket.end('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf')
      else if (text.includes('/die')) socket.destroy()
    })
    t.teardown(() => backend.close())
    const { front, client } = await door(t, [backend.port])
    t.match(await get(client, '/die'), { status: 502, body: /upstream_reset/ })
    t.match(await get(client, '/half'), { status: 200, body: 'half', code: constants.NGHTTP2_INTERNAL_ERROR })
    const leaving = client.request({ ':path': '/silent' })
    leaving.on('error', () => {})
    await until(() => backend.received().includes('/silent'), 'the request')
    leaving.close(constants.NGHTTP2_CANCEL)
    await until(() => backend.sockets.size === 0 && inFlight(front) === 0, 'the backend connection to go')
    t.equal(front.board.total(0, 'failed'), 2, 'the member is not blamed for that')
  },
)

t.test('a slow reader stops the backend, a slow backend stops the writer', async t => {
  let written = 0
  const backend = await openRawBackend((socket, text) => {
    if (text.startsWith('POST')) return void socket.pause()
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n')
    const more = () => {
      while (written < 50_000_000) {
        written += 65_536
        if (!socket.write(Buffer.alloc(65_536))) return void socket.once('drain', more)
      }
    }
    if (written === 0) more()
  })
  t.teardown(() => backend.close())
  const { client } = await door(t, [backend.port])
  const slow = client.request({ ':path': '/' })
  slow.on('error', () => {})
  await once(slow, 'response')
  await still(() => written)
  t.ok(written < 30_000_000, `${written} bytes from the backend`)
  slow.close(constants.NGHTTP2_CANCEL)
  const upload = client.request({ ':method': 'POST', ':path': '/' }, { endStream: false })
  upload.on('error', () => {})
  let taken = 0
  const push = () => {
    while (taken < 50_000_000) {
      taken += 65_536
      if (!upload.write(Buffer.alloc(65_536))) return void upload.once('drain', push)
    }
  }
  push()
  await still(() => taken)
  t.ok(taken < 30_000_000, `${taken} bytes from the client`)
  upload.close(constants.NGHTTP2_CANCEL)
})

/** Waits until a number stands still. */
async function still(value: () => number): Promise<void> {
  let [last, looks] = [-1, 0]
  await until(() => {
    looks = last === value() && last > 0 ? looks + 1 : 0
    last = value()
    return looks > 20
  }, 'a stand-still')
}

t.test('prior knowledge only where it is asked for; HTTP/1.1 on the same port; ALPN with TLS', async t => {
  const backend = await openRawBackend((socket, text) => {
    if (text.endsWith('\r\n\r\n')) socket.write(ok)
  })
  t.teardown(() => backend.close())
  const { front } = await door(t, [backend.port])
  const plain = await rawClient(front.port, 'GET /one HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
  t.match(await plain.waitClosed(), /^HTTP\/1\.1 200/)
  const pieces = await rawClient(front.port, 'PR')
  pieces.send('OPFIND /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
  t.match(await pieces.waitClosed(), /^HTTP\/1\.1 200/, 'a method that begins like the preface')

  const ca = new Authority(t.testdir())
  const tls = listenerTls([ca.issue('server')])
  const secure = await openFrontDoor({
    backends: [backend.port],
    listener: { tls },
    tls: new TlsHolder(materialOf([tls])),
  })
  const client = connect(`https://localhost:${secure.port}`, { ca: ca.pem })
  t.match(await get(client), { status: 200, body: 'ok' })
  t.match(backend.received(), /x-forwarded-proto: https/)
  client.close()
  await secure.close()

  const off = await openFrontDoor({ backends: [backend.port] })
  const stranger = await rawClient(off.port, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
  t.match(await stranger.waitClosed(), /^HTTP\/1\.1 400/)
  await off.close()
})

t.test(
  'every answer ends with the frame that says so; what is left of the request is dropped after it',
  async t => {
    const backend = await openRawBackend((socket, text) => {
      if (text.endsWith('\r\n\r\n') || text.includes('/early')) socket.write(ok)
    })
    t.teardown(() => backend.close())
    const { front } = await door(t, [backend.port])
    const client = await rawH2Client(front.port)
    const ending = (stream: number) =>
      client.frames
        .filter(one => one.stream === stream)
        .map(({ type, flags, payload }) =>
          type === frameTypes.rstStream
            ? `reset ${payload.readUInt32BE()}`
            : flags & endStream
              ? 'end'
              : 'more',
        )
    client.send(frame(frameTypes.headers, endStream | endHeaders, 1, getHeaders))
    await until(() => ending(1).includes('end'), 'the end of an answer')
    client.send(frame(frameTypes.headers, endHeaders, 3, postHeaders))
    await until(() => ending(3).length > 3, 'an answer before the end of its request')
    // No route for that authority: an answer of ours.
    client.send(
      frame(
        frameTypes.headers,
        endHeaders,
        5,
        Buffer.concat([postHeaders, Buffer.from([0x10, 6, ...Buffer.from('expect'), 1, 0x78])]),
      ),
    )
    await until(() => ending(5).length > 2, 'a refusal')
    t.same(ending(1), ['more', 'more', 'end'])
    t.same(ending(3), ['more', 'more', 'end', 'reset 0'])
    t.same(ending(5), ['more', 'end', 'reset 0'])
    client.socket.destroy()
  },
)
