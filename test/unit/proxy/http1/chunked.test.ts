/** The chunked coding, fed in every way that a network may cut it (RFC 9112 §7.1). */
import t from 'tap'
import { ChunkedReader } from '../../../../lib/proxy/http1/chunked.ts'

interface Outcome {
  readonly state: ChunkedReader['state']
  readonly body: string
  readonly trailers: readonly string[] | null
  /** Bytes that were not taken. */
  readonly left: string
}

/** Feeds `text` in pieces that end at `cuts`. */
function read(text: string, cuts: readonly number[] = [], reader = new ChunkedReader()): Outcome {
  let body = ''
  const sink = {
    onBody: (bytes: Buffer) => {
      body += bytes.toString('latin1')
    },
  }
  reader.reset()
  const bytes = Buffer.from(text, 'latin1')
  let at = 0
  let left = ''
  for (const cut of [...cuts, bytes.length]) {
    const piece = bytes.subarray(at, cut)
    at = cut
    const over = reader.state === 'done' || reader.state === 'fault'
    const end = over ? 0 : reader.feed(piece, 0, sink)
    if (reader.state === 'done') left += piece.toString('latin1', end)
  }
  return { state: reader.state, body, trailers: reader.trailers, left }
}

const bodies = {
  'no chunk at all': ['0\r\n\r\n', '', null],
  'one chunk': ['5\r\nhello\r\n0\r\n\r\n', 'hello', null],
  'several, in both cases of hex': [
    '1\r\na\r\nB\r\n0123456789a\r\na\r\n0123456789\r\n0\r\n\r\n',
    'a0123456789a0123456789',
    null,
  ],
  'zeros before a size': ['0000000000005\r\nhello\r\n000\r\n\r\n', 'hello', null],
  'bytes that look like framing': ['9\r\n\r\n0\r\n\r\n\r\n\r\n0\r\n\r\n', '\r\n0\r\n\r\n\r\n', null],
  extensions: ['5;a;b=c;d="e;f \\" \xe9";g=""\r\nhello\r\n0;last\r\n\r\n', 'hello', null],
  trailers: ['1\r\nx\r\n0\r\nA: b\r\nC:  d \r\n\r\n', 'x', ['A', 'b', 'C', 'd']],
} as const

t.test('what is valid is read the same, wherever it is cut', async t => {
  for (const [name, [text, body, trailers]] of Object.entries(bodies)) {
    const whole: Outcome = { state: 'done', body, trailers: trailers as string[] | null, left: '' }
    t.same(read(text), whole, name)
    const next = 'GET / HTTP/1.1'
    let wrong = 0
    for (let first = 0; first <= text.length; first++) {
      for (let second = first; second <= text.length; second++) {
        const got = read(text + next, [first, second])
        if (got.state !== 'done' || got.body !== body || got.left !== next) wrong++
        if (JSON.stringify(got.trailers) !== JSON.stringify(trailers)) wrong++
      }
    }
    const bytewise = read(
      text,
      Array.from(text, (_, at) => at),
    )
    t.same(bytewise, whole, `${name}, byte by byte`)
    t.equal(wrong, 0, `${name}, in three pieces, with another request behind it`)
  }
})

