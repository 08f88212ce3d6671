/** Backends that speak HTTP/2: for clients of HTTP/1.1 on both engines and of HTTP/2; connections, refusals, GOAWAY, time. */
import { once } from 'node:events'
import {
  type ClientHttp2Session,
  connect,
  constants,
  createSecureServer,
  createServer,
  type Http2Server,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type ServerOptions,
} from 'node:http2'
import t, { type Test } from 'tap'
import { pingTimeoutMs } from '../../../lib/proxy/forward/h2/session.ts'
import { TlsHolder } from '../../../lib/proxy/tls/holder.ts'
import { Authority, materialOf, text, upstreamTls } from '../../support/certificates.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import {
  closeServer,
  type FrontDoor,
  type FrontDoorOptions,
  inFlight,
  listenOn,
  openFrontDoor,
  openRawBackend,
  rawClient,
  until,
} from '../../support/traffic.ts'

type Handler = (stream: ServerHttp2Stream, headers: Record<string, string>, raw: readonly string[]) => void

interface Backend {
  readonly port: number
  readonly server: Http2Server
  readonly sessions: Set<ServerHttp2Session>
  opened: number
}

async function backend(t: Test, handler: Handler, options: ServerOptions = {}): Promise<Backend> {
  const server = createServer(options)
  return serve(t, server, handler)
}

async function serve(t: Test, server: Http2Server, handler: Handler): Promise<Backend> {
  const sessions = new Set<ServerHttp2Session>()
  server.on('session', session => {
    one.opened++
    sessions.add(session)
    session.on('error', () => {})
    session.on('close', () => sessions.delete(session))
  })
  server.on('stream', (stream, headers, _flags, raw) => {
    stream.on('error', () => {})
    handler(stream, headers as Record<string, string>, raw as unknown as readonly string[])
  })
  const port = await listenOn(server)
  const one: Backend = { port, server, sessions, opened: 0 }
  t.teardown(async () => {
    for (const session of sessions) session.destroy()
    await closeServer(server)
  })
  return one
}

async function door(
  t: Test,
  backends: readonly number[],
  over: Partial<FrontDoorOptions> = {},
): Promise<FrontDoor> {
  const front = await openFrontDoor({ backends, protocol: 'h2', listener: { protocol: 'h2c' }, ...over })
  t.teardown(() => front.close())
  return front
}

const ask = async (port: number, request = 'GET / HTTP/1.1\r\nHost: shop.test\r\n') => {
  const client = await rawClient(
    port,
    request.includes('\r\n\r\n') ? request : `${request}Connection: close\r\n\r\n`,
  )
  return client.waitClosed()
}

/** Answers what it was asked. */
const echo: Handler = (stream, headers, raw) => {
  const names = raw.filter((_text, i) => i % 2 === 0).join(' ')
  let bytes = 0
  let trailers: Record<string, unknown> = {}
  stream.on('trailers', fields => {
    trailers = { ...fields }
  })
  stream.on('data', chunk => {
    bytes += chunk.length
  })
  stream.on('end', () => {
    stream.respond(
      { ':status': 200, 'content-type': 'application/json', 'x-a': ['1', '2'] },
      { waitForTrailers: true },
    )
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': String(bytes) }))
    stream.end(JSON.stringify({ headers, names, bytes, trailers }))
  })
}

