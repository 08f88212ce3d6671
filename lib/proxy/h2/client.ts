/**
 * One stream of an HTTP/2 client: the client's end of the exchange that is on it. To the engines it looks like any other client; a
 * WebSocket by extended CONNECT (RFC 8441) looks like an HTTP/1.1 upgrade.
 */
import { createHash, randomBytes } from 'node:crypto'
import { constants, type ServerHttp2Stream } from 'node:http2'
import type { Socket } from 'node:net'
import type { Readable } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import type { Clock } from '../../clock.ts'
import type { Member } from '../../cluster/member.ts'
import type { ErrorCode } from '../../errors.ts'
import type { AnswerBody, AnswerHead, ClientEnd, OutboundHead } from '../client-end.ts'
import type { Deadlines, Timed } from '../deadlines.ts'
import type { Arrival } from '../entrance.ts'
import { type Hop, type InboundExtras, inboundHeaders, outboundHeaders, trailerFields } from '../headers.ts'
import { outboundText } from '../http1/outbound-text.ts'
import { clientReadIdleMs, earlyBytesMax } from '../limits.ts'
import { StreamAnswer, StreamBody } from '../node-client.ts'
import type { Screened } from '../screen.ts'
import { Tunnel, type Tunnels, WaitingClient } from '../tunnel.ts'
import { dropRest, resetStream, writeRefusal } from './refuse.ts'
import type { H2Request } from './request.ts'

export interface H2ClientDeps {
  readonly tunnels: Tunnels
  readonly deadlines: Deadlines
  readonly clock: Clock
}

export class H2Client implements ClientEnd, Timed {
  timedAt = -1
  readonly engine = 'http-proxy-3'
  readonly protocol = 'HTTP/2'
  readonly secure: boolean
  readonly peer: string
  readonly localPort: number
  readonly method: string
  readonly line: Screened
  readonly upgrade: boolean
  readonly body: StreamBody | null
  #answer: StreamAnswer | null = null
  #refusedBytes = 0
  tooSlow = false
  deadlineMs = Number.POSITIVE_INFINITY
  readonly #stream: ServerHttp2Stream
  readonly #request: H2Request
  readonly #arrival: Arrival
  readonly #deps: H2ClientDeps
  readonly #waiting: WaitingClient | null
  /** For the handshake that the backend knows and this client does not. */
  readonly #webSocketKey: string
  #takesTrailers = false

  constructor(stream: ServerHttp2Stream, request: H2Request, arrival: Arrival, deps: H2ClientDeps) {
    this.#stream = stream
    this.#request = request
    this.#arrival = arrival
    this.#deps = deps
    this.secure = arrival.secure
    this.peer = arrival.peer
    this.localPort = arrival.localPort
    this.method = request.method
    this.line = request.line
    this.upgrade = request.upgrade
    this.body = request.line.body === 'none' ? null : new StreamBody(withTrailers(stream), request.length)
    this.#webSocketKey = request.upgrade ? randomBytes(16).toString('base64') : ''
    this.#waiting = request.upgrade ? new WaitingClient(asSocket(stream), nothing, earlyBytesMax) : null
  }

  get tlsVersion(): string | null {
    const { socket } = this.#arrival
    return this.secure && 'getProtocol' in socket ? (socket as TLSSocket).getProtocol() : null
  }

  get bytesIn(): number {
    return this.body?.bytes ?? 0
  }

  get bytesOut(): number {
    return this.#answer?.bytes ?? this.#refusedBytes
  }

  get bodyComplete(): boolean {
    return this.body === null || this.#stream.readableEnded
  }

  get answered(): boolean {
    return this.#stream.headersSent || this.#stream.destroyed || this.#stream.closed
  }

  field(name: string): string | undefined {
    const value = this.#request.fields[name]
    return Array.isArray(value) ? value.join(', ') : value
  }

