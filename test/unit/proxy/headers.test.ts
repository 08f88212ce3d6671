import { isIP } from 'node:net'
import t from 'tap'
import {
  clientIp,
  connectionOptions,
  type Hop,
  inboundHeaders,
  outboundHeaders,
  trailerFields,
} from '../../../lib/proxy/headers.ts'

const hop: Hop = {
  peer: '192.0.2.7',
  trusted: false,
  secure: false,
  port: 8080,
  version: '1.1',
  authority: 'shop.example',
}

t.test('outbound: hop-by-hop and nominated fields go, the rest stays as it is', async t => {
  const out = outboundHeaders(
    {
      host: 'ignored',
      connection: 'X-One , x-two,, close',
      'x-one': '1',
      'x-two': '2',
      'x-three': '3',
      'keep-alive': 'timeout=5',
      'proxy-connection': 'keep-alive',
      'proxy-authorization': 'Basic x',
      te: 'gzip, trailers;q=0.5',
      trailer: 'x',
      'transfer-encoding': 'chunked',
      upgrade: 'h2c',
      'http2-settings': 'x',
      expect: '100-continue',
      'set-cookie': ['a', 'b'],
      cookie: 'a=1; b=2',
    },
    hop,
    'chunked',
  )
  t.same(out, {
    'x-three': '3',
    'set-cookie': ['a', 'b'],
    cookie: 'a=1; b=2',
    te: 'trailers',
    connection: 'TE',
    host: 'shop.example',
    via: '1.1 tidegate',
    forwarded: 'for=192.0.2.7;proto=http;host=shop.example',
    'x-forwarded-for': '192.0.2.7',
    'x-forwarded-host': 'shop.example',
    'x-forwarded-proto': 'http',
    'x-forwarded-port': '8080',
    'transfer-encoding': 'chunked',
  })
})

t.test('outbound: Connection cannot take essential fields away', async t => {
  const received = {
    connection: 'cookie, authorization, content-length, host, x-forwarded-for, sec-websocket-key',
    cookie: 'a',
    authorization: 'b',
    'content-length': '5',
    'sec-websocket-key': 'k',
  }
  t.match(outboundHeaders(received, hop, 'length'), {
    cookie: 'a',
    authorization: 'b',
    'content-length': '5',
    host: 'shop.example',
    'x-forwarded-for': '192.0.2.7',
    'sec-websocket-key': 'k',
  })
})

