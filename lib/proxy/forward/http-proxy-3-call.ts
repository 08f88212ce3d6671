/**
 * One request on its way through `http-proxy-3`: what the library takes for the client's request, the body in both directions with
 * back-pressure, the deadlines, and the translation of every way to fail.
 *
 *   connect ──► body ──► head ──► answer ──► over
 *      └─────────┴────────┴─────────┴──────────▲   failure, deadline or abort
 */
import type { ClientRequest, IncomingMessage, InformationEvent, OutgoingHttpHeaders } from 'node:http'
import type { Socket } from 'node:net'
import type { Writable } from 'node:stream'
import type { Clock } from '../../clock.ts'
import type { ErrorCode } from '../../errors.ts'
import type { RequestBody } from '../client-end.ts'
import type { Deadlines, Timed } from '../deadlines.ts'
import { trailerFields } from '../headers.ts'
import { closeHandshakeMs } from '../limits.ts'
import { isTlsFailure } from '../tls/upstream.ts'
import type { ForwardCall, ForwardEvents, ForwardRequest, TunnelEnd } from './forward.ts'

type Phase = 'connect' | 'body' | 'head' | 'answer' | 'over'

export class EngineCall implements ForwardCall, Timed {
  timedAt = -1
  // What the library reads of a request.
  readonly method: string
  readonly url: string
  readonly headers: OutgoingHttpHeaders
  readonly httpVersion = '1.1'
  readonly httpVersionMajor = 1
  readonly socket = alive

  deadlineMs: number
  protected readonly request: ForwardRequest
  protected readonly events: ForwardEvents
  protected readonly deadlines: Deadlines
  protected phase: Phase = 'connect'
  protected upstream: ClientRequest | null = null
  #connection: Socket | null = null
  #bytesReadBefore = 0
  #bodyBegun = false
  #sink: Writable | null = null
  #response: IncomingMessage | null = null

  constructor(request: ForwardRequest, events: ForwardEvents, deadlines: Deadlines) {
    this.request = request
    this.events = events
    this.deadlines = deadlines
    this.method = request.method
    this.url = request.target
    this.headers = request.head.fields()
    deadlines.add(this)
    this.deadlineMs = deadlines.in(request.timeouts.connectMs)
  }

  /** The library adds `error` and `close` listeners to what it takes for the client; the exchange has its own. */
  on(): this {
    return this
  }

  get connecting(): boolean {
    return this.phase === 'connect'
  }

  abort(): void {
    if (!this.finish()) return
    this.upstream?.destroy()
  }

  onError(error: unknown): void {
    this.fail(failureCode(error, this.phase))
  }

  onDeadline(): void {
    this.fail(this.#lateCode())
  }

  onResponse(response: IncomingMessage): void {
    if (this.phase === 'over') {
      response.destroy()
      return
    }
    this.phase = 'answer'
    this.deadlineMs = this.deadlines.in(this.request.timeouts.idleMs)
    const sink = this.#answer(response)
    if (sink === null) return
    this.#sink = sink
    this.#response = response
    link(response, this)
    response.on('data', onData)
    response.on('end', onEnd)
    // Also without an 'error': a listener here is what makes an abort visible at all.
    response.on('error', onBroken)
    response.on('close', onBroken)
  }

  /** A piece of the answer. The next one waits until the sink has room. */
  take(chunk: Buffer): void {
    if (this.phase === 'over') return
    const { idleMs } = this.request.timeouts
    this.deadlineMs = this.deadlines.in(idleMs)
    if (this.#sink!.write(chunk)) return
    this.#response!.pause()
    this.#sink!.once('drain', () => {
      if (this.phase !== 'over') this.deadlineMs = this.deadlines.in(idleMs)
      this.#response!.resume()
    })
  }

  answerEnded(): void {
    const response = this.#response!
    if (!response.complete || !this.finish()) return
    // An answer before the end of the request: what is left of the request has no reader any more.
    if (!this.upstream!.writableFinished) this.upstream!.destroy()
    this.events.done(response.rawTrailers)
  }

  answerBroke(): void {
    this.fail('upstream_reset')
  }

