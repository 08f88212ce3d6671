/** The request line, its target, the fields that count, and what goes on: every refusal with its code. */
import t from 'tap'
import { type HeadFault, parseRequestHead, RequestHead } from '../../../../lib/proxy/http1/request-head.ts'

const parse = (line: string, ...fields: string[]): RequestHead | HeadFault =>
  parseRequestHead(`${[line, ...fields].join('\r\n')}\r\n\r\n`)

function accepted(line: string, ...fields: string[]): RequestHead {
  const head = parse(line, ...fields)
  if (head instanceof RequestHead) return head
  throw new Error(`${line} | ${fields.join(' | ')}: ${head.fault}`)
}

const codeOf = (line: string, ...fields: string[]): string => {
  const head = parse(line, ...fields)
  return head instanceof RequestHead ? 'accepted' : head.code
}

t.test('request lines that are none', async t => {
  const lines = [
    '',
    'GET',
    'GET ',
    'GET /',
    'GET / ',
    'GET /HTTP/1.1',
    'GET HTTP/1.1',
    'GET  HTTP/1.1',
    ' GET / HTTP/1.1',
    'GET  / HTTP/1.1',
    'GET /  HTTP/1.1',
    'GET / HTTP/1.1 ',
    'GET\t/ HTTP/1.1',
    'GET /\tHTTP/1.1',
    'GET / http/1.1',
    'GET / HTTP/1.2',
    'GET / HTTP/1.10',
    'GET / HTTP/1.',
    'GET / HTTP/1',
    'GET / HTTP/11',
    'GET / HTTP/0.9',
    'GET / HTTP/2.0',
    'GET / HTTP/01.1',
    'GET / HTTP/1.1x',
    'GET / XHTTP/1.1',
    'GET / HTTPS/1.1',
    'GET / HTTP /1.1',
    'GET / HTTP/+1.1',
    'GET / x HTTP/1.1',
    'G{T / HTTP/1.1',
    'GE\0T / HTTP/1.1',
    'G\xc9T / HTTP/1.1',
    '/ HTTP/1.1',
    'GET:/ HTTP/1.1',
    `${'M'.repeat(33)} / HTTP/1.1`,
    'PRI * HTTP/2.0',
    '\x16\x03\x01\x02\x00\x01\x00',
  ]
  for (const line of lines) t.equal(codeOf(line, 'Host: x'), 'bad_request', JSON.stringify(line))
})

t.test('methods are tokens, in their case, known or not', async t => {
  for (const method of ['GET', 'get', 'PATCH', 'PROPFIND', "M-SEARCH!#$%&'*+.^_`|~1", 'M'.repeat(32)])
    t.equal(accepted(`${method} / HTTP/1.1`, 'Host: x').method, method)
  t.equal(codeOf('CONNECT x:443 HTTP/1.1', 'Host: x'), 'upgrade_unsupported')
  t.equal(codeOf('CONNECT / HTTP/1.1', 'Host: x'), 'upgrade_unsupported')
  t.equal(codeOf('CONNECT x:443 HTTP/1.0'), 'upgrade_unsupported')
  t.equal(
    codeOf('CONNECT x:443 HTTP/1.1', 'Host: x', 'Content-Length: 1', 'Transfer-Encoding: chunked'),
    'bad_request',
    'bad framing is the worse fault',
  )
})

t.test('targets are byte for byte what came', async t => {
  for (const target of [
    '/',
    '//',
    '/a//b',
    '/%2F%00',
    '/a?b?c=/../',
    '/;x=1',
    '/a|b"<>{}^`',
    '/..a',
    '/a..',
    '?',
  ])
    if (target !== '?') t.equal(accepted(`GET ${target} HTTP/1.1`, 'Host: x').target, target)
  t.equal(accepted('GET /a?b HTTP/1.1', 'Host: x').path, '/a')
  for (const target of [
    '?',
    'a',
    '*',
    '/a b',
    '/a#b',
    '/\x80',
    '/\x7f',
    '/\x00',
    '/\x0b',
    '/a\rb',
    '/a\nb',
    '/..',
    '/../a',
    '/a/./b',
    '/%2e%2E/a',
    '/a/.%2e',
    '/a\\..\\b',
    '/a/..;x/b',
    '\\',
    'http:/x/',
    'http:x',
    'ftp://x/',
    'x:80',
    'httpx://x/',
    'javascript:alert(1)',
  ])
    t.equal(codeOf(`GET ${target} HTTP/1.1`, 'Host: x'), 'bad_request', JSON.stringify(target))
})

