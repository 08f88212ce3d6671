/** What every engine behind `Forward` must do, told by its own interface alone: `forwardConformance(name, createForward)`. */
import { createServer, type OutgoingHttpHeaders } from 'node:http'
import { Duplex, PassThrough, Writable } from 'node:stream'
import t, { type Test } from 'tap'
import type { Clock } from '../../../lib/clock.ts'
import { Board } from '../../../lib/cluster/board.ts'
import { Member } from '../../../lib/cluster/member.ts'
import type { AnswerBody, AnswerHead } from '../../../lib/proxy/client-end.ts'
import type {
  BackendEnd,
  CreateForward,
  Forward,
  ForwardEvents,
  ForwardRequest,
  TunnelEnd,
} from '../../../lib/proxy/forward/forward.ts'
import { outboundText } from '../../../lib/proxy/http1/outbound-text.ts'
import { StreamAnswer, StreamBody } from '../../../lib/proxy/node-client.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { closeServer, listenOn, openRawBackend, type RawBackend, until } from '../../support/traffic.ts'

const ok = 'HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nX-A: 1\r\nx-a: 2\r\n\r\nok'
const timeouts = { connectMs: 1_000, headerMs: 2_000, idleMs: 3_000, tunnelIdleMs: 60_000 }

export function forwardConformance(name: string, createForward: CreateForward): void {
  const check = (what: string, body: (t: Test, lab: Lab) => Promise<void>) =>
    t.test(`${name}: ${what}`, async t => {
      const lab = new Lab(createForward)
      await body(t, lab)
      await lab.close()
    })

  check('sends the target byte for byte and reports the answer as it was written', async (t, lab) => {
    const backend = await lab.backend(socket => socket.write(ok))
    const seen = new Recorder()
    lab.forward.send(
      lab.request(backend.port, { target: '//a/./b?c?', headers: { host: 'h', 'x-list': ['1', '2'] } }),
      seen,
    )
    await seen.until('done')
    t.match(backend.received(), /^GET \/\/a\/\.\/b\?c\? HTTP\/1\.1\r\n/)
    t.match(backend.received(), /x-list: 1\r\nx-list: 2\r\n/i)
    t.same(seen.log, ['response 200 Fine', 'done'])
    t.same(
      seen.rawHeaders.filter(text => /^x-a$/i.test(text)),
      ['X-A', 'x-a'],
      'fields keep their case, order and repetition',
    )
    t.equal(seen.rawHeaders[seen.rawHeaders.indexOf('Content-Length') + 1], '2')
    t.equal(seen.body, 'ok')
  })

  check('sends a body, chunked or with a length, and its trailers', async (t, lab) => {
    const bodies: { body: string; length: unknown; trailers: unknown }[] = []
    const server = createServer((request, response) => {
      let body = ''
      request.on('data', chunk => {
        body += chunk
      })
      request.on('end', () => {
        bodies.push({
          body,
          length: request.headers['content-length'] ?? null,
          trailers: { ...request.trailers },
        })
        response.end('ok')
      })
    })
    const port = await listenOn(server)
    for (const method of ['POST', 'DELETE', 'GET']) {
      for (const headers of [{ 'content-length': '5' }, { 'transfer-encoding': 'chunked' }]) {
        const body = Object.assign(new PassThrough(), { rawTrailers: ['X-T', method] })
        const seen = new Recorder()
        lab.forward.send(lab.request(port, { method, headers: { host: 'h', ...headers }, body }), seen)
        body.write('he')
        await seen.until('bodyWanted')
        body.end('llo')
        await seen.until('done')
        t.same(seen.log, ['bodyWanted', 'response 200 OK', 'done'], method)
      }
    }
    t.same(
      bodies.map(({ body }) => body),
      Array(6).fill('hello'),
    )
    t.same(
      bodies.map(({ length }) => length),
      ['5', null, '5', null, '5', null],
    )
    t.same(
      bodies.map(({ trailers }) => trailers),
      [{}, { 'x-t': 'POST' }, {}, { 'x-t': 'DELETE' }, {}, { 'x-t': 'GET' }],
    )
    lab.forward.close()
    server.closeAllConnections()
    await closeServer(server)
  })

  check('a refused connection fails without touching the body', async (t, lab) => {
    const gone = await openRawBackend(() => {})
    await gone.close()
    const body = Object.assign(new PassThrough(), { rawTrailers: [] })
    body.end('whole')
    const seen = new Recorder()
    lab.forward.send(
      lab.request(gone.port, { method: 'POST', headers: { host: 'h', 'content-length': '5' }, body }),
      seen,
    )
    await seen.until('failed')
    t.same(seen.failures, [
      { code: 'upstream_connect_failed', reused: false, answered: false, bodyBegun: false },
    ])
    t.equal(String(body.read()), 'whole')
  })

  const breaks = {
    'before an answer': ['', 'upstream_reset', false],
    'with nonsense': ['NONSENSE\r\n\r\n', 'upstream_bad_response', true],
    'in the middle of a body': ['HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf', 'upstream_reset', true],
    'in the middle of chunks': [
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n',
      'upstream_reset',
      true,
    ],
    'with a protocol nobody asked for': [
      'HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n',
      'upstream_bad_response',
      true,
    ],
  } as const
  for (const [how, [bytes, code, answered]] of Object.entries(breaks)) {
    check(`a backend that breaks ${how} fails once`, async (t, lab) => {
      const backend = await lab.backend(socket => socket.end(bytes))
      const seen = new Recorder()
      lab.forward.send(lab.request(backend.port), seen)
      await seen.until('failed')
      t.match(seen.failures, [{ code, answered, reused: false }])
      await until(() => backend.sockets.size === 0, 'the connection to go')
      t.equal(seen.failures.length, 1)
      t.notOk(seen.log.includes('done'))
    })
  }

  check('deadlines: head and silence in a body', async (t, lab) => {
    const backend = await lab.backend((socket, text) => {
      if (text.includes('/body')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf')
    })
    for (const [target, first, code, ms] of [
      ['/silent', 'sent', 'upstream_header_timeout', timeouts.headerMs],
      ['/body', 'response', 'upstream_idle_timeout', timeouts.idleMs],
    ] as const) {
      const seen = new Recorder()
      lab.forward.send(lab.request(backend.port, { target }), seen)
      await until(
        () => (first === 'sent' ? backend.received().includes(target) : seen.body === 'half'),
        target,
      )
      await lab.clock.advance(ms - 100)
      t.same(seen.failures, [])
      await lab.clock.advance(400)
      t.match(seen.failures, [{ code }])
    }
    await until(() => backend.sockets.size === 0, 'the connections to go')
  })

  check('abort is silent and destroys the connection', async (t, lab) => {
    const backend = await lab.backend(() => {})
    const seen = new Recorder()
    const call = lab.forward.send(lab.request(backend.port), seen)
    await until(() => backend.received() !== '', 'the request')
    call.abort()
    call.abort()
    await until(() => backend.sockets.size === 0, 'the connection to go')
    t.same(seen.log, [])
  })

  check(
    'connections are kept, used again, reported as used, and dropped with their member',
    async (t, lab) => {
      const backend = await lab.backend((socket, text) => {
        if (text.includes('/die')) socket.destroy()
        else socket.write(ok)
      })
      for (let i = 0; i < 3; i++) {
        const seen = new Recorder()
        lab.forward.send(lab.request(backend.port), seen)
        await seen.until('done')
        await settled()
      }
      t.equal(backend.connections(), 1)
      const fresh = new Recorder()
      lab.forward.send(lab.request(backend.port, { fresh: true }), fresh)
      await fresh.until('done')
      t.equal(backend.connections(), 2)
      const dying = new Recorder()
      lab.forward.send(lab.request(backend.port, { target: '/die' }), dying)
      await dying.until('failed')
      t.match(dying.failures, [{ code: 'upstream_reset', reused: true, answered: false }])
      const last = new Recorder()
      lab.forward.send(lab.request(backend.port), last)
      await last.until('done')
      await settled()
      lab.forward.forget(lab.member(backend.port))
      await until(() => backend.sockets.size === 0, 'idle connections to go')
    },
  )

  check('a full sink stops the backend', async (t, lab) => {
    let written = 0
    const backend = await lab.backend(socket => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n')
      const more = () => {
        while (written < 50_000_000) {
          written += 65_536
          if (!socket.write(Buffer.alloc(65_536))) return void socket.once('drain', more)
        }
      }
      more()
    })
    const seen = new Recorder(new Writable({ write() {} }))
    const call = lab.forward.send(lab.request(backend.port), seen)
    let last = -1
    let looks = 0
    await until(() => {
      looks = last === written && written > 0 ? looks + 1 : 0
      last = written
      return looks > 20
    }, 'a stand-still')
    t.ok(written < 30_000_000, `${written} bytes`)
    await lab.clock.advance(timeouts.idleMs + 300)
    t.match(seen.failures, [{ code: 'client_closed' }], 'it was the sink that stood still')
    call.abort()
  })

  check('an upgrade connects both ends after its 101, and only then', async (t, lab) => {
    const backend = await lab.backend((socket, text) => {
      if (text.endsWith('\r\n\r\n'))
        socket.write('HTTP/1.1 101 Go\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\nX-A: 1\r\n\r\nGREETING')
      else socket.write('!')
    })
    const client = new FakeClient()
    const seen = new Recorder()
    lab.forward.upgrade(lab.request(backend.port, { headers: upgradeHeaders }), client, seen)
    await until(() => client.got === 'GREETING', 'the first bytes')
    t.same(seen.log, ['switched'])
    t.same(seen.rawHeaders.slice(-2), ['X-A', '1'])
    client.push('hello')
    await until(() => client.got === 'GREETING!', 'an echo')
    t.match(backend.received(), /\r\n\r\nhello$/)
    client.destroy()
    await until(() => backend.sockets.size === 0, 'the backend connection to go')
  })

  check('a refused upgrade is an answer like any other', async (t, lab) => {
    const backend = await lab.backend(socket => socket.write(ok))
    const client = new FakeClient()
    const seen = new Recorder()
    lab.forward.upgrade(lab.request(backend.port, { headers: upgradeHeaders }), client, seen)
    await seen.until('done')
    t.same(seen.log, ['response 200 Fine', 'done'])
    t.equal(seen.body, 'ok')
    t.equal(client.got, '')
  })
}

