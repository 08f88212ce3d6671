/** An HTTP/2 head becomes a request that HTTP/1.1 can say in one way only, or a refusal. */
import t from 'tap'
import { type H2Request, readH2Request } from '../../../../lib/proxy/h2/request.ts'

const plain = { ':method': 'GET', ':scheme': 'https', ':authority': 'shop.test', ':path': '/a?b' }

function read(over: Record<string, string | undefined> = {}, ended = true, raw: readonly string[] = []) {
  const headers = Object.fromEntries(
    Object.entries({ ...plain, ...over }).filter(([, value]) => value !== undefined),
  ) as Record<string, string>
  return readH2Request({ headers, rawHeaders: [...Object.entries(headers).flat(), ...raw], ended })
}

t.test('a request', async t => {
  const request = read({ cookie: 'a=1; b=2', 'x-a': '1' }) as H2Request
  t.match(request, { fault: null, method: 'GET', length: -1, expectsContinue: false, upgrade: false })
  t.same(request.line, {
    fault: null,
    authority: 'shop.test',
    hostname: 'shop.test',
    target: '/a?b',
    path: '/a',
    body: 'none',
  })
  t.same(
    { ...request.fields },
    { cookie: 'a=1; b=2', 'x-a': '1', host: 'shop.test' },
    'no pseudo-header fields',
  )
  t.match(read({ ':authority': undefined, host: 'other.test' }), { line: { authority: 'other.test' } })
  t.match(read({ host: 'SHOP.test' }), { fault: null, line: { authority: 'shop.test' } })
  t.match(read({ ':path': '*', ':method': 'OPTIONS' }), { fault: null, line: { target: '*' } })
  t.match(read({ te: 'trailers' }), { fault: null })
})

t.test('the framing of its body', async t => {
  t.match(read({ 'content-length': '5' }, false), { length: 5, line: { body: 'length' } })
  t.match(read({}, false), { length: -1, line: { body: 'chunked' } })
  t.match(read({ 'content-length': '0' }), { length: 0, line: { body: 'none' } })
  t.match(read({ expect: '100-Continue' }, false), { expectsContinue: true })
  t.match(read({ expect: '100-continue' }), { expectsContinue: false }, 'there is no body to wait with')
})

t.test('a WebSocket is a GET with an upgrade', async t => {
  const request = read(
    { ':method': 'CONNECT', ':protocol': 'websocket', 'sec-websocket-protocol': 'chat' },
    false,
  )
  t.match(request, { fault: null, method: 'GET', upgrade: true, line: { body: 'none' } })
})

t.test('refusals', async t => {
  const wrong: Record<string, ReturnType<typeof read>> = {
    'a host that differs': read({ host: 'evil.test' }),
    'a host with another port': read({ host: 'shop.test:443' }),
    'two hosts': read({ host: 'shop.test' }, true, ['host', 'shop.test']),
    'no host': read({ ':authority': undefined }),
    'an empty authority': read({ ':authority': '' }),
    userinfo: read({ ':authority': 'me@shop.test' }),
    'an absolute target': read({ ':path': 'https://evil.test/' }),
    'no path': read({ ':path': undefined }),
    'a relative path': read({ ':path': 'a' }),
    'an asterisk with GET': read({ ':path': '*' }),
    'a space': read({ ':path': '/a b' }),
    'a fragment': read({ ':path': '/a#b' }),
    'dot segments': read({ ':path': '/a/%2e%2e/b' }),
    'dot segments before a semicolon': read({ ':path': '/a/..;/b' }),
    'another scheme': read({ ':scheme': 'ftp' }),
    'no scheme': read({ ':scheme': undefined }),
    'a protocol without CONNECT': read({ ':protocol': 'websocket' }),
    'a length that is no number': read({ 'content-length': '5, 5' }, false),
    'a signed length': read({ 'content-length': '+5' }, false),
    'a line end in a value': read({}, true, ['x-a', 'b\r\nhost: evil']),
    'a null in a value': read({}, true, ['x-a', 'b\0c']),
    'a line end in a name': read({}, true, ['x\r\ny', 'b']),
    'a transfer coding': read({}, true, ['transfer-encoding', 'chunked']),
    'a connection option': read({}, true, ['connection', 'x-a']),
    'an upgrade': read({}, true, ['upgrade', 'h2c']),
    'gzip in te': read({}, true, ['te', 'gzip']),
  }
  for (const [what, answer] of Object.entries(wrong))
    t.match(answer, { code: 'bad_request', fault: /^[A-Z].+\.$/ }, what)
  t.match(read({ 'x-large': 'x'.repeat(17_000) }), { code: 'headers_too_large' })
  t.match(read({ expect: 'magic' }), { code: 'expectation_failed' })
  t.match(read({ ':method': 'CONNECT' }), { code: 'upgrade_unsupported' })
  t.match(read({ ':method': 'CONNECT', ':protocol': 'connect-udp' }), { code: 'upgrade_unsupported' })
})