t.test('absolute form is routed by its authority and goes on in origin form', async t => {
  const cases = {
    'http://Y:81/p?q': ['Y:81', 'y', '/p?q'],
    'HTTP://y': ['y', 'y', '/'],
    'https://y/': ['y', 'y', '/'],
    'http://y?q': ['y', 'y', '/?q'],
    'http://[::1]:80/': ['[::1]:80', '[::1]', '/'],
    'http://y//z': ['y', 'y', '//z'],
  }
  for (const [target, [authority, hostname, origin]] of Object.entries(cases)) {
    const head = accepted(`GET ${target} HTTP/1.1`, 'Host: other')
    t.same([head.authority, head.hostname, head.target], [authority, hostname, origin], target)
  }
  for (const target of [
    'http://',
    'http:///',
    'http://?q',
    'http://u@y/',
    'http://u:p@y/',
    'http://y:123456/',
    'http://y:8a/',
    'http://[::1/',
    'http://[/',
    'http://y z/',
    'http://y#f',
    'http://y/#f',
    'http://y\\z/',
    'http://y/../z',
    'http://%zz/',
  ])
    t.equal(codeOf(`GET ${target} HTTP/1.1`, 'Host: x'), 'bad_request', target)
  t.equal(codeOf('GET http://y/ HTTP/1.1'), 'bad_request', 'Host is needed all the same')
  t.equal(
    codeOf('GET http://y/ HTTP/1.1', 'Host: a b'),
    'bad_request',
    'and must be valid, though it gives way',
  )
})

t.test('the asterisk is for OPTIONS alone', async t => {
  t.equal(accepted('OPTIONS * HTTP/1.1', 'Host: x').target, '*')
  t.equal(accepted('OPTIONS http://y HTTP/1.1', 'Host: x').target, '*', 'RFC 9112 §3.2.4')
  t.equal(accepted('OPTIONS http://y/ HTTP/1.1', 'Host: x').target, '/')
  t.equal(accepted('OPTIONS http://y?q HTTP/1.1', 'Host: x').target, '/?q')
  for (const line of ['GET * HTTP/1.1', 'options * HTTP/1.1', 'OPTIONS ** HTTP/1.1', 'OPTIONS *? HTTP/1.1'])
    t.equal(codeOf(line, 'Host: x'), 'bad_request', line)
})

t.test('hosts', async t => {
  const good = [
    'x',
    'X.y:80',
    'x:',
    '127.0.0.1',
    '[::1]',
    '[fe80::1]:8080',
    'a_b',
    "a!$&'()*+,;=b",
    '%41',
    'x:99999',
  ]
  for (const host of good) t.equal(accepted('GET / HTTP/1.1', `Host: ${host}`).authority, host)
  for (const host of [
    'a b',
    'a/b',
    'a?b',
    'a#b',
    'u@a',
    '[::1',
    '::1',
    'a:b',
    '%4',
    'a:123456',
    'a\\b',
    '\x80',
    '"a"',
  ])
    t.equal(codeOf('GET / HTTP/1.1', `Host: ${host}`), 'bad_request', host)
  t.equal(accepted('GET / HTTP/1.1', 'Host:').authority, '', 'empty: the target has no authority')
  t.equal(codeOf('GET / HTTP/1.1'), 'bad_request', 'missing')
  t.equal(accepted('GET / HTTP/1.0').authority, '', 'HTTP/1.0 may leave it out')
  t.equal(codeOf('GET / HTTP/1.1', 'Host: x', 'hOST: x'), 'bad_request', 'twice')
  t.equal(codeOf('GET / HTTP/1.0', 'Host: x', 'Host: x'), 'bad_request', 'twice, HTTP/1.0')
  t.equal(accepted('GET / HTTP/1.1', 'Host: A').hostname, 'a')
  t.equal(
    accepted('GET / HTTP/1.1', 'Host: B').hostname,
    'b',
    'the host before is not remembered for this one',
  )
})