const upgradeHeaders = { host: 'h', connection: 'Upgrade', upgrade: 'websocket' }

interface Parts extends Partial<Pick<ForwardRequest, 'method' | 'target' | 'fresh'>> {
  readonly headers?: OutgoingHttpHeaders
  readonly body?: PassThrough & { readonly rawTrailers: readonly string[] }
}

/** What one check works with; everything it opens is closed at its end. */
class Lab {
  readonly clock = new ManualClock()
  readonly forward: Forward
  readonly #board = Board.create(1)
  readonly #members = new Map<number, Member>()
  readonly #backends: RawBackend[] = []

  constructor(createForward: CreateForward) {
    this.forward = createForward({ clock: this.clock as Clock })
  }

  async backend(onData: Parameters<typeof openRawBackend>[0]): Promise<RawBackend> {
    const backend = await openRawBackend(onData)
    this.#backends.push(backend)
    return backend
  }

  member(port: number): Member {
    let member = this.#members.get(port)
    if (!member) {
      const slot = this.#members.size
      member = new Member(
        { id: `m${slot}`, incarnation: `m${slot}-1`, host: '127.0.0.1', port, weight: 1, slot, epoch: 1 },
        this.#board,
        0,
      )
      this.#members.set(port, member)
    }
    return member
  }

