/**
 * One client connection of the relay, and the client's end of the exchange that is on it: requests are read strictly, one is served
 * at a time, in order, whatever the client sends ahead.
 *
 *            head whole                 last byte of the request
 *   head ───────────────► body ────────────────────────────────► waiting
 *    ▲  │                   └──────── answer whole ────────┐       │ answer whole
 *    │  │ not HTTP, too large, too late                    ▼       │
 *    │  └──────────────────────────────────────────────► leaving   │  (says no more; reads on for a moment, so that
 *    └─────────── the connection is kept ──────────────────────────┘   what it said is not lost to a reset)
 *
 *   waiting ── 101 ──► handed over to a tunnel
 */
import type { OutgoingHttpHeaders } from 'node:http'
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Member } from '../../../cluster/member.ts'
import type { ErrorCode } from '../../../errors.ts'
import type { AnswerBody, AnswerHead, ClientEnd, OutboundHead, RequestBody } from '../../client-end.ts'
import type { Timed } from '../../deadlines.ts'
import type { Arrival } from '../../entrance.ts'
import { Exchange } from '../../exchange.ts'
import type { Fields } from '../../exchanges.ts'
import { type Hop, type InboundExtras, outboundHeaders } from '../../headers.ts'
import { HeadBuffer } from '../../http1/head-buffer.ts'
import { ForwardingLines, relayedText } from '../../http1/outbound-text.ts'
import { RequestHead } from '../../http1/request-head.ts'
import {
  clientKeepAliveMs,
  clientReadIdleMs,
  earlyBytesMax,
  halfClosedMs,
  halfClosedSilenceMs,
  lingerMs,
  pipelinedBytesMax,
  requestHeadTimeoutMs,
} from '../../limits.ts'
import type { Listed } from '../../roster.ts'
import { tellRefused } from '../../telling.ts'
import { Tunnel, WaitingClient } from '../../tunnel.ts'
import { type AnswerManner, AnswerWriter } from './answer-writer.ts'
import { HalfClosed } from './half-closed.ts'
import type { RelayListenerState } from './listener-state.ts'
import { type BodyOwner, ConnectionBody } from './request-body.ts'
import { readNoMore, readWith } from './shared-read-socket.ts'

type State = 'head' | 'body' | 'waiting' | 'leaving' | 'handed over'

export class ClientConnection implements ClientEnd, OutboundHead, BodyOwner, Timed, Listed {
  listedAt = -1
  timedAt = -1
  readonly engine = 'relay'
  deadlineMs: number
  tooSlow = false
  readonly secure: boolean
  readonly peer: string
  readonly localPort: number
  readonly #socket: Socket
  readonly #certificate: string | null | undefined
  readonly #listener: RelayListenerState
  readonly #answer: AnswerWriter
  readonly #body: ConnectionBody
  #state: State = 'head'
  #reading = false
  readonly #heads = new HeadBuffer()
  /** Bytes that came before anybody wanted them: of the body, or of later requests. */
  #rest: Buffer | null = null
  #head: RequestHead = noRequest
  #hop: Hop | null = null
  #exchange: Exchange | null = null
  #waitingClient: WaitingClient | null = null
  #halfClosed: HalfClosed | null = null
  readonly #forwarding = new ForwardingLines()

