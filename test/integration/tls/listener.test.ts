/** A listener with TLS: which certificate, which protocol, which clients; and what is closed without an answer. */
import { once } from 'node:events'
import { connect as connectTcp, type Socket } from 'node:net'
import { type ConnectionOptions, connect } from 'node:tls'
import t, { type Test } from 'tap'
import type { ListenerTlsConfig } from '../../../lib/config/config.ts'
import type { EngineName } from '../../../lib/proxy/forward/forward.ts'
import { TlsHolder } from '../../../lib/proxy/tls/holder.ts'
import { Authority, listenerTls, materialOf, text } from '../../support/certificates.ts'
import { proxyV2 } from '../../support/proxy-header.ts'
import { openFrontDoor, openRawBackend, rawClient } from '../../support/traffic.ts'

const directory = t.testdir()
const ca = new Authority(directory)
const server = ca.issue('server')
const client = ca.issue('client', { subject: '/O=Acme/CN=alice', names: 'URI:spiffe://acme/alice' })
const forged = new Authority(directory, 'stranger').issue('forged')

const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'

async function door(t: Test, tls: ListenerTlsConfig, engine: EngineName = 'relay', more: object = {}) {
  const backend = await openRawBackend((socket, text) => {
    if (text.endsWith('\r\n\r\n')) socket.write(ok)
  })
  const holder = new TlsHolder(materialOf([tls]))
  const front = await openFrontDoor({
    backends: [backend.port],
    engine,
    listener: { tls, ...more },
    tls: holder,
    trustedProxies: ['127.0.0.1'],
  })
  t.teardown(async () => {
    await front.close()
    await backend.close()
  })
  return { front, backend, holder }
}

/** Handshakes and asks once; the socket stays open. */
async function ask(port: number, options: ConnectionOptions, raw?: Socket) {
  const socket = connect({
    port,
    host: '127.0.0.1',
    servername: 'localhost',
    ALPNProtocols: ['http/1.1'],
    ...(raw ? { socket: raw } : {}),
    ...options,
  })
  await once(socket, 'secureConnect')
  socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
  const [answer] = await once(socket, 'data')
  return { socket, answer: String(answer) }
}

t.test('the certificate is chosen by name: exact, then a wildcard of one label, else the first', async t => {
  const pairs = [
    ca.issue('first', { names: 'DNS:first.test' }),
    ca.issue('wild', { names: 'DNS:*.shop.test,DNS:shop.test' }),
    ca.issue('exact', { names: 'DNS:www.shop.test' }),
  ]
  const { front } = await door(t, listenerTls(pairs))
  const served = async (servername: string) => {
    const options = { ca: ca.pem, servername, checkServerIdentity: () => undefined }
    const { socket } = await ask(front.port, options)
    const { subject } = socket.getPeerCertificate()
    socket.destroy()
    return subject.CN
  }
  t.equal(await served('www.shop.test'), 'exact')
  t.equal(await served('WWW.Shop.Test'), 'exact')
  t.equal(await served('api.shop.test'), 'wild')
  t.equal(await served('shop.test'), 'wild')
  t.equal(await served('a.b.shop.test'), 'first', 'a wildcard is one label')
  t.equal(await served('other.test'), 'first')
  t.equal(await served(''), 'first', 'a client that asks for nothing')
})