t.test('lengths', async t => {
  const framing = (...fields: string[]) => {
    const head = accepted('POST / HTTP/1.1', 'Host: x', ...fields)
    return [head.body, head.length]
  }
  t.same(framing(), ['none', -1])
  t.same(framing('Content-Length: 0'), ['none', 0])
  t.same(framing('Content-Length: 5'), ['length', 5])
  t.same(framing('content-length:\t007 '), ['length', 7])
  t.same(framing(`Content-Length: ${'9'.repeat(15)}`), ['length', 999_999_999_999_999])
  t.same(framing('Transfer-Encoding: CHUNKED'), ['chunked', -1])
  const values = [
    '',
    '+5',
    '-5',
    '-0',
    '5,5',
    '5, 5',
    '5 5',
    '5;',
    '0x5',
    '5.0',
    '1e3',
    '5a',
    '\xb2',
    '"5"',
    '9'.repeat(16),
    '\xa05',
    '5\xa0',
  ]
  for (const value of values)
    t.equal(codeOf('POST / HTTP/1.1', 'Host: x', `Content-Length: ${value}`), 'bad_request', value)
  for (const fields of [
    ['Content-Length: 5', 'Content-Length: 5'],
    ['Content-Length: 5', 'content-length: 6'],
    ['Content-Length:', 'Content-Length: 5'],
    ['Content-Length: 5', 'Content-Length:'],
    ['Content-Length: 5', 'Transfer-Encoding: chunked'],
    ['Transfer-Encoding: chunked', 'Content-Length: 0'],
  ])
    t.equal(codeOf('POST / HTTP/1.1', 'Host: x', ...fields), 'bad_request', fields.join(' | '))
  t.equal(codeOf('GET / HTTP/1.0', 'Content-Length: x'), 'bad_request', 'HTTP/1.0 as well')
})

t.test('one transfer coding is known, and it is known by its name alone', async t => {
  const values = [
    '',
    ',',
    'chunked,',
    ',chunked',
    'chunked, chunked',
    'chunked chunked',
    'gzip',
    'gzip, chunked',
    'chunked, gzip',
    'identity',
    'identity, chunked',
    'chunked, identity',
    'xchunked',
    'chunkedx',
    'x chunked',
    '"chunked"',
    'chunked;q=1',
    'chunked;foo',
    'chunke',
    'chunk',
    '\xa0chunked',
    'chunked\xa0',
    'chunked\x85',
  ]
  for (const value of values)
    t.equal(codeOf('POST / HTTP/1.1', 'Host: x', `Transfer-Encoding: ${value}`), 'bad_request', value)
  for (const fields of [
    ['Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'],
    ['Transfer-Encoding: chunked', 'Transfer-Encoding: identity'],
    ['Transfer-Encoding: identity', 'Transfer-Encoding: chunked'],
    ['Transfer-Encoding:', 'Transfer-Encoding: chunked'],
    ['Transfer-Encoding : chunked'],
    ['Transfer-Encoding\t: chunked'],
    ['Transfer-Encoding', ' : chunked'],
    ['Transfer-Encoding:', ' chunked'],
    ['X: y\nTransfer-Encoding: chunked'],
    ['X: y\rTransfer-Encoding: chunked'],
    [' Transfer-Encoding: chunked'],
  ])
    t.equal(codeOf('POST / HTTP/1.1', 'Host: x', ...fields), 'bad_request', JSON.stringify(fields))
  t.equal(codeOf('POST / HTTP/1.0', 'Host: x', 'Transfer-Encoding: chunked'), 'bad_request', 'HTTP/1.0')
  const alias = accepted('POST / HTTP/1.1', 'Host: x', 'Transfer_Encoding: chunked', 'Content_Length: 9')
  t.same([alias.body, alias.kept], ['none', ''], 'another spelling frames nothing, and does not pass')
})

