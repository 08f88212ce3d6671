/** What goes out: whole messages in as few writes as possible, never more than was promised. */
import type { Socket } from 'node:net'
import t from 'tap'
import { type Framing, MessageWriter } from '../../../../lib/proxy/http1/message-writer.ts'

/** Keeps what is written; corked writes count as one. */
class Wire {
  readonly writes: string[] = []
  writable = true
  writableNeedDrain = false
  #corked: string[] | null = null
  text = () => this.writes.join('')
  write(bytes: string | Buffer): boolean {
    ;(this.#corked ?? this.writes).push(bytes.toString('latin1'))
    return true
  }
  cork(): void {
    this.#corked = []
  }
  uncork(): void {
    this.writes.push(this.#corked!.join(''))
    this.#corked = null
  }
}

/** Does not wait for the end of the turn; that is `turn-end.test.ts`. */
class PromptWriter extends MessageWriter {
  override flush(): void {
    super.flush()
    this.sendNow()
  }
}

function open(framing: Framing, length = 0) {
  const wire = new Wire()
  const writer = new PromptWriter(wire as unknown as Socket)
  writer.begin('HEAD\r\n\r\n', framing, length)
  return { wire, writer }
}

/** Reads what a chunked writer wrote, in the simplest way. */
function dechunk(text: string): { body: string; rest: string } {
  let body = ''
  let at = 0
  for (;;) {
    const end = text.indexOf('\r\n', at)
    const size = Number.parseInt(text.slice(at, end), 16)
    at = end + 2
    if (size === 0) return { body, rest: text.slice(at) }
    body += text.slice(at, at + size)
    at += size + 2
  }
}

const all = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))

t.test('head and a small body are one write', async t => {
  for (const [framing, expected] of [
    ['length', `HEAD\r\n\r\n${all.toString('latin1')}`],
    ['chunked', `HEAD\r\n\r\n100\r\n${all.toString('latin1')}\r\n0\r\n\r\n`],
    ['close', `HEAD\r\n\r\n${all.toString('latin1')}`],
    ['none', 'HEAD\r\n\r\n'],
  ] as const) {
    const { wire, writer } = open(framing, 256)
    t.equal(writer.write(all), true)
    writer.end([])
    t.same(wire.writes, [expected], framing)
    t.equal(writer.complete, true)
  }
})

t.test('bodies of every size come out whole, and chunks are framed right', async t => {
  for (const size of [1, 15, 16, 4095, 4096, 4097, 65_536, 100_000]) {
    const body = Buffer.alloc(size, 'abcdefg')
    const { wire, writer } = open('chunked')
    writer.write(body)
    writer.write(body)
    writer.end([])
    const { body: got, rest } = dechunk(wire.text().slice('HEAD\r\n\r\n'.length))
    t.ok(got === body.toString().repeat(2) && rest === '\r\n', `${size} bytes, twice`)
    const plain = open('length', 2 * size)
    plain.writer.write(body)
    plain.writer.write(body)
    plain.writer.end([])
    t.ok(plain.wire.text() === `HEAD\r\n\r\n${body.toString().repeat(2)}`, `${size} bytes, with a length`)
    t.equal(plain.writer.complete, true)
  }
})

t.test('nothing is held back for ever: many small pieces go out before the flush', async t => {
  const { wire, writer } = open('chunked')
  for (let i = 0; i < 100; i++) writer.write(Buffer.alloc(1_000, 'x'))
  t.ok(wire.writes.length >= 4)
  writer.flush()
  const flushed = wire.writes.length
  writer.flush()
  t.equal(wire.writes.length, flushed, 'an empty flush writes nothing')
})

t.test('what is passed may be used again at once', async t => {
  for (const size of [10, 10_000]) {
    const { wire, writer } = open('length', size)
    const bytes = Buffer.alloc(size, 'a')
    writer.write(bytes)
    bytes.fill('b')
    writer.end([])
    t.notMatch(wire.text(), /b/, `${size} bytes`)
  }
})

t.test('more than was promised is not written; less is known', async t => {
  const { wire, writer } = open('length', 5)
  t.equal(writer.complete, false)
  t.equal(writer.write(Buffer.from('hell')), true)
  t.equal(writer.write(Buffer.from('oo')), false)
  writer.flush()
  t.equal(wire.text(), 'HEAD\r\n\r\nhell')
  t.equal(writer.complete, false)
  t.equal(writer.write(Buffer.from('o')), true)
  t.equal(writer.complete, true)
})

t.test('an empty piece is not the end', async t => {
  const { wire, writer } = open('chunked')
  writer.write(Buffer.alloc(0))
  writer.write(Buffer.from('x'))
  writer.end([['X-T', '1']])
  t.equal(wire.text(), 'HEAD\r\n\r\n1\r\nx\r\n0\r\nX-T: 1\r\n\r\n')
})

t.test('trailers only where there are chunks', async t => {
  for (const framing of ['length', 'close', 'none'] as const) {
    const { wire, writer } = open(framing, 0)
    writer.end([['X-T', '1']])
    t.equal(wire.text(), 'HEAD\r\n\r\n', framing)
  }
})

t.test('one message after another; a socket that is gone is left alone', async t => {
  const { wire, writer } = open('length', 1)
  writer.write(Buffer.from('a'))
  writer.end([])
  writer.begin('NEXT\r\n\r\n', 'none', 0)
  writer.end([])
  t.equal(wire.text(), 'HEAD\r\n\r\naNEXT\r\n\r\n')
  wire.writable = false
  writer.begin('LATE\r\n\r\n', 'none', 0)
  writer.end([])
  t.notMatch(wire.text(), /LATE/)
})