  outbound(hop: Hop): OutboundHead {
    const { line, method, upgrade } = this.#request
    const { clientCertificate } = this.#arrival
    const own: Hop = clientCertificate === undefined ? hop : { ...hop, clientCertificate }
    const fields = () => {
      const all = outboundHeaders(this.#request.fields, own, upgrade ? 'upgrade' : line.body)
      if (!upgrade) return all
      return { ...all, 'sec-websocket-key': this.#webSocketKey, 'sec-websocket-version': '13' }
    }
    return { fields, text: member => outboundText(method, line.target, fields(), member) }
  }

  sendContinue(): void {
    if (this.#request.expectsContinue && !this.answered) this.#stream.additionalHeaders({ ':status': 100 })
  }

  sendInformation(head: AnswerHead): void {
    if (this.answered || this.upgrade) return
    try {
      const fields = inboundHeaders(head.fields(), noExtras, head.version)
      this.#stream.additionalHeaders({ ...asObject(fields), ':status': head.status })
    } catch {
      // An interim answer may always be left out.
    }
  }

  sendHead(head: AnswerHead, extras: InboundExtras, _close: boolean): AnswerBody {
    const fields = lowerNames(inboundHeaders(head.fields(), extras, head.version))
    // An answer of a head alone stays one: gRPC says its status in it.
    const empty = head.ended === true || this.method === 'HEAD' || head.status === 204 || head.status === 304
    // Also where there are none: without it node ends the stream in good order before it resets it, and half an answer looks whole.
    this.#takesTrailers = !empty
    this.#stream.respond([':status', String(head.status), ...fields], {
      endStream: empty,
      waitForTrailers: this.#takesTrailers,
    })
    this.#answer = new StreamAnswer(this.#stream)
    return this.#answer
  }

  finish(trailers: readonly string[]): void {
    const stream = this.#stream
    const fields = trailers.length > 0 ? asObject(trailerFields(trailers).flat()) : {}
    if (this.#takesTrailers)
      stream.once('wantTrailers', () => {
        sendTrailers(stream, fields)
        if (!this.bodyComplete) dropRest(stream)
      })
    this.#end()
  }

  refuse(
    code: ErrorCode,
    reason: string | null,
    _close: boolean,
    fields: readonly (readonly [string, string])[],
  ): void {
    if (this.answered) return this.break()
    const toHead = this.method === 'HEAD'
    this.#refusedBytes = writeRefusal(this.#stream, code, {
      reason,
      accept: this.field('accept'),
      toHead,
      fields,
    })
    this.#end()
  }

  break(): void {
    resetStream(this.#stream, constants.NGHTTP2_INTERNAL_ERROR)
  }

  tunnel(member: Member, idleMs: number): Tunnel {
    const { tunnels } = this.#deps
    return new Tunnel({ member, client: asSocket(this.#stream), idleMs, tunnels })
  }

  switch(tunnel: Tunnel, head: AnswerHead, extras: InboundExtras): void {
    const fields = inboundHeaders(head.fields(), extras, head.version)
    const early = this.#waiting!.release()
    const accept = takeField(fields, 'sec-websocket-accept')
    const agreed = !this.answered && accept === acceptOf(this.#webSocketKey) && this.#agree(fields)
    tunnel.open('', early)
    // A backend that cannot answer the handshake, or a client that has left: it was counted, and is over at once.
    if (!agreed) tunnel.cut()
  }

  #agree(fields: readonly string[]): boolean {
    try {
      this.#stream.respond([':status', '200', ...lowerNames(fields)])
      return true
    } catch {
      return false
    }
  }

  /** The client does not read the end of its answer. */
  onDeadline(): void {
    this.tooSlow = true
    this.#deps.deadlines.remove(this)
    resetStream(this.#stream, constants.NGHTTP2_CANCEL)
  }

  #end(): void {
    const stream = this.#stream
    const { deadlines } = this.#deps
    if (stream.destroyed) return
    deadlines.add(this)
    this.deadlineMs = deadlines.in(clientReadIdleMs)
    stream.once('close', () => deadlines.remove(this))
    if (!this.#takesTrailers && !this.bodyComplete) stream.once('finish', () => dropRest(stream))
    stream.end()
  }
}

const nothing = Buffer.alloc(0)
const noExtras: InboundExtras = { setCookie: null, backend: null }

/** Its trailers are known before its end. */
function withTrailers(stream: ServerHttp2Stream): Readable & { rawTrailers: readonly string[] } {
  const body = Object.assign(stream, { rawTrailers: [] as readonly string[] })
  stream.on('trailers', (_headers, _flags, rawHeaders?: readonly string[]) => {
    body.rawTrailers = rawHeaders ?? []
  })
  return body
}

/** A stream has no socket's settings of its own: those of its connection are made already. */
function asSocket(stream: ServerHttp2Stream): Socket {
  const none = () => stream
  return Object.assign(stream, { setNoDelay: none, setKeepAlive: none }) as unknown as Socket
}

function sendTrailers(stream: ServerHttp2Stream, fields: Record<string, string | string[]>): void {
  try {
    stream.sendTrailers(fields)
  } catch {
    resetStream(stream, constants.NGHTTP2_INTERNAL_ERROR)
  }
}

/** Names are lower case in HTTP/2 (RFC 9113 §8.2). */
function lowerNames(fields: readonly string[]): string[] {
  return fields.map((text, i) => (i % 2 === 0 ? text.toLowerCase() : text))
}

/** Repeated fields as lists. */
function asObject(fields: readonly string[]): Record<string, string | string[]> {
  const all: Record<string, string | string[]> = Object.create(null)
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const name = fields[i]!.toLowerCase()
    const before = all[name]
    all[name] = before === undefined ? fields[i + 1]! : [...[before].flat(), fields[i + 1]!]
  }
  return all
}

/** Takes every field of that name out; gives the first value. */
function takeField(fields: string[], name: string): string | null {
  let value: string | null = null
  for (let i = fields.length - 2; i >= 0; i -= 2) {
    if (fields[i]!.toLowerCase() !== name) continue
    ;[, value = null] = fields.splice(i, 2)
  }
  return value
}

/** RFC 6455 §4.2.2. */
const acceptOf = (key: string) =>
  createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