for (const engine of ['relay', 'http-proxy-3'] as const) {
  t.test(`${engine}: a request in HTTP/1.1 becomes the same one in HTTP/2`, async t => {
    const { port, sessions } = await backend(t, echo)
    const front = await door(t, [port], { listener: {}, engine })
    const got = await ask(
      front.port,
      'GET //a?b HTTP/1.1\r\nHost: shop.test\r\nX-B: 1\r\nKeep-Alive: x\r\nTE: trailers\r\n',
    )
    t.match(got, /^HTTP\/1\.1 200 OK\r\n/)
    t.match(got, /^x-a: 1\r\nx-a: 2\r\n/m)
    t.match(got, /^via: 2\.0 tidegate\r$/im)
    t.match(got, /\r\nx-sum: 0\r\n\r\n$/, 'trailers come back')
    const { headers, names } = JSON.parse(/\{.*\}/.exec(got)![0])
    t.match(headers, {
      ':method': 'GET',
      ':path': '//a?b',
      ':authority': 'shop.test',
      ':scheme': 'http',
      'x-b': '1',
      te: 'trailers',
      via: '1.1 tidegate',
      'x-forwarded-for': '127.0.0.1',
    })
    t.notMatch(names, /(^| )(host|connection|keep-alive|transfer-encoding)( |$)/)
    t.match(
      await ask(
        front.port,
        'POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello',
      ),
      /"content-length":"5"[\s\S]*"bytes":5/,
    )
    const chunked =
      'POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: end\r\n\r\n'
    t.match(await ask(front.port, chunked), /"bytes":5,"trailers":\{"x-t":"end"\}/)
    t.match(await ask(front.port, 'HEAD / HTTP/1.1\r\nHost: x\r\n'), /^HTTP\/1\.1 200 OK[^{]*$/)
    t.equal(sessions.size, 1, 'all on one connection')
    t.equal(inFlight(front), 0)
  })
}

t.test('HTTP/2 at both ends: bodies, interim answers, trailers, and an answer of a head alone', async t => {
  const { port } = await backend(t, (stream, headers, raw) => {
    if (headers[':path'] === '/head')
      return stream.respond({ ':status': 200, 'grpc-status': '5' }, { endStream: true })
    stream.additionalHeaders({ ':status': 103, link: '</a.css>' })
    echo(stream, headers, raw)
  })
  const front = await door(t, [port])
  const client = session(t, front.port)
  const stream = client.request(
    { ':method': 'POST', ':path': '/' },
    { endStream: false, waitForTrailers: true },
  )
  stream.on('wantTrailers', () => stream.sendTrailers({ 'x-t': 'end' }))
  const hints: unknown[] = []
  stream.on('headers', head => hints.push(head[':status']))
  const trailers = once(stream, 'trailers')
  stream.end('x'.repeat(2_000_000))
  let body = ''
  for await (const chunk of stream.setEncoding('utf8')) body += chunk
  t.match(JSON.parse(body), { bytes: 2_000_000, trailers: { 'x-t': 'end' } })
  t.match((await trailers)[0], { 'x-sum': '2000000' })
  t.same(hints, [103])
  const alone = client.request({ ':path': '/head' })
  const [head, flags] = await once(alone, 'response')
  t.match(head, { ':status': 200, 'grpc-status': '5' })
  t.ok(flags & constants.NGHTTP2_FLAG_END_STREAM, 'it stays one frame')
})

function session(t: Test, port: number): ClientHttp2Session {
  const client = connect(`http://127.0.0.1:${port}`)
  client.on('error', () => {})
  t.teardown(() => client.destroy())
  return client
}

t.test(
  'a backend that takes few streams gets more connections; all of them are used again, and closed when idle',
  async t => {
    const waiting: (() => void)[] = []
    const held: Handler = stream =>
      void waiting.push(() => {
        stream.respond({ ':status': 200 })
        stream.end('ok')
      })
    const clock = new ManualClock()
    const one = await backend(t, held, { settings: { maxConcurrentStreams: 4 } })
    const front = await door(t, [one.port], { clock })
    const client = session(t, front.port)
    /** The first connection tells the limit. */
    const first = client.request({ ':path': '/' })
    await until(() => waiting.length === 1, 'the first')
    const more = Array.from({ length: 11 }, () => client.request({ ':path': '/' }))
    await until(() => waiting.length === 12, 'all to be under way')
    t.equal(one.sessions.size, 3)
    for (const answer of waiting.splice(0)) answer()
    await Promise.all([first, ...more].map(stream => once(stream.resume(), 'close')))
    const again = client.request({ ':path': '/' })
    await until(() => waiting.length === 1, 'one more')
    t.equal(one.opened, 3)
    waiting[0]!()
    await once(again.resume(), 'close')
    client.destroy()
    await clock.advance(60_000)
    await until(() => one.sessions.size === 0, 'the idle ones to close')
  },
)

t.test(
  'a backend that says GOAWAY loses nothing: new requests go to a new connection, unseen ones too, with their bodies',
  async t => {
    let streams = 0
    const one = await backend(t, (stream, headers, raw) => {
      if (++streams !== 2) return echo(stream, headers, raw)
      // It has seen the first stream only.
      stream.session!.goaway(constants.NGHTTP2_NO_ERROR, 1)
      stream.session!.close()
      stream.close(constants.NGHTTP2_REFUSED_STREAM)
    })
    const front = await door(t, [one.port], { listener: {} })
    t.match(await ask(front.port), /"bytes":0/)
    const post = 'POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello'
    t.match(await ask(front.port, post), /200 OK[\s\S]*"bytes":5/)
    t.match(await ask(front.port), /200 OK/)
    t.equal(one.opened, 2)
    t.equal(front.board.total(0, 'failed'), 0)
  },
)

t.test('refused streams are tried once more, then told', async t => {
  let refusals = 0
  const one = await backend(t, stream => {
    refusals++
    stream.close(constants.NGHTTP2_REFUSED_STREAM)
  })
  const front = await door(t, [one.port], { listener: {} })
  t.match(
    await ask(
      front.port,
      'POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello',
    ),
    /^HTTP\/1\.1 502/,
  )
  t.equal(refusals, 2)
})

t.test('half an answer never looks whole, half a request neither', async t => {
  const seen: string[] = []
  const one = await backend(t, (stream, headers) => {
    stream.on('aborted', () => seen.push('aborted'))
    stream.on('end', () => seen.push(stream.aborted ? 'aborted end' : 'whole'))
    stream.resume()
    if (headers[':path'] === '/upload') return
    // Without it node would end the stream in good order first.
    stream.respond({ ':status': 200 }, { waitForTrailers: true })
    stream.write('half')
    const code = headers[':path'] === '/quiet' ? constants.NGHTTP2_NO_ERROR : constants.NGHTTP2_INTERNAL_ERROR
    setImmediate(() => stream.close(code))
  })
  const front = await door(t, [one.port])
  for (const path of ['/loud', '/quiet']) {
    const got = await ask(front.port, `GET ${path} HTTP/1.1\r\nHost: x\r\n`)
    t.match(got, /^HTTP\/1\.1 200/)
    t.notMatch(got, /\r\n0\r\n/, `${path}: no last chunk`)
    const client = session(t, front.port)
    const stream = client.request({ ':path': path })
    stream.on('error', () => {})
    stream.resume()
    await new Promise(resolve => stream.once('close', resolve))
    if (path === '/loud') t.not(stream.rstCode, 0, path)
  }
  seen.length = 0
  const cut = await rawClient(
    front.port,
    'POST /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n',
  )
  await until(() => inFlight(front) === 1, 'the upload')
  cut.socket.destroy()
  await until(() => seen.length > 0, 'the backend to hear of it')
  t.notOk(seen.includes('whole'), seen.join())
  for (const code of [constants.NGHTTP2_CANCEL, constants.NGHTTP2_NO_ERROR]) {
    seen.length = 0
    const upload = session(t, front.port).request(
      { ':method': 'POST', ':path': '/upload' },
      { endStream: false, waitForTrailers: true },
    )
    upload.on('error', () => {})
    upload.write('hello')
    await until(() => inFlight(front) === 1, 'the upload')
    upload.close(code)
    await until(() => seen.length > 0, 'the backend to hear of it')
    t.notOk(seen.includes('whole'), `${code}: ${seen.join()}`)
    await until(() => inFlight(front) === 0, 'the exchange to end')
  }
})

t.test('back-pressure both ways', async t => {
  let [sent, taken] = [0, 0]
  const one = await backend(t, (stream, headers) => {
    if (headers[':method'] === 'POST') return
    stream.respond({ ':status': 200 })
    const more = () => {
      while (sent < 50_000_000 && !stream.destroyed) {
        sent += 65_536
        if (!stream.write(Buffer.alloc(65_536))) return void stream.once('drain', more)
      }
    }
    more()
  })
  // A client that leaves while nobody reads from it is noticed by the silence.
  const front = await door(t, [one.port], { timeouts: { idleMs: 1_000 } })
  const slow = await rawClient(front.port, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
  slow.socket.pause()
  await still(() => sent)
  t.ok(sent < 30_000_000, `${sent} bytes from the backend`)
  slow.socket.destroy()
  const upload = await rawClient(front.port, 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n')
  const push = () => {
    while (taken < 50_000_000) {
      taken += 65_536
      if (!upload.socket.write(Buffer.alloc(65_536))) return void upload.socket.once('drain', push)
    }
  }
  push()
  await still(() => taken)
  t.ok(taken < 30_000_000, `${taken} bytes from the client`)
  upload.socket.destroy()
  await until(() => inFlight(front) === 0, 'both to end')
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

t.test(
  'deadlines; a connection on which time ran out is pinged, and given up when nobody answers',
  async t => {
    const clock = new ManualClock()
    const one = await backend(t, (stream, headers) => {
      if (headers[':path'] === '/half') stream.respond({ ':status': 200 })
      else if (headers[':path'] === '/fine') {
        stream.respond({ ':status': 200 })
        stream.end('ok')
      }
    })
    const timeouts = { headerMs: 2_000, idleMs: 3_000 }
    const front = await door(t, [one.port], { clock, timeouts, listener: {} })
    const silent = await rawClient(front.port, 'GET /silent HTTP/1.1\r\nHost: x\r\n\r\n')
    await until(() => inFlight(front) === 1, 'the request')
    await settled(one)
    await clock.advance(2_400)
    t.match(await silent.expect('upstream_header_timeout'), /^HTTP\/1\.1 504/)
    silent.socket.destroy()
    t.match(await ask(front.port, 'GET /fine HTTP/1.1\r\nHost: x\r\n'), /200 OK/)
    t.equal(one.opened, 1, 'a backend that answers pings keeps its connection')
    const half = await rawClient(front.port, 'GET /half HTTP/1.1\r\nHost: x\r\n\r\n')
    await half.expect('200 OK')
    await clock.advance(3_400)
    t.notMatch(await half.waitClosed(), /\r\n0\r\n/)

    const deaf = await openRawBackend(socket => {
      // Settings and nothing more.
      if (socket.bytesWritten === 0) socket.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]))
    })
    const lost = await door(t, [deaf.port], { clock, timeouts, listener: {} })
    const unheard = await rawClient(lost.port, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    await until(() => deaf.received().includes('PRI'), 'the preface')
    await settled(one)
    await clock.advance(2_400)
    t.match(await unheard.expect('504'), /upstream_header_timeout/)
    unheard.socket.destroy()
    t.equal(deaf.sockets.size, 1)
    await clock.advance(pingTimeoutMs + 300)
    await until(() => deaf.sockets.size === 0, 'the dead connection to go')
    await deaf.close()
  },
)

/** What was written has been read by the other side, as far as one can know. */
async function settled(_backend: Backend): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise(resolve => setImmediate(resolve))
}

t.test('no connection: refused, not HTTP/2, TLS that fails', async t => {
  const gone = await openRawBackend(() => {})
  await gone.close()
  t.match(await ask((await door(t, [gone.port], { listener: {} })).port), /upstream_connect_failed/)
  const other = await openRawBackend(socket => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))
  t.match(await ask((await door(t, [other.port], { listener: {} })).port), /^HTTP\/1\.1 502/)
  await other.close()
  const one = await backend(t, echo)
  const live = await door(t, [gone.port, one.port], { listener: {} })
  for (let i = 0; i < 3; i++) t.match(await ask(live.port), /200 OK/, 'another member takes it')
})

t.test('over TLS: agreed on by ALPN, verified, refused otherwise', async t => {
  const ca = new Authority(t.testdir())
  const pair = ca.issue('backend')
  const secure = createSecureServer({ cert: text(pair.cert), key: text(pair.key) })
  const one = await serve(t, secure as unknown as Http2Server, echo)
  const tls = upstreamTls({ ca: ca.cert })
  const holder = new TlsHolder(materialOf([], [tls]))
  const front = await door(t, [one.port], { upstreamTls: tls, tls: holder, listener: {} })
  t.match(await ask(front.port), /200 OK[\s\S]*":scheme":"https"/)
  const stranger = upstreamTls()
  const wrong = await door(t, [one.port], {
    upstreamTls: stranger,
    tls: new TlsHolder(materialOf([], [stranger])),
    listener: {},
  })
  t.match(await ask(wrong.port), /^HTTP\/1\.1 502[\s\S]*upstream_tls_failed/)
  const https = await import('node:https')
  const old = https.createServer({ cert: text(pair.cert), key: text(pair.key) }, (_request, response) =>
    response.end(),
  )
  const plain = await listenOn(old)
  const mistaken = await door(t, [plain], { upstreamTls: tls, tls: holder, listener: {} })
  t.match(
    await ask(mistaken.port),
    /^HTTP\/1\.1 502[\s\S]*upstream_tls_failed/,
    'a backend that does not speak it',
  )
  old.closeAllConnections()
  await closeServer(old)
})

t.test('a member that leaves: what is under way ends well, its connections go', async t => {
  const waiting: (() => void)[] = []
  const one = await backend(t, stream => {
    waiting.push(() => {
      stream.respond({ ':status': 200 })
      stream.end('ok')
    })
  })
  const front = await door(t, [one.port], { listener: {} })
  const asked = ask(front.port)
  await until(() => waiting.length === 1, 'the request')
  for (const member of front.table.members()) front.context.forwards.forget(member)
  waiting[0]!()
  t.match(await asked, /200 OK/)
  await until(() => one.sessions.size === 0, 'the connection to go')
})
