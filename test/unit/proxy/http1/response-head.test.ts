/** A backend's answer head: what is refused, where its body ends, what of it passes. */
import t from 'tap'
import {
  parseResponseHead,
  type ResponseFault,
  ResponseHead,
  responseFieldsMax,
} from '../../../../lib/proxy/http1/response-head.ts'

const parse = (line: string, fields: readonly string[] = [], toHead = false): ResponseHead | ResponseFault =>
  parseResponseHead(`${[line, ...fields].join('\r\n')}\r\n\r\n`, toHead)

function accepted(line: string, fields: readonly string[] = [], toHead = false): ResponseHead {
  const head = parse(line, fields, toHead)
  if (head instanceof ResponseHead) return head
  throw new Error(`${line} | ${fields.join(' | ')}: ${head.fault}`)
}

const ok = 'HTTP/1.1 200 OK'

t.test('status lines', async t => {
  const good: Record<string, [number, string]> = {
    'HTTP/1.1 200 OK': [200, 'OK'],
    'HTTP/1.0 200 OK': [200, 'OK'],
    'HTTP/1.1 200 ': [200, ''],
    'HTTP/1.1 200': [200, ''],
    'HTTP/1.1 204 No  Content\there ': [204, 'No  Content\there '],
    'HTTP/1.1 299 \xe9t\xe9': [299, '\xe9t\xe9'],
    'HTTP/1.1 999 Odd': [999, 'Odd'],
  }
  for (const [line, [status, message]] of Object.entries(good)) {
    const head = accepted(line)
    t.same([head.status, head.message], [status, message], JSON.stringify(line))
  }
  const bad = [
    '',
    'HTTP/1.1',
    'HTTP/1.1 ',
    'HTTP/1.1 20',
    'HTTP/1.1 2000 OK',
    'HTTP/1.1 20O OK',
    'HTTP/1.1 099 Low',
    'HTTP/1.1 000 Zero',
    'HTTP/1.1 -20 OK',
    'HTTP/1.1 +20 OK',
    'HTTP/1.1 2 0 OK',
    'HTTP/1.1  200 OK',
    'HTTP/1.1\t200 OK',
    'HTTP/1.1 200\tOK',
    'HTTP/1.1 200OK',
    'HTTP/1.2 200 OK',
    'HTTP/1.11 200 OK',
    'HTTP/2.0 200 OK',
    'HTTP/1. 200 OK',
    'http/1.1 200 OK',
    ' HTTP/1.1 200 OK',
    'ICY 200 OK',
    'HTTP/1.1 200 O\x00K',
    'HTTP/1.1 200 O\x7fK',
    'HTTP/1.1 200 O\rK',
    'HTTP/1.1 200 O\nX: y',
    'HTTP/1.1 200 OK\n',
    '\r\nHTTP/1.1 200 OK',
    'GET / HTTP/1.1',
    '<html>',
  ]
  for (const line of bad) t.type((parse(line) as ResponseFault).fault, 'string', JSON.stringify(line))
})

t.test('where the body ends', async t => {
  const framing = (line: string, fields: string[], toHead = false) => {
    const head = accepted(line, fields, toHead)
    return [head.framing, head.length, head.keepAlive]
  }
  t.same(framing(ok, ['Content-Length: 5']), ['length', 5, true])
  t.same(framing(ok, ['Content-Length: 0']), ['none', 0, true])
  t.same(framing(ok, ['Transfer-Encoding: Chunked']), ['chunked', -1, true])
  t.same(framing(ok, []), ['close', -1, false], 'nothing said: with the connection')
  t.same(framing(ok, ['Content-Length: 5'], true), ['none', 5, true], 'HEAD')
  t.same(framing(ok, [], true), ['none', -1, true])
  t.same(framing(ok, ['Transfer-Encoding: chunked'], true), ['none', -1, true])
  t.same(framing('HTTP/1.1 304 Same', ['Content-Length: 5']), ['none', 5, true])
  t.same(framing('HTTP/1.1 304 Same', ['Transfer-Encoding: chunked']), ['none', -1, true])
  t.same(framing('HTTP/1.1 204 None', ['Content-Length: 5']), ['none', -1, true])
  t.same(framing('HTTP/1.1 100 Go', ['Content-Length: 5']), ['none', -1, true])
  t.same(framing('HTTP/1.1 103 Hints', ['Transfer-Encoding: chunked']), ['none', -1, true])
  t.same(framing('HTTP/1.1 205 Reset', ['Content-Length: 0']), ['none', 0, true])
  t.same(framing('HTTP/1.0 200 OK', ['Content-Length: 5']), ['length', 5, false])
  t.same(framing('HTTP/1.0 200 OK', []), ['close', -1, false])
  t.same(framing(ok, ['Content-Length: 5', 'Connection: close']), ['length', 5, false])
  t.same(framing(ok, ['Content-Length: 5', 'Connection: x, CLOSE ']), ['length', 5, false])
})