  connectionGiven(socket: Socket): void {
    this.#connection = socket
    this.#bytesReadBefore = socket.bytesRead
    // TLS stands when the backend has shown who it is.
    const { secureConnecting = false } = socket as Socket & { readonly secureConnecting?: boolean }
    if (secureConnecting) socket.once('secureConnect', () => this.#connected())
    else if (socket.connecting) socket.once('connect', () => this.#connected())
    else this.#connected()
  }

  interim(info: InformationEvent): void {
    if (this.phase === 'over' || info.statusCode === 100) return
    const { statusCode: status, statusMessage: message, rawHeaders } = info
    this.events.information({ status, message, fields: () => rawHeaders })
  }

  /** Node closes without an error what answers 101 unasked. */
  requestClosed(): void {
    if (this.phase !== 'answer') this.fail('upstream_bad_response')
  }

  /** The library has made its request and is about to send its head. */
  protected attach(upstream: ClientRequest): void {
    this.upstream = upstream
    upstream.path = this.request.target
    link(upstream, this)
    upstream.on('socket', onSocket)
    upstream.on('close', onRequestClose)
    upstream.on('information', onInformation)
  }

  /** True for the one caller that ends it. */
  protected finish(): boolean {
    if (this.phase === 'over') return false
    this.phase = 'over'
    this.deadlines.remove(this)
    return true
  }

  protected fail(code: ErrorCode): void {
    const answered = this.phase === 'answer' || this.#bytesArrived()
    if (!this.finish()) return
    this.upstream?.destroy()
    this.events.failed({
      code,
      reused: this.upstream?.reusedSocket ?? false,
      answered,
      bodyBegun: this.#bodyBegun,
    })
  }

  /** Null, and failed: what the parser took but cannot be said to a client (status 099, or 101 where nobody asked). */
  #answer(response: IncomingMessage): Writable | null {
    const status = response.statusCode!
    try {
      if (status >= 200) {
        const message = response.statusMessage ?? ''
        const version = response.httpVersion === '1.0' ? '1.0' : '1.1'
        const head = { status, message, version, fields: () => response.rawHeaders } as const
        return this.events.response(head).stream()
      }
    } catch {
      // As below.
    }
    this.fail('upstream_bad_response')
    return null
  }

  #connected(): void {
    if (this.phase !== 'connect') return
    if (this.request.body === null) {
      this.phase = 'head'
      this.deadlineMs = this.deadlines.in(this.request.timeouts.headerMs)
    } else {
      this.phase = 'body'
      this.#bodyBegun = true
      this.events.bodyWanted()
      this.#sendBody(this.request.body.stream())
    }
  }

  #sendBody(body: ReturnType<RequestBody['stream']>): void {
    const upstream = this.upstream!
    const { idleMs, headerMs } = this.request.timeouts
    this.deadlineMs = this.deadlines.in(idleMs)
    body.on('data', chunk => {
      // Nobody wants it any more: read on, so that the client can finish and see its answer.
      if (this.phase === 'over' || upstream.destroyed) return
      this.deadlineMs = this.deadlines.in(idleMs)
      if (!upstream.write(chunk)) body.pause()
    })
    body.on('end', () => {
      if (this.phase === 'over' || upstream.destroyed) return
      if (body.rawTrailers.length > 0 && upstream.hasHeader('transfer-encoding')) {
        upstream.addTrailers(trailerFields(body.rawTrailers))
      }
      upstream.end()
      if (this.phase !== 'body') return
      this.phase = 'head'
      this.deadlineMs = this.deadlines.in(headerMs)
    })
    upstream.on('drain', () => {
      if (this.phase !== 'over') this.deadlineMs = this.deadlines.in(idleMs)
      body.resume()
    })
    upstream.on('close', () => body.resume())
    // The backend may want to answer before the first byte of the body comes.
    if (body.readableLength === 0) upstream.flushHeaders()
  }

  #bytesArrived(): boolean {
    return this.#connection !== null && this.#connection.bytesRead > this.#bytesReadBefore
  }

  #lateCode(): ErrorCode {
    switch (this.phase) {
      case 'connect':
        return 'upstream_connect_timeout'
      case 'body':
        return this.upstream?.writableNeedDrain ? 'upstream_idle_timeout' : 'request_timeout'
      case 'answer':
        return this.#sink?.writableNeedDrain ? 'client_closed' : 'upstream_idle_timeout'
      default:
        return 'upstream_header_timeout'
    }
  }
}

