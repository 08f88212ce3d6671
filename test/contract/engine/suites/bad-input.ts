/** The table of bad input: every class of what a client or a backend may do wrong, the documented answer, and what becomes of the connection. */
import t from 'tap'
import { ManualClock } from '../../../support/manual-clock.ts'
import { inFlight, openFrontDoor, openRawBackend, rawClient, until } from '../../../support/traffic.ts'

const get = (...fields: string[]) => `${['GET / HTTP/1.1', 'Host: x', ...fields].join('\r\n')}\r\n\r\n`
const post = (fields: string, body: string) => `POST / HTTP/1.1\r\nHost: x\r\n${fields}\r\n\r\n${body}`
const chunked = (body: string) => post('Transfer-Encoding: chunked', body)
const line = (text: string) => `${text}\r\nHost: x\r\n\r\n`
const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'

/** Whatever is refused here is refused for good: the connection closes, for what follows cannot be told from what came. */
const fromClients: readonly (readonly [name: string, bytes: string, status: number])[] = [
  ['no request line', line('NONSENSE'), 400],
  ['TLS where there is none', '\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\r\n\r\n', 400],
  ['HTTP/2 where there is none', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400],
  ['another version', line('GET / HTTP/1.2'), 400],
  ['a method that is no token', line('G@T / HTTP/1.1'), 400],
  ['a target that is none', line('GET nowhere HTTP/1.1'), 400],
  ['a blank in the target', line('GET /a b HTTP/1.1'), 400],
  ['a control character in the target', line('GET /\x01 HTTP/1.1'), 400],
  ['a dot segment', line('GET /a/../b HTTP/1.1'), 400],
  ['CONNECT', line('CONNECT x:1 HTTP/1.1'), 501],
  ['no Host', 'GET / HTTP/1.1\r\n\r\n', 400],
  ['two Hosts', get('Host: y'), 400],
  ['a Host that is none', 'GET / HTTP/1.1\r\nHost: a/b\r\n\r\n', 400],
  ['a bare LF', 'GET / HTTP/1.1\nHost: x\n\n', 400],
  ['a bare CR', get('X: a\rb'), 400],
  ['a folded line', get('X: a\r\n b'), 400],
  ['a blank before a colon', get('X : a'), 400],
  ['no name', get(': a'), 400],
  ['no colon', get('X'), 400],
  ['a NUL', get('X: \0'), 400],
  ['too many fields', get(...Array.from({ length: 250 }, (_, i) => `X-${i}: y`)), 400],
  ['a head that is too large', get(`X: ${'y'.repeat(17_000)}`), 431],
  ['a head without end that is too large', `GET / HTTP/1.1\r\nX: ${'y'.repeat(17_000)}`, 431],
  ['two lengths', post('Content-Length: 1\r\nContent-Length: 1', 'x'), 400],
  ['a length that is none', post('Content-Length: +1', 'x'), 400],
  ['an empty length', post('Content-Length:', ''), 400],
  ['length and coding', post('Content-Length: 1\r\nTransfer-Encoding: chunked', '0\r\n\r\n'), 400],
  ['an unknown coding', post('Transfer-Encoding: gzip', 'x'), 400],
  ['chunked twice', post('Transfer-Encoding: chunked, chunked', '0\r\n\r\n'), 400],
  ['chunked in HTTP/1.0', 'POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 400],
  ['a chunk size that is none', chunked('x\r\n'), 400],
  ['a chunk longer than its size', chunked('1\r\nxx\r\n0\r\n\r\n'), 400],
  ['a bare LF in the chunks', chunked('1\nx\r\n0\r\n\r\n'), 400],
  ['a trailer that is none', chunked('0\r\nX y\r\n\r\n'), 400],
  ['another expectation', post('Expect: miracles\r\nContent-Length: 1', 'x'), 417],
]

t.test('what a client does wrong', async t => {
  const backend = await openRawBackend((socket, text) => {
    if (text.endsWith('\r\n\r\n') && !text.includes('POST')) socket.write(ok)
  })
  const clock = new ManualClock()
  const door = await openFrontDoor({ backends: [backend.port], clock })
  for (const [name, bytes, status] of fromClients) {
    const client = await rawClient(door.port, bytes)
    const answer = await client.expect('\r\n\r\n')
    t.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `), name)
    // An expectation that is refused leaves no doubt where the request ends.
    if (status !== 417) t.match(answer, /^connection: close\r$/im, `${name}: the connection closes`)
    client.socket.end()
    await clock.advance(2_000)
    await client.waitClosed()
    t.equal(client.text().split('HTTP/1.1 ').length, 2, `${name}: one answer`)
  }
  await until(() => door.context.exchanges.size === 0, 'the exchanges to be over')
  t.same([inFlight(door), door.board.total(0, 'failed')], [0, 0], 'no member is blamed')
  const client = await rawClient(door.port, get('Connection: close'))
  t.match(await client.waitClosed(), /^HTTP\/1\.1 200 /, 'others are served')
  await door.close()
  await backend.close()
})

/** Behind a request without a body the client's connection is kept: nothing of it is in doubt. */
const fromBackends: readonly (readonly [name: string, bytes: string, code: string])[] = [
  ['nothing', '', 'upstream_reset'],
  ['half a head', 'HTTP/1.1 200 OK\r\nX: ', 'upstream_reset'],
  ['no HTTP', 'SSH-2.0-OpenSSH\r\n', 'upstream_bad_response'],
  ['another version', 'HTTP/2 200 OK\r\n\r\n', 'upstream_bad_response'],
  ['a status that is none', 'HTTP/1.1 20 OK\r\n\r\n', 'upstream_bad_response'],
  ['a field that is none', 'HTTP/1.1 200 OK\r\nX y\r\n\r\n', 'upstream_bad_response'],
  [
    'a head that is too large',
    `HTTP/1.1 200 OK\r\nX: ${'y'.repeat(70_000)}\r\n\r\n`,
    'upstream_bad_response',
  ],
  [
    'two lengths',
    'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx',
    'upstream_bad_response',
  ],
  ['a length that is none', 'HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nx', 'upstream_bad_response'],
  [
    'length and coding',
    'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'upstream_bad_response',
  ],
  [
    'an unasked switch',
    'HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n',
    'upstream_bad_response',
  ],
]

t.test('what a backend does wrong', async t => {
  for (const [name, bytes, code] of fromBackends) {
    const backend = await openRawBackend(socket => socket.end(bytes, 'latin1'))
    const door = await openFrontDoor({ backends: [backend.port] })
    const client = await rawClient(door.port, get())
    const answer = await client.expect(code)
    t.match(answer, /^HTTP\/1\.1 502 /, name)
    t.notMatch(answer, /127\.0\.0\.1/, 'it names no address')
    t.equal(door.board.total(0, 'failed'), 1, `${name}: it counts against the member`)
    client.send(get())
    await until(
      () => client.text().split(' 502 ').length === 3,
      `${name}: another answer on the same connection`,
    )
    client.socket.destroy()
    await door.close()
    await backend.close()
  }
})

t.test(
  'what a backend does wrong behind its head breaks the connection, and nothing looks whole',
  async t => {
    for (const [name, body] of [
      ['a length, and less', 'Content-Length: 9\r\n\r\nhalf'],
      ['no chunk size', 'Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n'],
      ['a chunk longer than its size', 'Transfer-Encoding: chunked\r\n\r\n4\r\nhalfx\r\n0\r\n\r\n'],
      ['no last chunk', 'Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n'],
      ['half a trailer', 'Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\nX: '],
    ] as const) {
      const backend = await openRawBackend(socket => {
        socket.write('HTTP/1.1 200 OK\r\n')
        setImmediate(() => socket.end(body, 'latin1'))
      })
      const door = await openFrontDoor({ backends: [backend.port] })
      const client = await rawClient(door.port, get())
      const got = await client.waitClosed()
      t.notMatch(got, /\r\n0\r\n\r\n$/, name)
      if (got !== '') t.match(got, /^HTTP\/1\.1 200 [\s\S]*\r\n\r\n/, name)
      t.notMatch(got, / 502 /, `${name}: no second head`)
      t.equal(door.board.total(0, 'failed'), 1, `${name}: it counts against the member`)
      await door.close()
      await backend.close()
    }
  },
)
