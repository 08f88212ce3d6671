/**
 * One request on its way through the relay: head and body out, interim answers, answer and trailers in, its deadlines, and the
 * name of every way to fail.
 *
 *   waiting ─► connect ─► body ─► head ─► answer ─► over
 *      └──────────┴────────┴───────┴────────┴──────────▲   failure, deadline or abort
 */
import type { ErrorCode } from '../../../errors.ts'
import type { AnswerBody, BodySink } from '../../client-end.ts'
import type { Deadlines } from '../../deadlines.ts'
import { trailerFields } from '../../headers.ts'
import { isLastOnConnection } from '../../http1/outbound-text.ts'
import type { ResponseHead } from '../../http1/response-head.ts'
import type { ForwardCall, ForwardEvents, ForwardRequest, TunnelEnd } from '../forward.ts'
import type { BackendConnection } from './backend-connection.ts'
import { joinTunnel } from './join.ts'

type Phase = 'waiting' | 'connect' | 'body' | 'head' | 'answer' | 'over'

export class RelayCall implements ForwardCall, BodySink {
  readonly toHead: boolean
  /** Nothing may follow it on its connection. */
  readonly last: boolean
  /** The whole request is on its way: the connection may carry another after its answer. */
  requestSent = false
  /** Given to calls that wait for a connection: takes them out of the line. */
  onAbort: (() => void) | null = null
  readonly #request: ForwardRequest
  readonly #events: ForwardEvents
  readonly #deadlines: Deadlines
  readonly #tunnel: TunnelEnd | null
  #phase: Phase = 'waiting'
  #connection: BackendConnection | null = null
  #reused = false
  #answered = false
  #bodyBegun = false
  #sink: AnswerBody | null = null
  #sinkFull = false

  constructor(
    request: ForwardRequest,
    events: ForwardEvents,
    deadlines: Deadlines,
    tunnel: TunnelEnd | null,
  ) {
    this.#request = request
    this.#events = events
    this.#deadlines = deadlines
    this.#tunnel = tunnel
    this.toHead = request.method === 'HEAD'
    this.last = request.body !== null && isLastOnConnection(request.method, request.body.length)
  }

  get fresh(): boolean {
    return this.#request.fresh || this.#tunnel !== null
  }

  get connecting(): boolean {
    return this.#phase === 'waiting' || this.#phase === 'connect'
  }

  get over(): boolean {
    return this.#phase === 'over'
  }

  connectMs(): number {
    return this.#request.timeouts.connectMs
  }

  /** Goes on `connection`, which may still have to be made. */
  begin(connection: BackendConnection): void {
    this.#phase = 'connect'
    this.#connection = connection
    this.#reused = connection.used
    this.onAbort = null
    if (!connection.connected) connection.deadlineMs = this.#deadlines.in(this.#request.timeouts.connectMs)
    connection.take(this)
  }

