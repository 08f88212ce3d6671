/** The head that goes to a backend, as text: framed by us, with nothing in it that was not there or that we did not write. */
import t from 'tap'
import type { Member } from '../../../../lib/cluster/member.ts'
import type { Hop } from '../../../../lib/proxy/headers.ts'
import {
  ForwardingLines,
  forwardingText,
  outboundText,
  relayedText,
} from '../../../../lib/proxy/http1/outbound-text.ts'
import { parseRequestHead, RequestHead } from '../../../../lib/proxy/http1/request-head.ts'

const member = { host: '10.0.0.1', port: 80 } as Member
const six = { host: 'fd00::1', port: 8080 } as Member

function head(line: string, ...fields: string[]): RequestHead {
  const parsed = parseRequestHead(`${[line, ...fields].join('\r\n')}\r\n\r\n`)
  if (parsed instanceof RequestHead) return parsed
  throw new Error(parsed.fault)
}

const hop = (of: RequestHead, over: Partial<Hop> = {}): Hop => ({
  peer: '192.0.2.7',
  trusted: false,
  secure: false,
  port: 8080,
  version: of.httpVersionMinor === 0 ? '1.0' : '1.1',
  authority: of.authority,
  ...over,
})

t.test('a relayed head: one Host, one framing, the rest as it came', async t => {
  const cases: [RequestHead, string][] = [
    [
      head('GET /a?b HTTP/1.1', 'X: 1', 'host:  H:80 '),
      'GET /a?b HTTP/1.1\r\nHost: H:80\r\nF: f\r\nX: 1\r\n\r\n',
    ],
    [head('GET http://y/p HTTP/1.1', 'Host: x'), 'GET /p HTTP/1.1\r\nHost: y\r\nF: f\r\n\r\n'],
    [head('GET / HTTP/1.0'), 'GET / HTTP/1.1\r\nHost: 10.0.0.1:80\r\nF: f\r\n\r\n'],
    [
      head('POST / HTTP/1.1', 'Host: x', 'Content-Length: 007', 'Connection: close'),
      'POST / HTTP/1.1\r\nHost: x\r\nF: f\r\nContent-Length: 7\r\n\r\n',
    ],
    [
      head('POST / HTTP/1.1', 'Host: x', 'Content-Length: 0'),
      'POST / HTTP/1.1\r\nHost: x\r\nF: f\r\nContent-Length: 0\r\n\r\n',
    ],
    [
      head('POST / HTTP/1.1', 'Host: x', 'Transfer-Encoding: CHUNKED', 'TE: gzip, trailers', 'Trailer: A'),
      'POST / HTTP/1.1\r\nHost: x\r\nF: f\r\nTE: trailers\r\nConnection: TE\r\nTransfer-Encoding: chunked\r\n\r\n',
    ],
    [
      head('DELETE / HTTP/1.1', 'Host: x', 'Transfer-Encoding: chunked', 'Connection: keep-alive, upgrade'),
      'DELETE / HTTP/1.1\r\nHost: x\r\nF: f\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n',
    ],
    [
      head('DELETE / HTTP/1.1', 'Host: x', 'Transfer-Encoding: chunked', 'TE: trailers'),
      'DELETE / HTTP/1.1\r\nHost: x\r\nF: f\r\nTE: trailers\r\nConnection: close, TE\r\nTransfer-Encoding: chunked\r\n\r\n',
    ],
    [
      head('DELETE / HTTP/1.1', 'Host: x', 'Content-Length: 5'),
      'DELETE / HTTP/1.1\r\nHost: x\r\nF: f\r\nContent-Length: 5\r\n\r\n',
    ],
    [
      head('GET / HTTP/1.1', 'Host: x', 'Connection: upgrade', 'Upgrade: WebSocket', 'Sec-WebSocket-Key: k'),
      'GET / HTTP/1.1\r\nHost: x\r\nF: f\r\nSec-WebSocket-Key: k\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    ],
    [
      head('GET / HTTP/1.1', 'Host: x', 'Upgrade: h2c', 'Connection: upgrade'),
      'GET / HTTP/1.1\r\nHost: x\r\nF: f\r\n\r\n',
    ],
    [head('OPTIONS * HTTP/1.1', 'Host: x'), 'OPTIONS * HTTP/1.1\r\nHost: x\r\nF: f\r\n\r\n'],
  ]
  const host = ({ authority }: RequestHead) => (authority === '' ? '' : `Host: ${authority}\r\n`)
  for (const [from, text] of cases) t.equal(relayedText(from, `${host(from)}F: f\r\n`, member), text)
  t.match(relayedText(head('GET / HTTP/1.0'), '', six), 'Host: [fd00::1]:8080\r\n')
})

t.test('forwarding lines: ours alone, or ours after those of a trusted peer', async t => {
  const from = head(
    'GET / HTTP/1.1',
    'Host: x',
    'X-Forwarded-For: 1.2.3.4',
    'X-Real-IP: 1.2.3.4',
    'Via: 1.0 a',
  )
  t.equal(
    forwardingText(from, hop(from)),
    'via: 1.0 a, 1.1 tidegate\r\nforwarded: for=192.0.2.7;proto=http;host=x\r\nx-forwarded-for: 192.0.2.7\r\n' +
      'x-forwarded-host: x\r\nx-forwarded-proto: http\r\nx-forwarded-port: 8080\r\n',
  )
  const trusted = forwardingText(from, hop(from, { trusted: true }))
  t.match(trusted, 'x-forwarded-for: 1.2.3.4, 192.0.2.7\r\n')
  t.match(trusted, 'x-real-ip: 1.2.3.4\r\n')
})

t.test('the lines of a connection: Host first, made anew only where something of them changes', async t => {
  const lines = new ForwardingLines()
  const [x, y] = [head('GET / HTTP/1.1', 'Host: x'), head('GET / HTTP/1.1', 'Host: y')]
  const ofX = `Host: x\r\n${forwardingText(x, hop(x))}`
  t.equal(lines.of(x, hop(x)), ofX)
  t.equal(lines.of(y, hop(y)), `Host: y\r\n${forwardingText(y, hop(y))}`)
  t.equal(lines.of(x, hop(x)), ofX)
  const old = head('GET / HTTP/1.0')
  t.equal(lines.of(old, hop(old)), forwardingText(old, hop(old)), 'without a Host there is none of it')
  const said = head('GET / HTTP/1.1', 'Host: x', 'X-Forwarded-For: 1.2.3.4')
  t.match(lines.of(said, hop(said, { trusted: true })), 'Host: x\r\n')
  t.equal(lines.of(x, hop(x)), ofX, 'what one request said is not the next one')
})

t.test('a head made from fields', async t => {
  t.equal(
    outboundText('GET', '/', { a: ['1', '2'], host: 'h', none: undefined, n: 5 }, member),
    'GET / HTTP/1.1\r\na: 1\r\na: 2\r\nhost: h\r\nn: 5\r\n\r\n',
  )
  t.equal(outboundText('GET', '/', {}, six), 'GET / HTTP/1.1\r\nHost: [fd00::1]:8080\r\n\r\n')
})
