/** Where a backend's answers begin and end, byte by byte, without a network: every cut of the bytes gives the same answer. */
import { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import t from 'tap'
import { Deadlines } from '../../../../../lib/proxy/deadlines.ts'
import { BackendConnection } from '../../../../../lib/proxy/forward/relay/backend-connection.ts'
import type { RelayCall } from '../../../../../lib/proxy/forward/relay/call.ts'
import type { MemberPool } from '../../../../../lib/proxy/forward/relay/pool.ts'
import type { ResponseHead } from '../../../../../lib/proxy/http1/response-head.ts'
import { ManualClock } from '../../../../support/manual-clock.ts'

/** What the connection told of one call. */
class Told {
  readonly log: string[] = []
  body = ''
}

interface Bench {
  readonly told: Told
  readonly pooled: () => boolean
  readonly destroyed: () => boolean
  feed(text: string): void
  event(name: string): void
}

/** A connection that has sent a request and waits for its answer. */
function bench(toHead = false, last = false): Bench {
  const told = new Told()
  const state = { destroyed: false, pooled: false }
  const socket = Object.assign(new EventEmitter(), {
    destroy: () => {
      state.destroyed = true
    },
    isPaused: () => false,
    writableNeedDrain: false,
  })
  const pool = {
    giveBack: () => {
      state.pooled = true
    },
    gone: () => {},
  }
  const connection = new BackendConnection(
    socket as unknown as Socket,
    pool as unknown as MemberPool,
    new Deadlines(new ManualClock()),
    false,
  )
  const call = {
    toHead,
    last,
    requestSent: true,
    arrived: () => {},
    connected: () => {},
    flush: () => {},
    information: ({ status }: ResponseHead) => told.log.push(`information ${status}`),
    answer: ({ status }: ResponseHead) => told.log.push(`answer ${status}`),
    body: (bytes: Buffer) => {
      told.body += bytes.toString('latin1')
    },
    switched: ({ status }: ResponseHead, early: Buffer) => told.log.push(`switched ${status} ${early}`),
    done: (trailers: readonly string[]) => told.log.push(['done', ...trailers].join(' ')),
    fail: (code: string) => {
      told.log.push(code)
      connection.destroy()
    },
  }
  socket.emit('connect')
  connection.take(call as unknown as RelayCall)
  return {
    told,
    pooled: () => state.pooled,
    destroyed: () => state.destroyed,
    feed: text => void connection.read(Buffer.from(text, 'latin1')),
    event: name => void socket.emit(name),
  }
}

const hints = 'HTTP/1.1 103 Hints\r\nLink: </x>\r\n\r\n'
const answers: Record<
  string,
  { bytes: string; log: string[]; body?: string; pooled?: boolean; toHead?: boolean }
> = {
  'a length': {
    bytes: 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello',
    log: ['answer 200', 'done'],
    body: 'hello',
    pooled: true,
  },
  'no body': { bytes: 'HTTP/1.1 204 None\r\n\r\n', log: ['answer 204', 'done'], pooled: true },
  'to HEAD': {
    bytes: 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n',
    log: ['answer 200', 'done'],
    pooled: true,
    toHead: true,
  },
  'chunks and a trailer': {
    bytes:
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nA: b\r\n\r\n',
    log: ['answer 200', 'done A b'],
    body: 'hello',
    pooled: true,
  },
  'interim answers': {
    bytes: `HTTP/1.1 100 Go on\r\n\r\n${hints}${hints}HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx`,
    log: ['information 103', 'information 103', 'answer 200', 'done'],
    body: 'x',
    pooled: true,
  },
  'told to close': {
    bytes: 'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx',
    log: ['answer 200', 'done'],
    body: 'x',
  },
  nonsense: { bytes: 'ICY 200 OK\r\n\r\n', log: ['upstream_bad_response'] },
  'a bad chunk': {
    bytes: 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\nzz\r\n',
    log: ['answer 200', 'upstream_bad_response'],
    body: 'he',
  },
}

t.test('every answer is the same, wherever its bytes are cut', async t => {
  for (const [name, { bytes, log, body = '', pooled = false, toHead = false }] of Object.entries(answers)) {
    const wrong: unknown[] = []
    for (let first = 0; first < bytes.length; first++) {
      for (let second = first; second < bytes.length; second += 7) {
        const { told, feed, ...state } = bench(toHead)
        for (const piece of [bytes.slice(0, first), bytes.slice(first, second), bytes.slice(second)])
          if (piece !== '') feed(piece)
        const seen = [told.log, told.body, state.pooled()]
        if (JSON.stringify(seen) !== JSON.stringify([log, body, pooled])) wrong.push([first, second, ...seen])
      }
    }
    t.same(wrong.slice(0, 3), [], name)
  }
})

t.test('a connection is used again only if nothing is left on it', async t => {
  const last = bench(false, true)
  last.feed('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
  t.same([last.told.log, last.pooled(), last.destroyed()], [['answer 200', 'done'], false, true], 'told so')
  for (const extra of ['x', '\r\n', 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n']) {
    const together = bench()
    together.feed(`HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok${extra}`)
    t.same([together.told.log, together.pooled()], [['answer 200', 'done'], false], JSON.stringify(extra))
    t.ok(together.destroyed())
    const after = bench()
    after.feed('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
    after.feed(extra)
    t.same([after.told.log, after.told.body, after.destroyed()], [['answer 200', 'done'], 'ok', true])
  }
})

t.test('the end of a connection is the end of an answer only where nothing else is', async t => {
  const open = bench()
  open.feed('HTTP/1.1 200 OK\r\n\r\nhello')
  open.event('end')
  t.same([open.told.log, open.told.body, open.pooled()], [['answer 200', 'done'], 'hello', false])
  for (const bytes of [
    '',
    'HTTP/1.1 2',
    'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello',
    answers['a bad chunk']!.bytes.slice(0, -6),
  ]) {
    const cut = bench()
    if (bytes !== '') cut.feed(bytes)
    cut.event('end')
    t.equal(cut.told.log.at(-1), 'upstream_reset', JSON.stringify(bytes))
  }
  const reset = bench()
  reset.feed('HTTP/1.1 200 OK\r\n\r\nhello')
  reset.event('error')
  t.equal(reset.told.log.at(-1), 'upstream_reset', 'a reset is not an end')
})

t.test('heads have a limit, and nothing of one is lost on the way', async t => {
  const fields = (bytes: number) => `${`X: ${'a'.repeat(990)}\r\n`.repeat(Math.ceil(bytes / 995))}`
  const large = bench()
  const head = `HTTP/1.1 200 OK\r\n${fields(60_000)}Content-Length: 0\r\n\r\n`
  for (let at = 0; at < head.length; at += 10_000) large.feed(head.slice(at, at + 10_000))
  t.same(large.told.log, ['answer 200', 'done'], '60 KB')
  const huge = bench()
  for (let i = 0; i < 8; i++) huge.feed(i === 0 ? `HTTP/1.1 200 OK\r\n${fields(9_000)}` : fields(9_000))
  t.same(huge.told.log, ['upstream_bad_response'], '70 KB without an end')
  const behind = bench()
  behind.feed(`HTTP/1.1 103 Hints\r\nA: ${'a'.repeat(2_000)}`)
  const rest = `\r\n\r\nHTTP/1.1 200 OK\r\n${fields(70_000)}`
  behind.feed(rest.slice(0, 65_536))
  if (!behind.destroyed()) behind.feed('\r\nContent-Length: 0\r\n\r\n')
  t.same(behind.told.log, ['information 103', 'upstream_bad_response'], 'behind an interim answer')
  const many = bench()
  for (let i = 0; i < 40; i++) if (!many.destroyed()) many.feed(hints)
  t.same(
    [many.told.log.length, many.told.log.at(-1)],
    [33, 'upstream_bad_response'],
    'interim answers are counted',
  )
})

t.test('101 hands over what came behind it', async t => {
  const { told, feed } = bench()
  feed('HTTP/1.1 101 Go\r\nUpgrade: websocket\r\n\r\nfirst')
  t.same(told.log, ['switched 101 first'])
})
