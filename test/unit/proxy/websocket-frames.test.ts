import t from 'tap'
import { CloseInjector, closeFrame, FrameTracker } from '../../../lib/proxy/websocket-frames.ts'

/** A frame as RFC 6455 §5.2 draws it. */
function frame(
  opcode: number,
  payload: Uint8Array,
  options: { fin?: boolean; masked?: boolean; lengthBytes?: 0 | 2 | 8 } = {},
): Buffer {
  const lengthBytes = options.lengthBytes ?? (payload.length < 126 ? 0 : payload.length < 65_536 ? 2 : 8)
  const head = Buffer.alloc(2 + lengthBytes + (options.masked ? 4 : 0))
  head[0] = ((options.fin ?? true) ? 0x80 : 0) | opcode
  head[1] = (options.masked ? 0x80 : 0) | (lengthBytes === 0 ? payload.length : lengthBytes === 2 ? 126 : 127)
  if (lengthBytes === 2) head.writeUInt16BE(payload.length, 2)
  if (lengthBytes === 8) head.writeBigUInt64BE(BigInt(payload.length), 2)
  return Buffer.concat([head, payload])
}

const frames = [
  frame(1, Buffer.from('hello')),
  frame(2, Buffer.alloc(0)),
  frame(2, Buffer.alloc(0), { masked: true }),
  frame(1, Buffer.alloc(125, 0x88), { masked: true, fin: false }),
  frame(9, Buffer.from('ping'), { masked: true }),
  frame(0, Buffer.alloc(300, 0x88)),
  frame(2, Buffer.alloc(5, 1), { lengthBytes: 8, masked: true }),
  frame(2, Buffer.alloc(70_000, 0x88)),
]
const stream = Buffer.concat(frames)
const ends = new Set<number>()
for (let i = 1; i <= frames.length; i++) ends.add(Buffer.concat(frames.slice(0, i)).length)

t.test('a boundary is known at every byte, whatever the chunks', async t => {
  const byByte = new FrameTracker()
  let wrong = 0
  for (let at = 0; at < stream.length; at++) {
    byByte.feed(stream.subarray(at, at + 1))
    if (byByte.atBoundary !== ends.has(at + 1)) wrong++
  }
  t.equal(wrong, 0)
  for (const size of [2, 3, 7, 13, 64, 1000, 65_536, stream.length]) {
    const tracker = new FrameTracker()
    for (let at = 0; at < stream.length; at += size) {
      tracker.feed(stream.subarray(at, at + size))
      const end = Math.min(at + size, stream.length)
      if (tracker.atBoundary !== ends.has(end)) t.fail(`size ${size}, byte ${end}`)
    }
    t.ok(tracker.atBoundary, `chunks of ${size}`)
    t.notOk(tracker.closeSeen, '0x88 in a payload is no Close frame')
  }
})

t.test('feedToBoundary stops at the end of the frame under way', async t => {
  const tracker = new FrameTracker()
  tracker.feed(stream.subarray(0, 3))
  t.equal(tracker.feedToBoundary(stream.subarray(3, 5)), -1)
  t.equal(tracker.feedToBoundary(stream.subarray(5)), 2, 'two bytes of the first frame were left')
  t.ok(tracker.atBoundary)
})

t.test('a length that no number holds never ends, and costs no memory', async t => {
  const tracker = new FrameTracker()
  tracker.feed(Buffer.from([0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]))
  tracker.feed(Buffer.alloc(1_000_000))
  t.notOk(tracker.atBoundary)
})

t.test('Close frames', async t => {
  t.same([...closeFrame(1001, 'bye', null)], [0x88, 5, 0x03, 0xe9, ...Buffer.from('bye')])
  const masked = closeFrame(1001, 'bye', Uint8Array.of(1, 2, 3, 4))
  t.same([...masked.subarray(0, 6)], [0x88, 0x85, 1, 2, 3, 4])
  t.same(
    [...masked.subarray(6)].map((byte, i) => byte ^ [1, 2, 3, 4][i & 3]!),
    [0x03, 0xe9, ...Buffer.from('bye')],
  )
  const long = closeFrame(1001, 'é'.repeat(200), null)
  t.equal(long[1], 2 + 122, 'at most 125 bytes, no half character')
  const tracker = new FrameTracker()
  tracker.feed(long.subarray(0, long.length - 1))
  t.notOk(tracker.closeSeen)
  tracker.feed(long.subarray(-1))
  t.ok(tracker.closeSeen && tracker.atBoundary)
})

t.test(
  'the injector puts its frame at the first boundary, wherever it is asked and however the bytes come',
  async t => {
    const close = closeFrame(1001, 'bye', null)
    const small = Buffer.concat(frames.slice(0, 7))
    for (let askAt = 0; askAt <= small.length; askAt++) {
      for (const size of [1, 5, 1000]) {
        const injector = new CloseInjector()
        const out: Uint8Array[] = []
        const push = (bytes: Uint8Array | null) => void (bytes && out.push(bytes))
        for (let at = 0; at < askAt; at += size)
          push(injector.pass(small.subarray(at, Math.min(at + size, askAt))))
        push(injector.tell(close))
        for (let at = askAt; at < small.length; at += size) push(injector.pass(small.subarray(at, at + size)))
        const boundary =
          askAt === 0 || ends.has(askAt) ? askAt : Math.min(...[...ends].filter(end => end > askAt))
        const expected = Buffer.concat([small.subarray(0, boundary), close])
        if (!injector.told || !Buffer.concat(out).equals(expected))
          t.fail(`asked at ${askAt}, chunks of ${size}`)
      }
    }
    t.pass()
  },
)

t.test('who has said Close already is not contradicted, and whose Close comes later is noticed', async t => {
  const theirs = closeFrame(1000, '', null)
  const ours = closeFrame(1001, '', null)
  const early = new CloseInjector()
  early.pass(theirs)
  t.equal(early.tell(ours), null)
  t.ok(early.told)
  const during = new CloseInjector()
  during.pass(theirs.subarray(0, 1))
  t.equal(during.tell(ours), null)
  t.same(during.pass(theirs.subarray(1)), theirs.subarray(1), 'their own Close was under way')
  t.ok(during.told && during.closeSeen)
  const late = new CloseInjector()
  t.same(late.tell(ours), ours)
  t.equal(late.tell(ours), null, 'once')
  t.equal(late.pass(frame(1, Buffer.from('more'))), null)
  t.notOk(late.closeSeen)
  t.equal(late.pass(theirs), null)
  t.ok(late.closeSeen)
})
