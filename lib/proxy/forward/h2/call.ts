/**
 * One request on one stream of an HTTP/2 connection to a backend: head and body out, interim answers, answer and trailers in, its
 * deadlines, and the name of every way to fail.
 *
 *   connect ─► body ─► head ─► answer ─► over
 *      │  ▲      │       │        │        ▲
 *      │  └──────┴───────┘ the backend says that it has not looked at it: once more, on another connection
 *      └─────────┴───────┴────────┴────────┘   failure, deadline or abort
 */
import { type ClientHttp2Stream, constants, type IncomingHttpHeaders } from 'node:http2'
import type { Readable, Writable } from 'node:stream'
import type { ErrorCode } from '../../../errors.ts'
import type { Deadlines, Timed } from '../../deadlines.ts'
import { trailerFields } from '../../headers.ts'
import { interimAnswersMax } from '../../limits.ts'
import type { ForwardCall, ForwardEvents, ForwardRequest } from '../forward.ts'
import { answerHead, plainFields, requestFields } from './head.ts'
import type { BackendSession } from './session.ts'
import type { MemberSessions, StreamSeeker } from './sessions.ts'

type Phase = 'connect' | 'body' | 'head' | 'answer' | 'over'

/** So much of a body is kept until the answer begins, to be sent again if the backend has not looked at it. */
const keptBytesMax = 16 * 1024

export class H2Call implements ForwardCall, StreamSeeker, Timed {
  timedAt = -1
  deadlineMs = Number.POSITIVE_INFINITY
  protected readonly request: ForwardRequest
  protected readonly events: ForwardEvents
  protected session: BackendSession | null = null
  protected stream: ClientHttp2Stream | null = null
  protected phase: Phase = 'connect'
  readonly #deadlines: Deadlines
  readonly #sessions: MemberSessions
  #leaveLine: () => void = nothing
  #reused = false
  #answered = false
  #tries = 0
  #interims = 0
  #body: (Readable & { readonly rawTrailers: readonly string[] }) | null = null
  #bodyEnded = false
  #kept: Buffer[] | null = []
  #keptBytes = 0
  #sink: Writable | null = null
  #trailers: readonly string[] = []
  #ended = false

  constructor(
    request: ForwardRequest,
    events: ForwardEvents,
    deadlines: Deadlines,
    sessions: MemberSessions,
  ) {
    this.request = request
    this.events = events
    this.#deadlines = deadlines
    this.#sessions = sessions
  }

  get fresh(): boolean {
    return this.request.fresh
  }

  get connecting(): boolean {
    return this.phase === 'connect'
  }

  get connectMs(): number {
    return this.request.timeouts.connectMs
  }

  start(): void {
    this.#leaveLine = this.#sessions.seek(this)
  }

  // What the sessions of the member say (StreamSeeker).

  late(): void {
    this.fail('upstream_connect_timeout')
  }

  begin(session: BackendSession): void {
    this.#leaveLine = nothing
    this.session = session
    this.#tries++
    this.#reused = session.used
    this.phase = 'connect'
    this.#deadlines.add(this)
    this.deadlineMs = this.#deadlines.in(this.connectMs)
    try {
      this.ask(session)
    } catch {
      // A head that cannot be said in HTTP/2.
      session.leave()
      this.fail('internal')
    }
  }

  /** Opens the stream. It waits in node until the connection stands. */
  protected ask(session: BackendSession): void {
    const { body } = this.request
    // `waitForTrailers`, also where there are none: without it node ends a stream in good order before it resets it, and half a
    // request looks whole.
    this.take(
      session.http2.request(requestFields(this.request), {
        endStream: body === null,
        waitForTrailers: body !== null,
      }),
    )
  }