t.test('keep-alive', async t => {
  const keeps = (version: string, ...fields: string[]) =>
    accepted(`GET / HTTP/${version}`, 'Host: x', ...fields).keepAlive
  t.equal(keeps('1.1'), true)
  t.equal(keeps('1.1', 'Connection: close'), false)
  t.equal(keeps('1.1', 'Connection: CLOSE'), false)
  t.equal(keeps('1.1', 'Connection: keep-alive, close'), false)
  t.equal(keeps('1.1', 'Connection: close', 'Connection: keep-alive'), false)
  t.equal(keeps('1.1', 'Connection: closed'), true)
  t.equal(keeps('1.1', 'Connection:'), true)
  t.equal(keeps('1.0'), false)
  t.equal(keeps('1.0', 'Connection: Keep-Alive'), true)
  t.equal(keeps('1.0', 'Connection: keep-alive, close'), false)
  t.equal(keeps('1.0', 'Keep-Alive: timeout=5'), false)
  t.equal(keeps('1.0', 'Proxy-Connection: keep-alive'), false)
})

t.test('what passes is the text that came, in its order, without what is for one hop', async t => {
  const head = accepted(
    'GET / HTTP/1.1',
    'accept:  */* ',
    'Host: x',
    'X-A: 1',
    'Connection: X-Gone, x-LOST,  ,X-Gone, keep-alive',
    'x-gone: 1',
    'X-GONE: 2',
    'X-Lost: 3',
    'X-Gone-Too: 4',
    'Keep-Alive: 5',
    'Proxy-Connection: close',
    'Proxy-Authorization: secret',
    'TE: trailers, deflate',
    'Trailer: X',
    'Upgrade: h2c',
    'HTTP2-Settings: AAAA',
    'X-Forwarded-For: 10.0.0.1',
    'X_Forwarded_For: 10.0.0.1',
    'Via: 1.1 evil',
    'X-Tidegate-Backend: b',
    'Cookie: a=1',
    'Cookie: b=2',
    'X-A: 2',
    'X-Obs: \xe9',
  )
  t.equal(
    head.kept,
    'accept:  */* \r\nX-A: 1\r\nX-Gone-Too: 4\r\nCookie: a=1\r\nCookie: b=2\r\nX-A: 2\r\nX-Obs: \xe9\r\n',
  )
  t.equal(head.cookie, 'a=1; b=2')
  t.equal(head.takesTrailers, true)
  t.equal(head.forwarded, true)
  t.equal(head.field('x-a'), '1, 2')
  t.equal(head.field('host'), 'x')
  t.equal(head.field('x'), undefined)
  t.equal(head.fields().cookie, 'a=1; b=2')
  t.equal(Object.getPrototypeOf(head.fields()), null, 'a field named __proto__ is only a field')
})

t.test('Connection cannot take away what decides who is asked, by whom, or how much', async t => {
  const essential = [
    'Content-Type',
    'Content-Encoding',
    'Cookie',
    'Authorization',
    'Sec-WebSocket-Key',
    'Cache-Control',
  ]
  for (const name of essential)
    t.equal(
      accepted('GET / HTTP/1.1', 'Host: x', `Connection: close, ${name.toLowerCase()}`, `${name}: v`).kept,
      `${name}: v\r\n`,
      name,
    )
  const named = accepted(
    'POST / HTTP/1.1',
    'Host: x',
    'Content-Length: 5',
    'Connection: host, content-length',
  )
  t.same([named.authority, named.body, named.length], ['x', 'length', 5])
  const chunked = accepted(
    'POST / HTTP/1.1',
    'Host: x',
    'Transfer-Encoding: chunked',
    'Connection: Transfer-Encoding',
  )
  t.equal(chunked.body, 'chunked')
  const nobody = accepted('GET / HTTP/1.1', 'Host: x', 'Connection: X-A\xa0', 'X-A: 1')
  t.equal(nobody.kept, 'X-A: 1\r\n', 'a name is a token: nothing is trimmed but blanks and tabs')
})

