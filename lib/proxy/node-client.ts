/** A client whose protocol `node:http` speaks: its request and response as an exchange wants them. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Readable, Writable } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import type { Clock } from '../clock.ts'
import type { Member } from '../cluster/member.ts'
import type { ErrorCode } from '../errors.ts'
import type { AnswerBody, AnswerHead, BodySink, ClientEnd, OutboundHead, RequestBody } from './client-end.ts'
import type { Arrival } from './entrance.ts'
import { type Hop, type InboundExtras, inboundHeaders, outboundHeaders, trailerFields } from './headers.ts'
import { outboundText } from './http1/outbound-text.ts'
import { clientReadIdleMs } from './limits.ts'
import { reply } from './reply.ts'
import { type Refusal, type Screened, screen } from './screen.ts'
import { Tunnel, type Tunnels, type WaitingClient } from './tunnel.ts'

export interface NodeClientOptions {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** The client waits for `100 Continue` before it sends its body. */
  readonly expectsContinue: boolean
  /** Given for a WebSocket upgrade; `response` then writes to its socket. */
  readonly waiting: WaitingClient | null
  readonly arrival: Arrival
  readonly tunnels: Tunnels
  readonly clock: Clock
}

export class NodeClient implements ClientEnd {
  readonly engine = 'http-proxy-3'
  readonly protocol: 'HTTP/1.0' | 'HTTP/1.1'
  readonly secure: boolean
  readonly peer: string
  readonly localPort: number
  readonly method: string
  readonly line: Screened | Refusal
  readonly upgrade: boolean
  readonly body: StreamBody | null
  tooSlow = false
  #answer: StreamAnswer | null = null
  #refusedBytes = 0
  readonly #options: NodeClientOptions
  readonly #request: IncomingMessage
  readonly #response: ServerResponse

  constructor(options: NodeClientOptions) {
    const { request, response, waiting } = options
    this.#options = options
    this.#request = request
    this.#response = response
    this.protocol = request.httpVersionMinor === 0 ? 'HTTP/1.0' : 'HTTP/1.1'
    this.secure = options.arrival.secure
    this.peer = options.arrival.peer
    this.localPort = options.arrival.localPort
    this.method = request.method ?? ''
    this.line = screen(request)
    this.upgrade = waiting !== null
    const bodied = this.line.fault === null && this.line.body !== 'none' && !this.upgrade
    this.body = bodied ? new StreamBody(request, Number(request.headers['content-length'] ?? -1)) : null
    response.on('error', ignore)
  }