t.test('a body whose end two readers could see in two places', async t => {
  const cases = [
    ['Content-Length: 5', 'Content-Length: 5'],
    ['Content-Length: 5', 'content-length: 6'],
    ['Content-Length: 5, 5'],
    ['Content-Length: +5'],
    ['Content-Length: -5'],
    ['Content-Length:'],
    ['Content-Length: 0x5'],
    [`Content-Length: ${'9'.repeat(16)}`],
    ['Content-Length: 5', 'Transfer-Encoding: chunked'],
    ['Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'],
    ['Transfer-Encoding: identity'],
    ['Transfer-Encoding: gzip, chunked'],
    ['Transfer-Encoding: xchunked'],
    ['Transfer-Encoding:'],
    ['Transfer-Encoding: chunked\xa0'],
    ['Transfer-Encoding : chunked'],
    ['A: b', ' folded: c'],
    ['A: b\nContent-Length: 5'],
    ['A: b\rContent-Length: 5'],
    ['A b: c'],
    [': c'],
    ['A: \0'],
    ['no colon'],
  ]
  for (const fields of cases) {
    t.type((parse(ok, fields) as ResponseFault).fault, 'string', JSON.stringify(fields))
    t.type((parse(ok, fields, true) as ResponseFault).fault, 'string', 'to HEAD as well')
    t.type((parse('HTTP/1.1 304 Same', fields) as ResponseFault).fault, 'string', 'and in a 304')
  }
  t.type(
    (parse('HTTP/1.0 200 OK', ['Transfer-Encoding: chunked']) as ResponseFault).fault,
    'string',
    'HTTP/1.0',
  )
})

t.test('what passes is the text that came, without what is for one hop', async t => {
  const head = accepted(ok, [
    'x-a:  1',
    'Connection: X-Gone, set-cookie, close, keep-alive',
    'X-GONE: 1',
    'Keep-Alive: timeout=5',
    'Proxy-Authenticate: Basic',
    'Proxy-Connection: close',
    'Upgrade: h2c',
    'Trailer: X-T',
    'TE: x',
    'Set-Cookie: a',
    'Set-Cookie: b',
    'Via: 1.1 other',
    'X-Tidegate-Backend: forged',
    'x_under: score',
    'Content-Length: 3',
    'X-A: \xe9 ',
  ])
  t.equal(
    head.kept,
    'x-a:  1\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nVia: 1.1 other\r\nx_under: score\r\nX-A: \xe9 \r\n',
  )
  t.same(head.fields(), [
    ...[
      'x-a',
      '1',
      'Set-Cookie',
      'a',
      'Set-Cookie',
      'b',
      'Via',
      '1.1 other',
      'x_under',
      'score',
      'X-A',
      '\xe9',
    ],
    ...['Content-Length', '3'],
  ])
  t.equal(head.keepAlive, false)
  t.equal(
    accepted(ok, ['Connection: X-A\xa0', 'X-A: 1']).kept,
    'X-A: 1\r\n',
    'only blanks and tabs are trimmed',
  )
})

t.test('how long the backend keeps its connection', async t => {
  const keeps = (...fields: string[]) => accepted(ok, fields).keepsMs
  t.equal(keeps(), Number.POSITIVE_INFINITY)
  t.equal(keeps('Keep-Alive: timeout=5'), 5_000)
  t.equal(keeps('keep-alive: max=100, Timeout = 15'), 15_000)
  t.equal(keeps('Keep-Alive: timeout=5', 'Keep-Alive: timeout=3'), 3_000)
  t.equal(keeps('Keep-Alive: timeout=0'), 0)
  for (const odd of ['max=100', 'timeout=-1', 'timeout=5s', 'xtimeout=5', 'timeout=', 'timeout=1e3', ''])
    t.equal(keeps(`Keep-Alive: ${odd}`), Number.POSITIVE_INFINITY, odd)
  t.equal(accepted(ok, ['Keep-Alive: timeout=5', 'X-A: 1']).kept, 'X-A: 1\r\n', 'it is not passed on')
})

t.test('what it switches to', async t => {
  const upgrade = (...fields: string[]) => accepted('HTTP/1.1 101 Go', fields).upgrade
  t.equal(upgrade('Connection: upgrade', 'Upgrade: WebSocket'), 'websocket')
  t.equal(upgrade('Connection: upgrade', 'Upgrade: h2c'), 'h2c')
  t.equal(upgrade(), null)
  t.not(upgrade('Upgrade: h2c', 'Upgrade: websocket'), 'websocket', 'two are none that we know')
})

t.test('as many fields as allowed, and no more', async t => {
  const fields = (count: number) => Array.from({ length: count }, (_, i) => `X-${i}: v`)
  t.type(parse(ok, fields(responseFieldsMax)), ResponseHead)
  t.type((parse(ok, fields(responseFieldsMax + 1)) as ResponseFault).fault, 'string')
})