export class WebCall extends EngineCall {
  /** The library pipes "the request" into its own. */
  pipe(upstream: ClientRequest): ClientRequest {
    this.attach(upstream)
    if (this.request.body === null) upstream.end()
    return upstream
  }
}

export class UpgradeCall extends EngineCall {
  readonly #client: TunnelEnd
  readonly #clock: Clock

  constructor(
    request: ForwardRequest,
    events: ForwardEvents,
    deadlines: Deadlines,
    client: TunnelEnd,
    clock: Clock,
  ) {
    super(request, events, deadlines)
    this.#client = client
    this.#clock = clock
  }

  begin(upstream: ClientRequest): void {
    this.attach(upstream)
  }

  /**
   * The library has added its listeners, and no event can have come yet. Its way to relay a refusal (no back-pressure, repeated
   * fields lost) is replaced by ours; its way to connect the sockets is kept, behind a look at the answer.
   */
  takeOver(): void {
    const upstream = this.upstream!
    const [connect] = upstream.listeners('upgrade') as [(...args: unknown[]) => void]
    upstream.removeAllListeners('upgrade')
    upstream.removeAllListeners('response')
    upstream.on('response', response => this.onResponse(response))
    upstream.on('upgrade', (response: IncomingMessage, backend: Socket, head: Buffer) => {
      if (this.phase === 'over') {
        backend.destroy()
        return
      }
      if (response.headers.upgrade?.toLowerCase() !== 'websocket') {
        backend.destroy()
        this.fail('upstream_bad_response')
        return
      }
      this.finish()
      const { statusMessage, rawHeaders } = response
      this.events.switched({ status: 101, message: statusMessage ?? '', fields: () => rawHeaders })
      this.#swallowHead()
      connect(response, backend, head)
      this.#client.once('close', () => this.#release(backend))
    })
  }

  /** The first thing the library writes is its own 101 head, at once; the exchange has sent a better one. */
  #swallowHead(): void {
    this.#client.write = () => Reflect.deleteProperty(this.#client, 'write')
  }

  /** The library only half-closes the backend's socket, which may then stay for ever. */
  #release(backend: Socket): void {
    backend.destroySoon()
    const cancel = this.#clock.after(closeHandshakeMs, () => backend.destroy())
    backend.once('close', cancel)
  }
}

// One listener for all calls, instead of seven closures for each on the hottest path.
const callOf = Symbol('call')
type Linked = { [callOf]: EngineCall }
function link(to: object, call: EngineCall): void {
  ;(to as Linked)[callOf] = call
}
const onSocket = function (this: unknown, socket: Socket) {
  ;(this as Linked)[callOf].connectionGiven(socket)
}
const onInformation = function (this: unknown, info: InformationEvent) {
  ;(this as Linked)[callOf].interim(info)
}
const onRequestClose = function (this: unknown) {
  ;(this as Linked)[callOf].requestClosed()
}
const onData = function (this: unknown, chunk: Buffer) {
  ;(this as Linked)[callOf].take(chunk)
}
const onEnd = function (this: unknown) {
  ;(this as Linked)[callOf].answerEnded()
}
const onBroken = function (this: unknown) {
  ;(this as Linked)[callOf].answerBroke()
}

const alive = { destroyed: false }

function failureCode(error: unknown, phase: Phase): ErrorCode {
  const code = (error as NodeJS.ErrnoException | undefined)?.code ?? ''
  if (/^ERR_(INVALID|HTTP|UNESCAPED)/.test(code)) return 'internal'
  if (phase === 'connect') return isTlsFailure(error) ? 'upstream_tls_failed' : 'upstream_connect_failed'
  return code.startsWith('HPE_') ? 'upstream_bad_response' : 'upstream_reset'
}