  abort(): void {
    if (this.#phase === 'over') return
    this.#phase = 'over'
    this.onAbort?.()
    this.#connection?.destroy()
  }

  // What the connection tells.

  connected(): void {
    if (this.#phase !== 'connect') return
    const { head, body, member, timeouts } = this.#request
    const connection = this.#connection!
    const { writer } = connection
    if (body === null) {
      this.#phase = 'head'
      this.requestSent = true
      connection.deadlineMs = this.#deadlines.in(timeouts.headerMs)
      writer.begin(head.text(member), 'none', 0)
      writer.flush()
      return
    }
    this.#phase = 'body'
    this.#bodyBegun = true
    connection.deadlineMs = this.#deadlines.in(timeouts.idleMs)
    const length = body.length
    writer.begin(head.text(member), length < 0 ? 'chunked' : 'length', length)
    this.#events.bodyWanted()
    if (this.#phase !== 'body') return
    body.start(this)
    if (!this.over) writer.flush()
  }

  arrived(): void {
    this.#answered = true
    if (this.#phase === 'answer')
      this.#connection!.deadlineMs = this.#deadlines.in(this.#request.timeouts.idleMs)
  }

  information(head: ResponseHead): void {
    this.#events.information(head)
  }

  answer(head: ResponseHead): void {
    const connection = this.#connection!
    this.#phase = 'answer'
    connection.deadlineMs = this.#deadlines.in(this.#request.timeouts.idleMs)
    try {
      this.#sink = this.#events.response(head)
    } catch {
      this.fail('upstream_bad_response')
    }
  }

  body(bytes: Buffer): void {
    if (this.#phase !== 'answer' || this.#sink!.write(bytes) || this.#sinkFull) return
    this.#sinkFull = true
    const { socket } = this.#connection!
    socket.pause()
    this.#sink!.onRoom(() => {
      if (!this.#sinkFull) return
      this.#sinkFull = false
      if (this.over) return
      this.#connection!.deadlineMs = this.#deadlines.in(this.#request.timeouts.idleMs)
      socket.resume()
    })
  }

  flush(): void {
    this.#sink?.flush()
  }

  done(trailers: readonly string[]): void {
    if (this.#phase === 'over') return
    this.#phase = 'over'
    this.#connection = null
    this.#events.done(trailers)
  }

  switched(head: ResponseHead, early: Buffer): void {
    const tunnel = this.#tunnel
    if (tunnel === null || head.upgrade !== 'websocket') return this.fail('upstream_bad_response')
    const connection = this.#connection!
    this.#phase = 'over'
    connection.release(bytes => tunnel.fromBackend(bytes) || this.#stopReading(connection))
    joinTunnel(connection.socket, tunnel, this.#deadlines)
    this.#events.switched(head)
    if (early.length > 0 && !tunnel.fromBackend(early)) connection.socket.pause()
  }

  #stopReading({ socket }: BackendConnection): false {
    socket.pause()
    return false
  }

  late(): void {
    this.fail(this.#lateCode())
  }

  fail(code: ErrorCode): void {
    if (this.#phase === 'over') return
    this.#phase = 'over'
    this.onAbort?.()
    this.#connection?.destroy()
    const { reused, answered, bodyBegun } = {
      reused: this.#reused,
      answered: this.#answered,
      bodyBegun: this.#bodyBegun,
    }
    this.#events.failed({ code, reused, answered, bodyBegun })
  }

  /** The backend has taken what was written: the client may go on. */
  requestRoom(): void {
    if (this.#phase !== 'body' && this.#phase !== 'answer') return
    this.#connection!.deadlineMs = this.#deadlines.in(this.#request.timeouts.idleMs)
    this.#request.body?.resume()
  }

  // Where the request's body goes (BodySink).

  write(bytes: Buffer): boolean {
    // Nobody wants it any more: read on, so that the client can finish and see its answer.
    if (this.#phase === 'over' || this.#connection === null) return true
    const { writer } = this.#connection
    if (!writer.write(bytes)) {
      this.fail('bad_request')
      return true
    }
    writer.flush()
    if (this.#phase === 'body')
      this.#connection.deadlineMs = this.#deadlines.in(this.#request.timeouts.idleMs)
    return !writer.full
  }

  end(trailers: readonly string[]): void {
    if (this.#phase === 'over' || this.#connection === null) return
    this.requestSent = true
    this.#connection.writer.end(trailers.length > 0 ? trailerFields(trailers) : [])
    if (this.#phase !== 'body') return
    this.#phase = 'head'
    this.#connection.deadlineMs = this.#deadlines.in(this.#request.timeouts.headerMs)
  }

  #lateCode(): ErrorCode {
    switch (this.#phase) {
      case 'waiting':
      case 'connect':
        return 'upstream_connect_timeout'
      case 'body':
        return this.#connection!.writer.full ? 'upstream_idle_timeout' : 'request_timeout'
      case 'answer':
        return this.#sinkFull ? 'client_closed' : 'upstream_idle_timeout'
      default:
        return 'upstream_header_timeout'
    }
  }
}