  protected take(stream: ClientHttp2Stream): void {
    this.stream = stream
    const own = <T extends unknown[]>(act: (...args: T) => void) => {
      return (...args: T) => {
        if (this.stream === stream && this.phase !== 'over') act(...args)
      }
    }
    noteEnd(stream, () => {
      if (this.stream === stream) this.#ended = true
    })
    stream.on(
      'error',
      own(error => this.onError(error)),
    )
    if (stream.pending)
      stream.once(
        'ready',
        own(() => this.connected()),
      )
    else this.connected()
    stream.on(
      'headers',
      own((headers, _flags, raw) => this.#interim(headers, raw)),
    )
    stream.on(
      'response',
      own((headers, flags, raw) => this.onResponse(headers, flags, raw)),
    )
    stream.on(
      'trailers',
      own((_headers, _flags, raw) => {
        this.#trailers = plainFields(raw ?? [])
      }),
    )
    stream.on('close', () => {
      this.session!.leave()
      own(() => this.#closed(stream))()
    })
  }

  abort(): void {
    if (!this.finish()) return
    this.#leaveLine()
    this.stream?.close(constants.NGHTTP2_CANCEL)
  }

  onDeadline(): void {
    const code = this.#lateCode()
    if (code === 'upstream_header_timeout' || code === 'upstream_idle_timeout') this.session?.doubt()
    this.fail(code)
  }

  /** True for the one caller that ends it. */
  protected finish(): boolean {
    if (this.phase === 'over') return false
    this.phase = 'over'
    this.#deadlines.remove(this)
    return true
  }

  protected fail(code: ErrorCode): void {
    if (!this.finish()) return
    this.stream?.close(constants.NGHTTP2_CANCEL)
    this.events.failed({
      code,
      reused: this.#reused,
      answered: this.#answered,
      bodyBegun: this.#body !== null,
    })
  }

  protected connected(): void {
    if (this.phase !== 'connect') return
    const { body, timeouts } = this.request
    if (body === null) {
      this.phase = 'head'
      this.deadlineMs = this.#deadlines.in(timeouts.headerMs)
      return
    }
    this.phase = 'body'
    this.deadlineMs = this.#deadlines.in(timeouts.idleMs)
    if (this.#body === null) {
      this.#body = body.stream()
      this.events.bodyWanted()
      if (this.phase === 'body') this.#readBody(this.#body)
    } else this.#sendAgain()
  }

  protected onResponse(
    headers: IncomingHttpHeaders,
    flags: number,
    raw: readonly string[] | undefined,
  ): void {
    const ended = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0
    this.#answered = true
    this.#kept = null
    this.phase = 'answer'
    this.deadlineMs = this.#deadlines.in(this.request.timeouts.idleMs)
    try {
      const answer = this.events.response(answerHead(Number(headers[':status']), raw ?? [], ended))
      // The first byte of the body may be a long time coming.
      if (!ended) answer.flush()
      this.#sink = answer.stream()
    } catch {
      return this.fail('upstream_bad_response')
    }
    // It may be over in what it was told.
    if ((this.phase as Phase) !== 'over') this.#readAnswer(this.stream!, this.#sink)
  }

  protected onError(error: NodeJS.ErrnoException): void {
    // nghttp2 found the answer wrong before we saw it.
    const malformed = this.stream!.rstCode === constants.NGHTTP2_PROTOCOL_ERROR && this.session!.connected
    if (malformed && !this.#unseen(this.stream!)) return this.fail('upstream_bad_response')
    if (/^ERR_(INVALID|HTTP2_(INVALID|HEADER|CONNECT|PSEUDO))/.test(error.code ?? '')) this.fail('internal')
  }

  // The request's body.

  #readBody(body: Readable & { readonly rawTrailers: readonly string[] }): void {
    const { idleMs } = this.request.timeouts
    body.on('data', (chunk: Buffer) => {
      // Nobody wants it any more: read on, so that the client can finish and see its answer.
      if (this.phase === 'over' || this.stream!.destroyed) return
      this.deadlineMs = this.#deadlines.in(idleMs)
      this.#keep(chunk)
      if (!this.stream!.write(chunk)) body.pause()
    })
    body.on('end', () => {
      this.#bodyEnded = true
      if (this.phase !== 'over') this.#endBody()
    })
    this.#watchRoom()
  }

  #watchRoom(): void {
    const { idleMs } = this.request.timeouts
    const stream = this.stream!
    stream.on('drain', () => {
      if (this.phase === 'over' || this.stream !== stream) return
      this.deadlineMs = this.#deadlines.in(idleMs)
      this.#body!.resume()
    })
    stream.once('close', () => {
      if (this.stream === stream) this.#body!.resume()
    })
  }

  #endBody(): void {
    const stream = this.stream!
    if (stream.destroyed || stream.closed) return
    const fields = trailerFields(this.#body!.rawTrailers)
    if (fields.length > 0) stream.once('wantTrailers', () => sendTrailers(stream, fields))
    stream.end()
    if (this.phase !== 'body') return
    this.phase = 'head'
    this.deadlineMs = this.#deadlines.in(this.request.timeouts.headerMs)
  }

  #keep(chunk: Buffer): void {
    if (this.#kept === null) return
    this.#keptBytes += chunk.length
    if (this.#keptBytes > keptBytesMax) this.#kept = null
    else this.#kept.push(chunk)
  }

  #sendAgain(): void {
    this.#watchRoom()
    for (const chunk of this.#kept!) this.stream!.write(chunk)
    if (this.#bodyEnded) this.#endBody()
    else this.#body!.resume()
  }

  // The answer.

  #interim(headers: IncomingHttpHeaders, raw: readonly string[] | undefined): void {
    this.#answered = true
    const status = Number(headers[':status'])
    if (++this.#interims > interimAnswersMax) return this.fail('upstream_bad_response')
    if (status !== 100) this.events.information(answerHead(status, raw ?? [], false))
  }

  #readAnswer(stream: ClientHttp2Stream, sink: Writable): void {
    const { idleMs } = this.request.timeouts
    stream.on('data', (chunk: Buffer) => {
      if (this.phase === 'over') return
      this.deadlineMs = this.#deadlines.in(idleMs)
      if (sink.write(chunk)) return
      stream.pause()
      sink.once('drain', () => {
        if (this.phase !== 'over') this.deadlineMs = this.#deadlines.in(idleMs)
        stream.resume()
      })
    })
    stream.on('end', () => {
      if (this.phase !== 'over') this.#answerEnded(stream)
    })
  }

  #answerEnded(stream: ClientHttp2Stream): void {
    // Without it the stream was only reset: what came may be half an answer.
    if (!this.#ended) return this.fail('upstream_reset')
    if (!this.finish()) return
    // An answer before the end of the request: what is left of the request has no reader any more.
    if (!stream.writableEnded) stream.close(constants.NGHTTP2_CANCEL)
    this.events.done(this.#trailers)
  }

  #closed(stream: ClientHttp2Stream): void {
    const session = this.session!
    if (this.#unseen(stream)) {
      const again = this.#tries < 2 && !this.#answered && (this.#body === null || this.#kept !== null)
      if (again) {
        session.retire()
        this.stream = null
        return this.start()
      }
    }
    if (this.phase === 'connect' && !session.connected) return this.fail(session.failure)
    this.fail('upstream_reset')
  }

  /** The backend says that it has not looked at it (RFC 9113 §6.8, §8.7). */
  #unseen(stream: ClientHttp2Stream): boolean {
    if (stream.rstCode === constants.NGHTTP2_REFUSED_STREAM) return true
    const { lastStreamId } = this.session!
    return lastStreamId !== Number.POSITIVE_INFINITY && (stream.id === undefined || stream.id > lastStreamId)
  }

  #lateCode(): ErrorCode {
    switch (this.phase) {
      case 'connect':
        return 'upstream_connect_timeout'
      case 'body':
        return this.stream?.writableNeedDrain ? 'upstream_idle_timeout' : 'request_timeout'
      case 'answer':
        return this.#sink?.writableNeedDrain ? 'client_closed' : 'upstream_idle_timeout'
      default:
        return 'upstream_header_timeout'
    }
  }
}

const nothing = () => {}

/**
 * Calls back when the other side has ended the stream. Node tells the end of a stream that was reset without an error by the same
 * event; only the order tells: it marks the stream as closed first.
 */
function noteEnd(stream: ClientHttp2Stream, ended: () => void): void {
  const push = stream.push.bind(stream)
  stream.push = (chunk: unknown, encoding?: BufferEncoding) => {
    if (chunk === null && !stream.closed) ended()
    return push(chunk, encoding)
  }
}

function sendTrailers(stream: ClientHttp2Stream, fields: readonly (readonly [string, string])[]): void {
  const all: Record<string, string | string[]> = Object.create(null)
  for (const [name, value] of fields) {
    const key = name.toLowerCase()
    const before = all[key]
    all[key] = before === undefined ? value : [...[before].flat(), value]
  }
  try {
    stream.sendTrailers(all)
  } catch {
    stream.close(constants.NGHTTP2_INTERNAL_ERROR)
  }
}
