/** TLS to backends, on every engine for HTTP/1.1: verified unless told otherwise, sessions used again, our own certificate shown. */
import { once } from 'node:events'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { TLSSocket, TlsOptions } from 'node:tls'
import t, { type Test } from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import type { UpstreamTlsConfig } from '../../../lib/config/config.ts'
import type { EngineName } from '../../../lib/proxy/forward/forward.ts'
import { TlsHolder } from '../../../lib/proxy/tls/holder.ts'
import { Authority, materialOf, text, upstreamTls } from '../../support/certificates.ts'
import { inFlight, openFrontDoor, rawClient, until } from '../../support/traffic.ts'

const directory = t.testdir()
const ca = new Authority(directory)
const stranger = new Authority(directory, 'stranger')
const own = ca.issue('backend', { names: 'DNS:app.internal,IP:127.0.0.1' })
const client = ca.issue('client', { subject: '/CN=tidegate' })

interface Seen {
  readonly reused: boolean
  readonly servername: string | boolean
  readonly client: string | string[] | undefined
}

async function backend(t: Test, options: TlsOptions = {}) {
  const seen: Seen[] = []
  const server = createServer({ cert: text(own.cert), key: text(own.key), ...options })
  server.on('secureConnection', (socket: TLSSocket) => {
    const { subject } = socket.getPeerCertificate()
    const { servername } = socket as TLSSocket & { readonly servername: string | boolean }
    seen.push({ reused: socket.isSessionReused(), servername, client: subject?.CN })
  })
  server.on('request', (request, response) => {
    let bytes = 0
    request.on('data', chunk => {
      bytes += chunk.length
    })
    request.on('end', () => response.end(`got ${bytes}`))
  })
  const sockets = new WebSocketServer({ server })
  sockets.on('connection', socket => socket.on('message', data => socket.send(String(data))))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { port: (server.address() as AddressInfo).port, seen, server }
}

async function door(t: Test, ports: readonly number[], tls: UpstreamTlsConfig, engine: EngineName) {
  const holder = new TlsHolder(materialOf([], [tls]))
  const front = await openFrontDoor({ backends: ports, engine, upstreamTls: tls, tls: holder })
  t.teardown(() => front.close())
  return front
}

const get = async (port: number, close = true) => {
  const asked = await rawClient(
    port,
    `GET / HTTP/1.1\r\nHost: x\r\n${close ? 'Connection: close\r\n' : ''}\r\n`,
  )
  return asked.waitClosed()
}

for (const engine of ['relay', 'http-proxy-3'] as const) {
  t.test(`${engine}: a verified backend is served from, and its connection kept`, async t => {
    const { port, seen } = await backend(t)
    const front = await door(t, [port], upstreamTls({ ca: ca.cert }), engine)
    for (let i = 0; i < 3; i++) t.match(await get(front.port), /200 OK[\s\S]*got 0/)
    t.strictSame(
      seen,
      [{ reused: false, servername: false, client: undefined }],
      'one handshake; addresses are not asked for',
    )
    const body = 'x'.repeat(300_000)
    const posted = await rawClient(
      front.port,
      `POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 300000\r\n\r\n${body}`,
    )
    t.match(await posted.waitClosed(), /got 300000/)
    t.equal(inFlight(front), 0)
  })

  t.test(`${engine}: a session spares later connections the full handshake`, async t => {
    const { port, seen, server } = await backend(t)
    const front = await door(t, [port], upstreamTls({ ca: ca.cert, serverName: 'app.internal' }), engine)
    t.match(await get(front.port), /200 OK/)
    server.closeAllConnections()
    await until(() => server.listening, 'still listening')
    t.match(await get(front.port), /200 OK/)
    t.same(
      seen.map(({ reused, servername }) => [reused, servername]),
      [
        [false, 'app.internal'],
        [true, 'app.internal'],
      ],
    )
  })

  t.test(`${engine}: our certificate is shown to a backend that asks for one`, async t => {
    const { port, seen } = await backend(t, { requestCert: true, rejectUnauthorized: true, ca: ca.pem })
    const front = await door(t, [port], upstreamTls({ ca: ca.cert, pair: client }), engine)
    t.match(await get(front.port), /200 OK/)
    t.equal(seen[0]?.client, 'tidegate')
    const nobody = await door(t, [port], upstreamTls({ ca: ca.cert }), engine)
    t.match(await get(nobody.port), /^HTTP\/1\.1 502/)
  })

  t.test(
    `${engine}: a backend that cannot be verified gets nothing, and the client a 502 with the reason`,
    async t => {
      const { port, seen } = await backend(t)
      const wrong: Record<string, UpstreamTlsConfig> = {
        'an unknown authority': upstreamTls({ ca: stranger.cert }),
        'the public ones': upstreamTls(),
        'another name': upstreamTls({ ca: ca.cert, serverName: 'other.internal' }),
      }
      for (const [what, tls] of Object.entries(wrong)) {
        const front = await door(t, [port], tls, engine)
        const answer = await get(front.port)
        t.match(
          answer,
          /^HTTP\/1\.1 502[\s\S]*upstream_tls_failed: The backend could not be reached securely/,
          what,
        )
        t.equal(inFlight(front), 0)
      }
      t.equal(seen.length, 0, 'no request was sent')
      const front = await door(
        t,
        [port],
        upstreamTls({ verify: false, serverName: 'other.internal' }),
        engine,
      )
      t.match(await get(front.port), /200 OK/, 'unless verification is off')
    },
  )

  t.test(`${engine}: a plain backend behind TLS fails, another member is asked`, async t => {
    const plain = await import('node:http')
    const wrong = plain.createServer((_request, response) => response.end('in the clear'))
    wrong.listen(0, '127.0.0.1')
    await once(wrong, 'listening')
    t.teardown(() => wrong.close())
    const { port } = await backend(t)
    const tls = upstreamTls({ ca: ca.cert })
    const front = await door(t, [(wrong.address() as AddressInfo).port, port], tls, engine)
    for (let i = 0; i < 4; i++) t.match(await get(front.port), /200 OK[\s\S]*got 0/)
  })

  t.test(`${engine}: WebSockets over TLS to the backend`, async t => {
    const { port } = await backend(t)
    const front = await door(t, [port], upstreamTls({ ca: ca.cert }), engine)
    const socket = new WebSocket(`ws://127.0.0.1:${front.port}/chat`)
    await once(socket, 'open')
    socket.send('hello')
    const [data] = await once(socket, 'message')
    t.equal(String(data), 'hello')
    socket.close()
    await once(socket, 'close')
    await until(() => front.context.tunnels.size === 0, 'the tunnel to end')
  })
}