t.test('outbound: an upgrade keeps just what makes it one', async t => {
  const out = outboundHeaders(
    { connection: 'keep-alive, Upgrade', upgrade: 'WebSocket', 'sec-websocket-version': '13' },
    hop,
    'upgrade',
  )
  t.match(out, { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13' })
})

t.test('forwarding fields: replaced for strangers, continued for trusted peers', async t => {
  const received = {
    forwarded: 'for=1.1.1.1',
    via: '1.0 outer',
    'x-forwarded-for': '1.1.1.1',
    'x-forwarded-host': 'outer.example',
    'x-forwarded-proto': 'https',
    'x-forwarded-prefix': '/p',
    'x-real-ip': '1.1.1.1',
    x_forwarded_for: '9.9.9.9',
    x_free: 'kept',
    'x-tidegate-backend': 'b',
    'tidegate-failover': 'from=a; as-of=2026-01-01T00:00:00.000Z',
    tidegate_failover: 'from=b',
  }
  const stranger = outboundHeaders(received, hop, 'none')
  t.equal(stranger.forwarded, 'for=192.0.2.7;proto=http;host=shop.example')
  t.equal(stranger['x-forwarded-for'], '192.0.2.7')
  t.equal(stranger['x-forwarded-proto'], 'http')
  for (const name of ['x-forwarded-prefix', 'x-real-ip', 'x_forwarded_for', 'x-tidegate-backend'])
    t.notOk(name in stranger, name)
  t.equal(stranger.x_free, 'kept')
  t.equal(stranger.via, '1.0 outer, 1.1 tidegate')

  const trusted = outboundHeaders(received, { ...hop, trusted: true }, 'none')
  t.equal(trusted.forwarded, 'for=1.1.1.1, for=192.0.2.7;proto=http;host=shop.example')
  t.match(trusted, {
    'x-forwarded-for': '1.1.1.1, 192.0.2.7',
    'x-forwarded-host': 'outer.example',
    'x-forwarded-proto': 'https',
    'x-forwarded-prefix': '/p',
    'x-real-ip': '1.1.1.1',
    'x-forwarded-port': '8080',
  })
  t.notOk('x_forwarded_for' in trusted, "an alias is nobody's")
  for (const name of ['tidegate-failover', 'tidegate_failover'])
    for (const out of [stranger, trusted]) t.notOk(name in out, `${name} is ours alone`)
})

t.test('Forwarded quotes what is no token (RFC 7239 §4, §6)', async t => {
  const out = outboundHeaders(
    {},
    { ...hop, peer: '2001:db8::1', authority: '[::1]:8080', secure: true },
    'none',
  )
  t.equal(out.forwarded, 'for="[2001:db8::1]";proto=https;host="[::1]:8080"')
  t.equal(out['x-forwarded-for'], '2001:db8::1')
  const none = outboundHeaders({}, { ...hop, authority: '', version: '1.0' }, 'none')
  t.equal(none.forwarded, 'for=192.0.2.7;proto=http')
  t.equal(none.via, '1.0 tidegate')
  t.notOk('host' in none)
  t.notOk('x-forwarded-host' in none)
})

t.test('inbound: order, case and repetition stay; what is not for the client goes', async t => {
  const raw = [
    'Set-Cookie',
    'a',
    'X-Inner',
    '1',
    'set-cookie',
    'b',
    'Connection',
    'close',
    'connection',
    'x-inner, Set-Cookie',
    'Transfer-Encoding',
    'chunked',
    'X-Tidegate-Backend',
    'forged',
    'Via',
    '1.1 inner',
  ]
  t.same(inboundHeaders(raw, { setCookie: 'own', backend: 'b1' }), [
    'Set-Cookie',
    'a',
    'set-cookie',
    'b',
    'Via',
    '1.1 inner',
    'Via',
    '1.1 tidegate',
    'Set-Cookie',
    'own',
    'X-Tidegate-Backend',
    'b1',
  ])
  t.same(inboundHeaders([], { setCookie: null, backend: null }), ['Via', '1.1 tidegate'])
  t.same(inboundHeaders([], { setCookie: null, backend: null }, '2.0'), ['Via', '2.0 tidegate'])
})

t.test('trailers: nothing that frames, routes or authenticates', async t => {
  t.same(
    trailerFields([
      'X-Sum',
      '1',
      'Content-Length',
      '5',
      'Authorization',
      'x',
      'Set-Cookie',
      'a',
      'Transfer-Encoding',
      'chunked',
      'Host',
      'x',
      'X-Forwarded-For',
      'y',
      'content_length',
      '5',
    ]),
    [['X-Sum', '1']],
  )
})

t.test('connectionOptions', async t => {
  t.equal(connectionOptions(undefined), null)
  t.equal(connectionOptions('keep-alive'), null)
  t.equal(connectionOptions('Close, KEEP-ALIVE ,'), null)
  t.same([...connectionOptions(' A,b ,close')!], ['a', 'b'])
})

t.test('clientIp: the rightmost hop that nobody vouches for', async t => {
  const trusted = new Set(['10.0.0.1', '10.0.0.2', '2001:db8::1'])
  const ip = (peer: string, headers: Record<string, string>) =>
    clientIp(
      peer,
      headers,
      a => trusted.has(a),
      a => isIP(a) !== 0,
    )
  t.equal(ip('6.6.6.6', { 'x-forwarded-for': '1.1.1.1' }), '6.6.6.6', 'a stranger speaks only for itself')
  t.equal(ip('10.0.0.1', {}), '10.0.0.1')
  t.equal(ip('10.0.0.1', { 'x-forwarded-for': '9.9.9.9, 1.1.1.1, 10.0.0.2' }), '1.1.1.1')
  t.equal(ip('10.0.0.1', { 'x-forwarded-for': '10.0.0.2' }), '10.0.0.2', 'all trusted: the first of them')
  t.equal(
    ip('10.0.0.1', { 'x-forwarded-for': '1.1.1.1, nonsense, 10.0.0.2' }),
    '10.0.0.2',
    'beyond nonsense nothing is believed',
  )
  t.equal(ip('10.0.0.1', { 'x-forwarded-for': '[2001:db8::9]:4711' }), '2001:db8::9')
  t.equal(ip('10.0.0.1', { 'x-forwarded-for': '1.1.1.1:80' }), '1.1.1.1')
  t.equal(ip('10.0.0.1', { forwarded: 'for=1.1.1.1;proto=http, for="[2001:db8::1]:99"' }), '1.1.1.1')
  t.equal(ip('10.0.0.1', { forwarded: 'for=_hidden' }), '10.0.0.1')
})
