/** Heads out of pieces: the same verdict and the same rest, wherever the bytes are cut, and no byte beyond the limit. */
import t from 'tap'
import { HeadBuffer } from '../../../../lib/proxy/http1/head-buffer.ts'
import { RequestHead } from '../../../../lib/proxy/http1/request-head.ts'
import { requestHeadBytesMax } from '../../../../lib/proxy/limits.ts'

/** What became of the pieces: a target or a code, and what was left; `waits` if the head is not whole. */
function read(pieces: readonly string[]): string {
  const buffer = new HeadBuffer()
  for (const [i, piece] of pieces.entries()) {
    const head = buffer.read(Buffer.from(piece, 'latin1'))
    if (head === null) continue
    if (!(head instanceof RequestHead)) return head.code
    const left = (buffer.left?.toString('latin1') ?? '') + pieces.slice(i + 1).join('')
    return `${head.target} ${left.length > 100 ? left.length : left}`
  }
  return 'waits'
}

const request = 'GET /a HTTP/1.1\r\nHost: x\r\n\r\n'
/** Longer than what is looked at as a whole. */
const long = `POST /b HTTP/1.1\r\nHost: x\r\nX: ${'y'.repeat(2_000)}\r\nContent-Length: 9\r\n\r\n`

t.test('every cut gives the same', async t => {
  const cases: Record<string, string> = {
    [request]: '/a ',
    [`${request}rest`]: '/a rest',
    [`\r\n${request}rest`]: '/a rest',
    [`${request}${request}`]: `/a ${request}`,
    [`\r\n\r\n${request}`]: 'bad_request',
    [`\n${request}`]: 'bad_request',
    'GET /a HTTP/1.1\nHost: x\n\n': 'bad_request',
    'NONSENSE\r\n\r\n': 'bad_request',
    'CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n': 'upgrade_unsupported',
    'GET /a HTTP/1.1\r\nHost: x\r\n': 'waits',
    '\r\n': 'waits',
  }
  for (const [bytes, expected] of Object.entries(cases)) {
    t.equal(read([bytes]), expected, JSON.stringify(bytes))
    t.equal(read([...bytes]), expected, 'byte by byte')
    const others = new Set<string>()
    for (let first = 0; first <= bytes.length; first++)
      for (let second = first; second <= bytes.length; second++)
        others.add(read([bytes.slice(0, first), bytes.slice(first, second), bytes.slice(second)]))
    t.same([...others], [expected], 'in three pieces')
  }
})

t.test('a long head, and bodies behind heads', async t => {
  for (const body of ['', '123456789', `\r\n\r\n${'z'.repeat(5_000)}`, `123\r\n\r\n${'z'.repeat(50)}`]) {
    const bytes = long + body
    const expected = `/b ${body.length > 100 ? body.length : body}`
    const others = new Set<string>()
    for (let cut = 0; cut <= bytes.length; cut += 7) others.add(read([bytes.slice(0, cut), bytes.slice(cut)]))
    for (let cut = long.length - 5; cut <= long.length + 5; cut++)
      others.add(read([bytes.slice(0, cut), bytes.slice(cut)]))
    t.same([...others], [expected], `${body.length} bytes behind it`)
  }
})

t.test('16 KiB, and not a byte more', async t => {
  const sized = (bytes: number) => {
    const start = 'GET /a HTTP/1.1\r\nHost: x\r\nX: '
    return `${start}${'y'.repeat(bytes - start.length)}\r\n\r\n`
  }
  for (const [bytes, expected] of [
    [requestHeadBytesMax, '/a '],
    [requestHeadBytesMax + 1, 'headers_too_large'],
    [requestHeadBytesMax + 5_000, 'headers_too_large'],
  ] as const) {
    for (const [before, behind] of [
      ['', ''],
      ['\r\n', ''],
      ['', 'more'],
      ['\r\n', 'z'.repeat(20_000)],
    ] as const) {
      const text = before + sized(bytes) + behind
      const result = expected === '/a ' ? `/a ${behind.length > 100 ? behind.length : behind}` : expected
      const others = new Set([read([text]), read(text.match(/[\s\S]{1,100}/g)!)])
      const end = text.length - behind.length
      for (const cut of [1, 2, 3, 2_000, ...Array.from({ length: 12 }, (_, i) => end - 8 + i)])
        others.add(read([text.slice(0, cut), text.slice(cut)]))
      t.same([...others], [result], `${bytes} bytes, ${before.length} before it, ${behind.length} behind it`)
    }
  }
  t.equal(read(['x'.repeat(requestHeadBytesMax)]), 'waits')
  t.equal(read(['x'.repeat(requestHeadBytesMax + 4)]), 'headers_too_large', 'without an end')
})

t.test('a buffer that was cleared begins anew', async t => {
  const buffer = new HeadBuffer()
  buffer.read(Buffer.from('\r\nGET /half'))
  t.equal(buffer.empty, false)
  buffer.clear()
  t.equal(buffer.empty, true)
  t.type(buffer.read(Buffer.from(`\r\n${request}`)), RequestHead)
})