  get tlsVersion(): string | null {
    return this.secure ? (this.#request.socket as TLSSocket).getProtocol() : null
  }

  get bytesIn(): number {
    return this.body?.bytes ?? 0
  }

  get bytesOut(): number {
    return this.#answer?.bytes ?? this.#refusedBytes
  }

  get bodyComplete(): boolean {
    return this.#request.complete
  }

  get answered(): boolean {
    return this.#response.headersSent || this.#response.destroyed
  }

  field(name: string): string | undefined {
    const value = this.#request.headers[name]
    return Array.isArray(value) ? value.join(', ') : value
  }

  outbound(reached: Hop): OutboundHead {
    const { headers } = this.#request
    const { clientCertificate } = this.#options.arrival
    const hop = clientCertificate === undefined ? reached : { ...reached, clientCertificate }
    const framing = this.upgrade ? 'upgrade' : (this.line as Screened).body
    const fields = () => outboundHeaders(headers, hop, framing)
    return {
      fields,
      text: member => outboundText(this.method, (this.line as Screened).target, fields(), member),
    }
  }

  sendContinue(): void {
    if (this.#options.expectsContinue && !this.#response.headersSent) this.#response.writeContinue()
  }

  sendInformation(head: AnswerHead): void {
    if (this.answered || this.protocol === 'HTTP/1.0' || this.upgrade) return
    try {
      this.#response.writeInformation(head.status, inboundHeaders(head.fields(), noExtras, head.version))
    } catch {
      // An interim answer may always be left out.
    }
  }

  sendHead(head: AnswerHead, extras: InboundExtras, close: boolean): AnswerBody {
    const response = this.#response
    if (close) response.shouldKeepAlive = false
    response.writeHead(head.status, head.message, inboundHeaders(head.fields(), extras, head.version))
    sendSoon(response)
    this.#answer = new StreamAnswer(response)
    return this.#answer
  }

  finish(trailers: readonly string[]): void {
    const response = this.#response
    if (trailers.length > 0 && response.chunkedEncoding) response.addTrailers(trailerFields(trailers))
    response.end()
    if (response.writableLength > 0) this.#limitReading()
  }

  refuse(
    code: ErrorCode,
    reason: string | null,
    close: boolean,
    headers: readonly (readonly [string, string])[],
  ): void {
    const { clock } = this.#options
    if (close) this.#response.shouldKeepAlive = false
    this.#refusedBytes = reply(this.#request, this.#response, code, { reason, clock, headers })
  }

  /** Nothing of it moves any deadline any more: the backend is done. */
  #limitReading(): void {
    const cancel = this.#options.clock.after(clientReadIdleMs, () => {
      this.tooSlow = true
      this.#response.destroy()
    })
    this.#response.once('close', cancel)
  }

  break(): void {
    const { socket } = this.#response
    // Without a length or chunks the end of the connection is the end of the body; only a reset says otherwise.
    if (socket && this.protocol === 'HTTP/1.0') socket.resetAndDestroy()
    else this.#response.destroy()
  }

  tunnel(member: Member, idleMs: number): Tunnel {
    const { waiting, tunnels } = this.#options
    return new Tunnel({ member, client: waiting!.socket, idleMs, tunnels })
  }

  switch(tunnel: Tunnel, head: AnswerHead, extras: InboundExtras): void {
    const waiting = this.#options.waiting!
    this.#response.detachSocket(waiting.socket as Socket)
    tunnel.open(switchingHead(inboundHeaders(head.fields(), extras)), waiting.release())
  }
}

/**
 * A head goes out with the first bytes of its body, or, where these are not there yet (an event stream), a turn later: a client
 * that waits for the head must not wait for an event.
 */
function sendSoon(response: ServerResponse): void {
  const before = response.socket?.bytesWritten
  setImmediate(() => {
    if (!response.writableEnded && response.socket?.bytesWritten === before) response.flushHeaders()
  })
}

/** The 101 of a WebSocket handshake; `fields`: name and value in turns. */
export function switchingHead(fields: readonly string[]): string {
  let head = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n'
  for (let i = 0; i < fields.length; i += 2) head += `${fields[i]}: ${fields[i + 1]}\r\n`
  return `${head}\r\n`
}

/** A body that is a stream already. */
export class StreamBody implements RequestBody {
  readonly length: number
  /** Of the body that were read. */
  bytes = 0
  readonly #stream: Readable & { readonly rawTrailers: readonly string[] }

  constructor(stream: Readable & { readonly rawTrailers: readonly string[] }, length: number) {
    this.#stream = stream
    this.length = length
  }

  stream(): Readable & { readonly rawTrailers: readonly string[] } {
    // Who asks for it begins to read it at once, so that nothing is lost to this listener.
    this.#stream.on('data', (bytes: Buffer) => {
      this.bytes += bytes.length
    })
    return this.#stream
  }

  start(sink: BodySink): void {
    const stream = this.stream()
    stream.on('data', (bytes: Buffer) => {
      if (!sink.write(bytes)) stream.pause()
    })
    stream.on('end', () => sink.end(stream.rawTrailers))
  }

  resume(): void {
    this.#stream.resume()
  }
}

/** An answer's body that goes to a stream. */
export class StreamAnswer implements AnswerBody {
  /** Of the body that were written. */
  bytes = 0
  readonly #stream: Writable

  constructor(stream: Writable) {
    this.#stream = stream
    // Counted where they pass: a stream between would be another buffer.
    const write = stream.write.bind(stream) as Writable['write']
    stream.write = ((bytes: Buffer) => {
      this.bytes += bytes.length
      return write(bytes)
    }) as Writable['write']
  }

  stream(): Writable {
    return this.#stream
  }

  write(bytes: Buffer): boolean {
    return this.#stream.write(Buffer.from(bytes))
  }

  flush(): void {}

  onRoom(listener: () => void): void {
    this.#stream.on('drain', listener)
  }
}

const ignore = () => {}
const noExtras: InboundExtras = { setCookie: null, backend: null }