for (const engine of ['relay', 'http-proxy-3'] as const) {
  t.test(`${engine}: requests come in over TLS, and the backend is told so`, async t => {
    const { front, backend } = await door(t, listenerTls([server]), engine)
    const { socket, answer } = await ask(front.port, { ca: ca.pem })
    t.match(answer, /^HTTP\/1\.1 200 OK/)
    t.match(backend.received(), /x-forwarded-proto: https\r\n/i)
    t.match(backend.received(), /forwarded: for=127\.0\.0\.1;proto=https/i)
    t.equal(socket.alpnProtocol, 'http/1.1')
    socket.write('GET /again HTTP/1.1\r\nHost: localhost\r\n\r\n')
    await once(socket, 'data')
    t.match(backend.received(), /\/again/, 'the connection is kept')
    socket.destroy()
  })

  t.test(
    `${engine}: a verified client certificate reaches the backend, another one's word does not`,
    async t => {
      const tls = listenerTls([server], { clientAuth: 'request', clientCa: ca.cert })
      const { front, backend } = await door(t, tls, engine)
      const claim = 'X-Forwarded-Client-Cert: Subject="CN=root"\r\nX_Forwarded_Client_Cert: me\r\n'
      const told = async (pair: { cert: string; key: string } | null) => {
        const before = backend.received().length
        const own = pair ? { cert: text(pair.cert), key: text(pair.key) } : {}
        const socket = connect({
          port: front.port,
          host: '127.0.0.1',
          servername: 'localhost',
          ca: ca.pem,
          ...own,
        })
        await once(socket, 'secureConnect')
        socket.write(`GET / HTTP/1.1\r\nHost: localhost\r\n${claim}\r\n`)
        await once(socket, 'data')
        socket.destroy()
        return backend.received().slice(before)
      }
      t.match(
        await told(client),
        /^x-forwarded-client-cert: Hash=[0-9a-f]{64};Subject="CN=alice,O=Acme";URI=spiffe:\/\/acme\/alice\r$/im,
      )
      t.notMatch(await told(client), /root|: me/)
      for (const nobody of [null, forged]) {
        const request = await told(nobody)
        t.match(request, /^GET/, 'it is served all the same')
        t.notMatch(request, /client.cert/i, 'as nobody')
      }
    },
  )

  t.test(`${engine}: with client_auth: require nobody else gets in`, async t => {
    const tls = listenerTls([server], { clientAuth: 'require', clientCa: ca.cert })
    const { front, backend } = await door(t, tls, engine)
    const attempt = async (own: ConnectionOptions) => {
      const socket = connect({
        port: front.port,
        host: '127.0.0.1',
        servername: 'localhost',
        ca: ca.pem,
        ...own,
      })
      socket.on('error', () => {})
      let got = ''
      socket.on('data', bytes => {
        got += bytes
        socket.destroy()
      })
      socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
      await new Promise(resolve => socket.once('close', resolve))
      return got
    }
    t.equal(await attempt({}), '')
    t.equal(await attempt({ cert: text(forged.cert), key: text(forged.key) }), '')
    t.equal(backend.received(), '')
    t.match(await attempt({ cert: text(client.cert), key: text(client.key) }), /200 OK/)
  })

  t.test(`${engine}: PROXY headers, both versions, before TLS and before plain text`, async t => {
    const tls = listenerTls([server])
    const from = { from: '203.0.113.9', to: '198.51.100.1' }
    const headers = [
      Buffer.from('PROXY TCP4 203.0.113.9 198.51.100.1 4711 443\r\n'),
      proxyV2(from, 4711, 443, { checksum: true }),
    ]
    for (const secure of [true, false]) {
      const { front, backend } = await door(t, tls, engine, {
        proxyProtocol: 'require',
        tls: secure ? tls : null,
      })
      for (const header of headers) {
        const raw = connectTcp(front.port, '127.0.0.1')
        await once(raw, 'connect')
        const request = 'GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n'
        const before = backend.received().length
        if (secure) {
          raw.write(header)
          const socket = connect({ socket: raw, servername: 'localhost', ca: ca.pem })
          await once(socket, 'secureConnect')
          socket.write(request)
          await once(socket, 'data')
        } else {
          raw.write(Buffer.concat([header, Buffer.from(request)]))
          await once(raw, 'data')
        }
        const sent = backend.received().slice(before)
        t.match(sent, /^x-forwarded-for: 203\.0\.113\.9\r$/im, 'the client is who the trusted balancer says')
        t.match(sent, /^x-forwarded-port: 443\r$/im)
        raw.destroy()
      }
    }
  })
}

t.test('what a PROXY listener closes without a word', async t => {
  const { front, backend } = await door(t, listenerTls([]), 'relay', { proxyProtocol: 'require', tls: null })
  for (const bytes of [
    'GET / HTTP/1.1\r\nHost: x\r\n\r\n',
    'PROXY TCP4 1.2.3.4\r\n',
    '\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0',
  ]) {
    const client = await rawClient(front.port, bytes)
    t.equal(await client.waitClosed(), '', JSON.stringify(bytes))
  }
  t.equal(backend.received(), '')
  const distrusting = await openFrontDoor({
    backends: [backend.port],
    listener: { proxyProtocol: 'require' },
  })
  const stranger = await rawClient(
    distrusting.port,
    'PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n',
  )
  t.equal(await stranger.waitClosed(), '', 'a peer that is not trusted')
  t.equal(backend.received(), '')
  await distrusting.close()
})

t.test(
  'plain text, old versions and other protocols end in nothing; a slow handshake ends in time',
  async t => {
    const tls = listenerTls([server], { minVersion: 'TLSv1.3', handshakeTimeoutMs: 200 })
    const { front, backend } = await door(t, tls)
    const plain = await rawClient(front.port, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    await plain.waitClosed()
    const failure = async (options: ConnectionOptions) => {
      const socket = connect({
        port: front.port,
        host: '127.0.0.1',
        servername: 'localhost',
        ca: ca.pem,
        ...options,
      })
      const [error] = await once(socket, 'error')
      return error.code
    }
    t.match(await failure({ maxVersion: 'TLSv1.2' }), /PROTOCOL_VERSION/)
    t.match(await failure({ ALPNProtocols: ['h3'] }), /NO_APPLICATION_PROTOCOL/)
    const slow = await rawClient(front.port, '\x16\x03\x01')
    t.equal(await slow.waitClosed(), '')
    t.match(front.facts(), { tlsFailed: 4, tlsFull: 0, tlsResumed: 0 })
    t.equal(backend.received(), '')
    t.equal(front.context.exchanges.size, 0)
  },
)
