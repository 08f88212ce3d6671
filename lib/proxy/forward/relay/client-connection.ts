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
import type { Member } from '../../../cluster/member.ts'
import type { ErrorCode } from '../../../errors.ts'
import type { AnswerBody, AnswerHead, ClientEnd, OutboundHead, RequestBody } from '../../client-end.ts'
import type { Timed } from '../../deadlines.ts'
import { Exchange } from '../../exchange.ts'
import { type Hop, type InboundExtras, outboundHeaders } from '../../headers.ts'
import { forwardingText, relayedText } from '../../http1/outbound-text.ts'
import { parseRequestHead, RequestHead } from '../../http1/request-head.ts'
import {
  clientKeepAliveMs,
  clientReadIdleMs,
  earlyBytesMax,
  halfClosedMs,
  lingerMs,
  pipelinedBytesMax,
  requestHeadBytesMax,
  requestHeadTimeoutMs,
} from '../../limits.ts'
import { plainAddress } from '../../trusted-proxies.ts'
import { Tunnel, WaitingClient } from '../../tunnel.ts'
import { AnswerWriter } from './answer-writer.ts'
import type { RelayListenerState } from './listener-state.ts'
import { type BodyOwner, ConnectionBody } from './request-body.ts'

type State = 'head' | 'body' | 'waiting' | 'leaving' | 'handed over'

export class ClientConnection implements ClientEnd, OutboundHead, BodyOwner, Timed {
  readonly engine = 'relay'
  deadlineMs: number
  readonly secure: boolean
  readonly peer: string
  readonly localPort: number
  readonly #socket: Socket
  readonly #listener: RelayListenerState
  readonly #answer: AnswerWriter
  readonly #body: ConnectionBody
  #state: State = 'head'
  #reading = false
  /** The beginning of a head that is not whole yet. */
  #partial = ''
  /** Bytes that came before anybody wanted them: of the body, or of later requests. */
  #rest: Buffer | null = null
  #head: RequestHead = noRequest
  #hop: Hop | null = null
  #exchange: Exchange | null = null
  #waitingClient: WaitingClient | null = null
  #halfClosed = false
  /** The forwarding lines of the last request: those of the next are the same, most of the time. */
  #forwarding = { authority: '', text: '' }