t.test('expectations', async t => {
  const expects = (...fields: string[]) => accepted('POST / HTTP/1.1', 'Host: x', ...fields)
  t.equal(expects('Expect: 100-Continue').expectsContinue, true)
  t.equal(expects().expectsContinue, false)
  t.notMatch(expects('Expect: 100-continue').kept, /expect/i, 'it is answered here')
  for (const fields of [
    ['Expect: 100-continued'],
    ['Expect: 200-ok'],
    ['Expect:'],
    ['Expect: 100-continue, x'],
    ['Expect: x', 'Expect: 100-continue'],
  ])
    t.equal(codeOf('POST / HTTP/1.1', 'Host: x', ...fields), 'expectation_failed', fields.join(' | '))
  t.equal(accepted('POST / HTTP/1.0', 'Host: x', 'Expect: 100-continue').expectsContinue, false)
  t.equal(codeOf('POST / HTTP/1.0', 'Expect: nonsense'), 'accepted', 'HTTP/1.0 knows no expectations')
})

t.test('upgrades: a clean WebSocket handshake, or no upgrade at all', async t => {
  const upgrades = (line: string, ...fields: string[]) => accepted(line, 'Host: x', ...fields).webSocket
  const get = 'GET / HTTP/1.1'
  t.equal(upgrades(get, 'Connection: keep-alive, Upgrade', 'Upgrade: WebSocket'), true)
  t.equal(upgrades(get, 'Connection: upgrade', 'Upgrade: websocket', 'Content-Length: 0'), true)
  t.equal(upgrades(get, 'Upgrade: websocket'), false, 'Connection does not say so')
  t.equal(upgrades(get, 'Connection: upgrade'), false)
  t.equal(upgrades(get, 'Connection: upgrade', 'Upgrade: h2c'), false)
  t.equal(upgrades(get, 'Connection: upgrade', 'Upgrade: websocket, h2c'), false)
  t.equal(upgrades(get, 'Connection: upgrade', 'Upgrade: websocket', 'Upgrade: h2c'), false)
  t.equal(
    upgrades(get, 'Connection: upgrade', 'Upgrade: websocket', 'Content-Length: 5'),
    false,
    'with a body',
  )
  t.equal(upgrades('POST / HTTP/1.1', 'Connection: upgrade', 'Upgrade: websocket'), false)
  t.equal(upgrades('GET / HTTP/1.0', 'Connection: upgrade', 'Upgrade: websocket'), false)
  t.notMatch(accepted(get, 'Host: x', 'Connection: upgrade', 'Upgrade: h2c').kept, /upgrade/i)
})

t.test('as many fields as allowed, and no more', async t => {
  const fields = (count: number) => Array.from({ length: count }, (_, i) => `X-${i}: v`)
  t.equal(codeOf('GET / HTTP/1.1', 'Host: x', ...fields(199)), 'accepted')
  t.not(codeOf('GET / HTTP/1.1', 'Host: x', ...fields(200)), 'accepted')
})

t.test('a fault repeats nothing of the request, and leaves nothing for the next', async t => {
  const refused = parse(
    'GET / HTTP/1.1',
    'Host: x',
    'Content-Length: secret',
    'Connection: X-A',
    'Expect: 100-continue',
  )
  t.notMatch((refused as HeadFault).fault, /secret/)
  const next = accepted('GET / HTTP/1.1', 'Host: x', 'X-A: 1')
  t.same([next.kept, next.length, next.expectsContinue, next.keepAlive], ['X-A: 1\r\n', -1, false, true])
})