  constructor(arrival: Arrival, listener: RelayListenerState) {
    const { socket } = arrival
    this.#socket = socket
    this.#certificate = arrival.clientCertificate
    this.#listener = listener
    this.#answer = new AnswerWriter(socket)
    this.#body = new ConnectionBody(socket, this)
    this.secure = arrival.secure
    this.peer = arrival.peer
    this.localPort = arrival.localPort
    listener.deadlines.add(this)
    this.deadlineMs = listener.deadlines.in(requestHeadTimeoutMs)
    readWith(socket, this.#onData)
    socket.on('end', this.#onEnd)
    socket.on('error', ignore)
    socket.on('close', this.#onClose)
    socket.on('drain', this.#onDrain)
  }

  get idle(): boolean {
    return this.#state === 'head' && this.#heads.empty
  }

  get busy(): boolean {
    return this.#exchange !== null
  }

  destroy(): void {
    this.#answer.destroyConnection()
  }

  onDeadline(): void {
    if (this.#state === 'head' && !this.#heads.empty) this.#refuseHead('request_timeout', null)
    else if (this.#state === 'waiting' && this.#answer.begun && this.#halfClosed?.reads(this.#answer.waits))
      this.deadlineMs = this.#listener.deadlines.in(halfClosedSilenceMs)
    else if (this.#halfClosed !== null || this.#state !== 'head') {
      this.tooSlow = this.#halfClosed === null
      this.#answer.destroyConnection()
    } else this.#leave()
  }

  // What was asked (ClientEnd).

  get protocol(): 'HTTP/1.0' | 'HTTP/1.1' {
    return this.#head.httpVersionMinor === 0 ? 'HTTP/1.0' : 'HTTP/1.1'
  }

  get tlsVersion(): string | null {
    return this.secure ? (this.#socket as TLSSocket).getProtocol() : null
  }

  get bytesIn(): number {
    return this.#body.bytes
  }

  get bytesOut(): number {
    return this.#answer.bytes
  }

  get method(): string {
    return this.#head.method
  }

  get line(): RequestHead {
    return this.#head
  }

  get upgrade(): boolean {
    return this.#head.webSocket
  }

  get body(): RequestBody | null {
    return this.#head.body === 'none' ? null : this.#body
  }

  get bodyComplete(): boolean {
    return this.#body.complete
  }

  field(name: string): string | undefined {
    return this.#head.field(name)
  }

  outbound(hop: Hop): OutboundHead {
    const clientCertificate = this.#certificate
    this.#hop = clientCertificate === undefined ? hop : { ...hop, clientCertificate }
    return this
  }

  fields(): OutgoingHttpHeaders {
    const head = this.#head
    return outboundHeaders(head.fields(), this.#hop!, head.webSocket ? 'upgrade' : head.body)
  }

  text(member: Member): string {
    return relayedText(this.#head, this.#forwarding.of(this.#head, this.#hop!), member)
  }

  // Its body (BodyOwner).

  takeRest(): Buffer | null {
    const rest = this.#rest
    this.#rest = null
    return rest
  }

  bodyRead(left: Buffer | null): void {
    // It may have been answered, and the connection given up, while its last bytes were passed on.
    if (this.#state !== 'body') return
    this.#state = 'waiting'
    if (left !== null) this.#keep(left)
    else this.#socket.resume()
  }

  bodyFault(reason: string): void {
    if (this.#state !== 'body') return
    this.#exchange?.clientFault('bad_request', reason)
    this.bodyCut()
  }

  bodyCut(): void {
    if (this.#state === 'body') this.#answer.destroyConnection()
  }

  // The answer (ClientEnd).

  get answered(): boolean {
    return this.#answer.begun || this.#socket.destroyed
  }

  sendContinue(): void {
    if (this.#head.expectsContinue && !this.answered) this.#answer.interim('HTTP/1.1 100 Continue\r\n\r\n')
  }

  sendInformation(head: AnswerHead): void {
    if (this.answered || this.protocol === 'HTTP/1.0' || this.upgrade) return
    this.#answer.information(head)
  }

  sendHead(head: AnswerHead, extras: InboundExtras, close: boolean): AnswerBody {
    if (this.#halfClosed !== null) this.deadlineMs = this.#listener.deadlines.in(halfClosedSilenceMs)
    this.#answer.begin(head, extras, this.#manner(this.#keepsAlive(close)))
    return this.#answer
  }

  finish(trailers: readonly string[]): void {
    if (this.#socket.destroyed) return
    if (!this.#answer.end(trailers)) return this.break()
    if (!this.#answer.full) return this.#answerSent()
    this.deadlineMs = this.#listener.deadlines.in(clientReadIdleMs)
    this.#answer.onRoom(() => this.#answerSent())
  }

  refuse(code: ErrorCode, reason: string | null, close: boolean, fields: Fields = []): void {
    if (this.answered) return this.break()
    const keepAlive = this.#keepsAlive(close) && this.bodyComplete
    const accept = this.#head === noRequest ? undefined : this.field('accept')
    this.#answer.refuse(code, reason, { ...this.#manner(keepAlive), accept, fields })
    this.#answerSent()
  }

  break(): void {
    // Without a length or chunks the end of the connection is the end of the body; only a reset says otherwise.
    if (this.#answer.endsWithConnection) this.#socket.resetAndDestroy()
    else this.#answer.destroyConnection()
  }

  tunnel(member: Member, idleMs: number): Tunnel {
    return new Tunnel({ member, client: this.#socket, idleMs, tunnels: this.#listener.context.tunnels })
  }

  switch(tunnel: Tunnel, head: AnswerHead, extras: InboundExtras): void {
    const early = this.#waitingClient!.release()
    this.#state = 'handed over'
    this.#exchange = null
    this.#forget()
    this.#socket.off('close', this.#onClose)
    this.#socket.off('drain', this.#onDrain)
    tunnel.open(this.#answer.switching(head, extras), early)
  }

  // Reading.

  /** The bytes are not ours after this. */
  readonly #onData = (bytes: Buffer) => {
    switch (this.#state) {
      case 'head':
        this.#rest = bytes
        this.#readRequests()
        if (this.#rest !== null) this.#rest = Buffer.from(this.#rest)
        return
      case 'body':
        return this.#body.wanted ? this.#body.feed(bytes) : this.#keep(bytes)
      case 'waiting':
        return this.#keep(bytes)
      default:
    }
  }

  /** Serves what has come, one request after another; an answer that is given at once does not nest. */
  #readRequests(): void {
    if (this.#reading) return
    this.#reading = true
    while (this.#state === 'head' && this.#rest !== null && !this.#socket.destroyed) {
      const bytes = this.#rest
      this.#rest = null
      this.#readHead(bytes)
    }
    this.#reading = false
    if (this.#state === 'head' && this.#halfClosed !== null) this.#leave()
  }

  #readHead(bytes: Buffer): void {
    const wasEmpty = this.#heads.empty
    const head = this.#heads.read(bytes)
    if (head === null) {
      if (wasEmpty && !this.#heads.empty) this.deadlineMs = this.#listener.deadlines.in(requestHeadTimeoutMs)
    } else if (head instanceof RequestHead) {
      this.#rest = this.#heads.left
      this.#begin(head)
    } else this.#refuseHead(head.code, head.fault)
  }

  #begin(head: RequestHead): void {
    this.#head = head
    this.#answer.next()
    const waitMs = this.#halfClosed === null ? Number.POSITIVE_INFINITY : halfClosedMs
    this.deadlineMs = this.#listener.deadlines.in(waitMs)
    this.#body.begin(head)
    this.#state = head.body === 'none' ? 'waiting' : 'body'
    if (head.webSocket) this.#awaitUpgrade()
    this.#exchange = new Exchange(this.#listener.context, this)
    this.#exchange.begin()
    // Nobody takes the body yet: the rest of it waits in the kernel.
    if (this.#state === 'body' && !this.#body.wanted) this.#socket.pause()
  }

  /** What a client sends before its 101 is kept for the tunnel. */
  #awaitUpgrade(): void {
    readNoMore(this.#socket, this.#onData)
    this.#socket.off('end', this.#onEnd)
    this.#waitingClient = new WaitingClient(this.#socket, Buffer.from(this.#rest ?? []), earlyBytesMax)
    this.#rest = null
  }

  /** Bytes for later. The socket is read on while there is room: that is how a client that leaves is noticed. */
  #keep(bytes: Buffer): void {
    this.#rest = this.#rest === null ? Buffer.from(bytes) : Buffer.concat([this.#rest, bytes])
    if (this.#rest.length > pipelinedBytesMax) this.#socket.pause()
  }

  // Ends.

  #manner(keepAlive: boolean): AnswerManner {
    return { toHead: this.method === 'HEAD', oldClient: this.#head.httpVersionMinor === 0, keepAlive }
  }

  #keepsAlive(close: boolean): boolean {
    return !close && this.#head.keepAlive && !this.#listener.stopped && !this.upgrade && this.bodyComplete
  }

  #answerSent(): void {
    const exchange = this.#exchange
    const kept = this.#answer.keepAlive && this.bodyComplete
    if (!kept) this.#leave()
    else {
      this.#state = 'head'
      this.#head = noRequest
      this.#answer.reset()
      this.deadlineMs = this.#listener.deadlines.in(clientKeepAliveMs)
      this.#socket.resume()
    }
    this.#exchange = null
    exchange?.closed(true)
    if (kept) this.#readRequests()
  }

  #refuseHead(code: ErrorCode, reason: string | null): void {
    this.#heads.clear()
    this.#state = 'waiting'
    tellRefused(this.#listener.context.observer, this.peer, code)
    this.refuse(code, reason, true)
  }

  /** No more is said; what still comes is read for a moment, and thrown away. */
  #leave(): void {
    this.#state = 'leaving'
    this.#rest = null
    this.deadlineMs = this.#listener.deadlines.in(clientReadIdleMs)
    this.#answer.endConnection(() => {
      this.deadlineMs = this.#listener.deadlines.in(lingerMs)
    })
    this.#socket.resume()
  }

  readonly #onEnd = () => {
    this.#halfClosed = new HalfClosed(this.#socket)
    // What came before it may be the whole body; nobody has wanted it yet.
    const unread = this.#state === 'body' && !this.#body.wanted
    if (this.#state === 'waiting' || unread) {
      const waitMs = this.#answer.begun ? halfClosedSilenceMs : halfClosedMs
      this.deadlineMs = this.#listener.deadlines.in(waitMs)
    } else if (this.#state === 'head') this.#leave()
    else if (this.#state !== 'leaving') this.#answer.destroyConnection()
  }

  readonly #onClose = () => {
    this.#forget()
    const exchange = this.#exchange
    this.#exchange = null
    exchange?.closed(false)
  }

  #forget(): void {
    this.#listener.deadlines.remove(this)
    this.#listener.connections.remove(this)
  }

  readonly #onDrain = () => {
    this.#answer.drained()
  }
}

const ignore = () => {}
const noRequest = new RequestHead('', 0)