t.test('what is not valid is a fault, wherever it is cut', async t => {
  const faults = [
    '\r\nhello\r\n0\r\n\r\n',
    'g\r\n',
    '-1\r\nx\r\n',
    '+1\r\nx\r\n',
    '0x1\r\nx\r\n',
    ' 1\r\nx\r\n',
    '1 \r\nx\r\n',
    '1\t\r\nx\r\n',
    '1 ;a\r\nx\r\n',
    '1; a\r\nx\r\n',
    '1;\r\nx\r\n',
    '1;a=\r\nx\r\n',
    '1;=a\r\nx\r\n',
    '1;a="b\r\nx\r\n',
    '1;a="\x01"\r\nx\r\n',
    '1;a\rb\r\nx\r\n',
    '1;a\nx\r\n0\r\n\r\n',
    '1,a\r\nx\r\n',
    '1 2\r\nx\r\n',
    '1\nx\r\n0\r\n\r\n',
    '1\rx\r\n0\r\n\r\n',
    '1\r\r\nx\r\n',
    '1\n\r\nx\r\n',
    '1\r\nx0\r\n\r\n',
    '1\r\nx\n0\r\n\r\n',
    '1\r\nx\r0\r\n\r\n',
    '1\r\nxx\r\n0\r\n\r\n',
    '2\r\nx\r\n0\r\n\r\n',
    '10000000000000\r\nx',
    '00000000000001\r\nx\r\n0\r\n\r\n',
    'ffffffffffffffff\r\nx',
    '0\r\nno colon\r\n\r\n',
    '0\r\n: no name\r\n\r\n',
    '0\r\nA : b\r\n\r\n',
    '0\r\nA: b\r\n folded\r\n\r\n',
    '0\r\n folded\r\n\r\n',
    '0\r\nA: b\nC: d\r\n\r\n',
    '0\r\nA: b\rC: d\r\n\r\n',
    '0\r\nA: \0\r\n\r\n',
    '0\r\nGET / HTTP/1.1\r\n\r\n',
  ]
  for (const text of faults) {
    t.equal(read(text).state, 'fault', JSON.stringify(text))
    let other = 0
    for (let cut = 0; cut < text.length; cut++) if (read(text, [cut]).state !== 'fault') other++
    t.equal(other, 0, 'in two pieces')
  }
})

t.test('the last chunk has to end in an empty line of CR LF', async t => {
  for (const text of ['0\r\n\n', '0\r\n\r', '0\r\n\rX', '0\n\n', '0\r\n']) {
    const { state } = read(`${text}`)
    t.not(state, 'done', JSON.stringify(text))
  }
})

t.test('limits: what is allowed passes, one more does not', async t => {
  const sizeLine = (bytes: number) => read(`1;${'a'.repeat(bytes - 2)}\r\nx\r\n0\r\n\r\n`).state
  t.same([sizeLine(255), sizeLine(257)], ['done', 'fault'], 'a size line of 256 bytes with its CR')
  const extensions = (bytes: number) => {
    const line = `1;${'a'.repeat(99)}\r\nx\r\n`
    return read(`${line.repeat(Math.floor(bytes / 100))}0\r\n\r\n`).state
  }
  t.same([extensions(4_000), extensions(4_200)], ['done', 'fault'], '4 KiB of extensions in all')
  const trailers = (bytes: number) => read(`0\r\nA: ${'a'.repeat(bytes)}\r\n\r\n`).state
  t.same([trailers(8 * 1024 - 8), trailers(8 * 1024 + 2)], ['done', 'fault'], '8 KiB of trailers')
  const fields = (count: number) => read(`0\r\n${'A: b\r\n'.repeat(count)}\r\n`).state
  t.same([fields(64), fields(65)], ['done', 'fault'], '64 trailer fields')
  t.equal(read(`0\r\n${'A: b\r\n'.repeat(5_000)}`).state, 'fault', 'trailers without end end')
  t.equal(read('1'.repeat(300)).state, 'fault', 'and so does a size')
  const slow = `0\r\nA: ${'a'.repeat(9_000)}`
  t.equal(
    read(
      slow,
      Array.from(slow, (_, at) => at),
    ).state,
    'fault',
    'byte by byte as well',
  )
})

t.test('a reader serves one body after another', async t => {
  const reader = new ChunkedReader()
  t.equal(read('5\r\nhel', [], reader).state, 'data')
  t.equal(read('zz\r\n', [], reader).state, 'fault')
  t.match(read('2\r\nok\r\n0\r\nA: b\r\n\r\n', [], reader), {
    state: 'done',
    body: 'ok',
    trailers: ['A', 'b'],
  })
  t.match(read('0\r\n\r\n', [], reader), { state: 'done', body: '', trailers: null })
})

t.test('a large chunk is passed on as it comes, and its size is exact', async t => {
  const reader = new ChunkedReader()
  let bytes = 0
  const sink = {
    onBody: (piece: Buffer) => {
      bytes += piece.length
    },
  }
  reader.feed(Buffer.from('fffffffffffff\r\n'), 0, sink)
  const piece = Buffer.alloc(64 * 1024)
  for (let i = 0; i < 100; i++) t.equal(reader.feed(piece, 0, sink), piece.length)
  t.equal(bytes, 100 * piece.length)
  t.equal(reader.state, 'data')
})