  constructor(socket: Socket, listener: RelayListenerState, secure: boolean) {
    this.#socket = socket
    this.#listener = listener
    this.#answer = new AnswerWriter(socket)
    this.#body = new ConnectionBody(socket, this)
    this.secure = secure
    this.peer = plainAddress(socket.remoteAddress ?? '')
    this.localPort = socket.localPort ?? 0
    listener.deadlines.add(this)
    this.deadlineMs = listener.deadlines.in(requestHeadTimeoutMs)
    socket.on('data', this.#onData)
    socket.on('end', this.#onEnd)
    socket.on('error', ignore)
    socket.on('close', this.#onClose)
    socket.on('drain', this.#onDrain)
  }

  get idle(): boolean {
    return this.#state === 'head' && this.#partial === ''
  }

  get busy(): boolean {
    return this.#exchange !== null
  }

  destroy(): void {
    this.#socket.destroy()
  }

  onDeadline(): void {
    if (this.#state === 'head' && this.#partial !== '') this.#refuseHead('request_timeout', null)
    else if (this.#halfClosed || this.#state !== 'head') this.#socket.destroy()
    else this.#leave()
  }

  // What was asked (ClientEnd).

  get protocol(): 'HTTP/1.0' | 'HTTP/1.1' {
    return this.#head.httpVersionMinor === 0 ? 'HTTP/1.0' : 'HTTP/1.1'
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
    this.#hop = hop
    return this
  }

  fields(): OutgoingHttpHeaders {
    const head = this.#head
    return outboundHeaders(head.fields(), this.#hop!, head.webSocket ? 'upgrade' : head.body)
  }

  text(member: Member): string {
    return relayedText(this.#head, this.#forwardingOf(this.#head, this.#hop!), member)
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
    if (this.#state === 'body') this.#socket.destroy()
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
    if (this.#halfClosed) this.deadlineMs = Number.POSITIVE_INFINITY
    this.#answer.begin(head, extras, {
      toHead: this.method === 'HEAD',
      oldClient: this.#head.httpVersionMinor === 0,
      keepAlive: this.#keepsAlive(close),
    })
    return this.#answer
  }

  finish(trailers: readonly string[]): void {
    if (this.#socket.destroyed) return
    if (!this.#answer.end(trailers)) return this.break()
    if (!this.#answer.full) return this.#answerSent()
    this.deadlineMs = this.#listener.deadlines.in(clientReadIdleMs)
    this.#answer.onRoom(() => this.#answerSent())
  }

  refuse(code: ErrorCode, reason: string | null, close: boolean): void {
    if (this.answered) return this.break()
    const keepAlive = this.#keepsAlive(close) && this.bodyComplete
    this.#answer.refuse(code, reason, {
      accept: this.#head === noRequest ? undefined : this.field('accept'),
      toHead: this.method === 'HEAD',
      oldClient: this.#head.httpVersionMinor === 0,
      keepAlive,
    })
    this.#answerSent()
  }

  break(): void {
    // Without a length or chunks the end of the connection is the end of the body; only a reset says otherwise.
    if (this.#answer.endsWithConnection) this.#socket.resetAndDestroy()
    else this.#socket.destroy()
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

  readonly #onData = (bytes: Buffer) => {
    switch (this.#state) {
      case 'head':
        this.#rest = bytes
        return this.#readRequests()
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
    if (this.#state === 'head' && this.#halfClosed) this.#leave()
  }

  #readHead(bytes: Buffer): void {
    const before = this.#partial.length
    let text = this.#partial + bytes.toString('latin1', 0, requestHeadBytesMax + 4 - before)
    // One empty line before a request is forgiven (RFC 9112 §2.2).
    const skipped = text.startsWith('\r\n') ? 2 : 0
    if (skipped > 0) text = text.slice(2)
    const end = text.indexOf('\r\n\r\n')
    if (end === -1 || end > requestHeadBytesMax) return this.#keepPartial(text)
    this.#partial = ''
    const head = parseRequestHead(text)
    if (!(head instanceof RequestHead)) return this.#refuseHead(head.code, head.fault)
    const used = end + 4 + skipped - before
    if (used < bytes.length) this.#rest = bytes.subarray(used)
    this.#begin(head)
  }

  #keepPartial(text: string): void {
    if (text.length > requestHeadBytesMax) return this.#refuseHead('headers_too_large', null)
    if (bareLineFeed.test(text)) return this.#refuseHead('bad_request', 'A line that does not end in CR LF.')
    if (this.#partial === '') this.deadlineMs = this.#listener.deadlines.in(requestHeadTimeoutMs)
    this.#partial = text
  }

  #begin(head: RequestHead): void {
    this.#head = head
    this.#answer.reset()
    this.deadlineMs = Number.POSITIVE_INFINITY
    this.#body.begin(head)
    this.#state = head.body === 'none' ? 'waiting' : 'body'
    if (head.webSocket) this.#awaitUpgrade()
    else if (this.#state === 'body') this.#socket.pause()
    this.#exchange = new Exchange(this.#listener.context, this)
    this.#exchange.begin()
  }

  /** What a client sends before its 101 is kept for the tunnel. */
  #awaitUpgrade(): void {
    this.#socket.off('data', this.#onData)
    this.#socket.off('end', this.#onEnd)
    this.#waitingClient = new WaitingClient(this.#socket, this.#rest ?? nothing, earlyBytesMax)
    this.#rest = null
  }

  /** Bytes for later. The socket is read on while there is room: that is how a client that leaves is noticed. */
  #keep(bytes: Buffer): void {
    this.#rest = this.#rest === null ? bytes : Buffer.concat([this.#rest, bytes])
    if (this.#rest.length > pipelinedBytesMax) this.#socket.pause()
  }

  // Ends.

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
    exchange?.closed()
    if (kept) this.#readRequests()
  }

  #refuseHead(code: ErrorCode, reason: string | null): void {
    this.#partial = ''
    this.#state = 'waiting'
    this.refuse(code, reason, true)
  }

  /** No more is said; what still comes is read for a moment, and thrown away. */
  #leave(): void {
    this.#state = 'leaving'
    this.#rest = null
    this.#socket.end()
    this.#socket.resume()
    this.deadlineMs = this.#listener.deadlines.in(lingerMs)
  }

  readonly #onEnd = () => {
    this.#halfClosed = true
    if (this.#state === 'waiting') {
      if (!this.#answer.begun) this.deadlineMs = this.#listener.deadlines.in(halfClosedMs)
    } else if (this.#state === 'head') this.#leave()
    else this.#socket.destroy()
  }

  readonly #onClose = () => {
    this.#forget()
    const exchange = this.#exchange
    this.#exchange = null
    exchange?.closed()
  }

  #forget(): void {
    this.#listener.deadlines.remove(this)
    this.#listener.connections.delete(this)
  }

  readonly #onDrain = () => {
    this.#answer.drained()
  }

  #forwardingOf(head: RequestHead, hop: Hop): string {
    if (head.forwarded || hop.trusted || hop.httpVersionMinor === 0) return forwardingText(head, hop)
    if (this.#forwarding.text === '' || this.#forwarding.authority !== hop.authority)
      this.#forwarding = { authority: hop.authority, text: forwardingText(head, hop) }
    return this.#forwarding.text
  }
}

const ignore = () => {}
const nothing = Buffer.alloc(0)
const noRequest = new RequestHead('', 0)
const bareLineFeed = /(?:^|[^\r])\n/