  request(port: number, { headers = { host: 'h' }, body, ...parts }: Parts = {}): ForwardRequest {
    const { method = 'GET', target = '/' } = parts
    const length = Number((headers as Record<string, string>)['content-length'] ?? -1)
    return {
      member: this.member(port),
      method,
      target,
      head: { fields: () => headers, text: member => outboundText(method, target, headers, member) },
      body: body ? new StreamBody(body, length) : null,
      timeouts,
      fresh: parts.fresh ?? false,
    }
  }

  async close(): Promise<void> {
    this.forward.close()
    for (const backend of this.#backends) await backend.close()
  }
}

/** Writes down what an engine reports. */
class Recorder implements ForwardEvents {
  readonly log: string[] = []
  readonly failures: Parameters<ForwardEvents['failed']>[0][] = []
  rawHeaders: readonly string[] = []
  body = ''
  readonly #sink: Writable

  constructor(sink?: Writable) {
    this.#sink =
      sink ??
      new Writable({
        write: (chunk, _encoding, done) => {
          this.body += String(chunk)
          done()
        },
      })
  }

  bodyWanted(): void {
    this.log.push('bodyWanted')
  }
  information({ status }: AnswerHead): void {
    this.log.push(`information ${status}`)
  }
  response(head: AnswerHead): AnswerBody {
    this.log.push(`response ${head.status} ${head.message}`)
    const rawHeaders = head.fields()
    this.rawHeaders = rawHeaders.filter(
      (_text, i) => !/^(date|connection|keep-alive)$/i.test(rawHeaders[i - (i % 2)]!),
    )
    return new StreamAnswer(this.#sink)
  }
  done(): void {
    this.log.push('done')
  }
  switched(head: AnswerHead): void {
    this.log.push('switched')
    this.rawHeaders = head.fields()
  }
  failed(failure: Parameters<ForwardEvents['failed']>[0]): void {
    this.log.push('failed')
    this.failures.push(failure)
  }

  until(what: string): Promise<void> {
    return until(
      () => this.log.some(line => line.startsWith(what)),
      () => `${what} in ${JSON.stringify(this.log)}`,
    )
  }
}

class FakeClient extends Duplex implements TunnelEnd {
  got = ''
  join(backend: BackendEnd): void {
    this.on('data', bytes => backend.write(bytes))
    this.on('end', () => backend.end())
  }
  fromBackend(bytes: Buffer): boolean {
    return this.write(Buffer.from(bytes))
  }
  backendRoom(): void {}
  backendEnded(): void {
    this.end()
  }
  override _read(): void {}
  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.got += chunk.toString('latin1')
    done()
  }
  setTimeout(): this {
    return this
  }
  setNoDelay(): this {
    return this
  }
  setKeepAlive(): this {
    return this
  }
  destroySoon(): void {
    this.end()
  }
}

/** A connection is given back to its pool a turn after its answer. */
const settled = () => new Promise<void>(resolve => setImmediate(() => setImmediate(resolve)))
