/**
 * The life of one exchange, from the request's head to the last byte of its answer, or to the tunnel it becomes. Every way
 * through it leaves the member it entered exactly once.
 *
 *   begin ─► match ─► pick ─► send ─► answer ─► over
 *     │        │      ▲ │      │        └ backend breaks: the client's connection breaks too, never a silent end
 *     ▼        ▼      │ ▼      ▼
 *    400      404     │503   failed ── retry allowed ──► pick
 *                     └────────┴────── not allowed ──► 502, 504 …
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { isIP } from 'node:net'
import type { Writable } from 'node:stream'
import type { Clock } from '../clock.ts'
import type { Member, MemberOutcome } from '../cluster/member.ts'
import type { SessionSighting } from '../cluster/ports.ts'
import type { ErrorCode } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Forward, ForwardCall, ForwardEvents, ForwardRequest } from './forward/forward.ts'
import { clientIp, inboundHeaders, outboundHeaders, trailerFields } from './headers.ts'
import { type Picked, pick } from './pick.ts'
import { reply } from './reply.ts'
import { type Failure, retryVerdict } from './retry.ts'
import type { RouteCluster, RouteTable } from './route-table.ts'
import { type Screened, screen } from './screen.ts'
import { plainAddress, type TrustedProxies } from './trusted-proxies.ts'
import { Tunnel, type Tunnels, type WaitingClient } from './tunnel.ts'

/** What the exchanges of one event loop share. */
export interface DataPlaneContext {
  /** The newest; an exchange asks once. */
  table(): RouteTable
  readonly forward: Forward
  readonly exchanges: Exchanges
  readonly tunnels: Tunnels
  readonly trustedProxies: TrustedProxies
  readonly debugHeaders: boolean
  noteSession(sighting: SessionSighting): void
  readonly clock: Clock
  readonly log: Log
  /** True: answers end their connections. */
  stopping(): boolean
}

/** All exchanges of one event loop. */
export class Exchanges {
  readonly #open = new Set<Exchange>()

  get size(): number {
    return this.#open.size
  }

  /** Breaks what is under way on a member, on both sides. */
  cutMember(slot: number, epoch: number): void {
    for (const exchange of [...this.#open]) {
      const member = exchange.member
      if (member?.slot === slot && member.epoch === epoch) exchange.cut()
    }
  }

  add(exchange: Exchange): void {
    this.#open.add(exchange)
  }

  remove(exchange: Exchange): void {
    this.#open.delete(exchange)
  }
}

export interface ExchangeOptions {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** The client waits for `100 Continue` before it sends its body. */
  readonly expectsContinue: boolean
  /** Given for a WebSocket upgrade; `response` then writes to its socket. */
  readonly waiting: WaitingClient | null
  readonly secure: boolean
  readonly onOver: () => void
}

export class Exchange implements ForwardEvents {
  readonly #context: DataPlaneContext
  readonly #options: ExchangeOptions
  readonly #request: IncomingMessage
  readonly #response: ServerResponse
  #tried: Set<Member> | null = null
  #trusted = false
  #line: Screened | null = null
  #cluster: RouteCluster | null = null
  #peer = ''
  #picked: Picked | null = null
  #call: ForwardCall | null = null
  #tunnel: Tunnel | null = null
  #attempts = 0
  #lastFailure: ErrorCode | null = null
  #over = false

  constructor(context: DataPlaneContext, options: ExchangeOptions) {
    this.#context = context
    this.#options = options
    this.#request = options.request
    this.#response = options.response
    context.exchanges.add(this)
    // The one event that comes whatever happens: after the answer was sent, or when the client is gone.
    options.response.once('close', () => this.#end('aborted'))
    options.response.on('error', ignore)
  }

  /** The member it is on now. */
  get member(): Member | null {
    return this.#picked?.member ?? null
  }

  /** Never throws: a fault of our own becomes a 500 and a line in the log. */
  begin(): void {
    try {
      this.#begin()
    } catch (error) {
      this.#context.log.error({ err: error }, 'an exchange failed by a fault of the proxy')
      this.#leave('aborted')
      this.#refuse('internal', null)
    }
  }

  /** The member is about to vanish. */
  cut(): void {
    this.#call?.abort()
    this.#leave('aborted')
    if (this.#response.headersSent) this.#break()
    else this.#refuse('upstream_reset', null)
  }

  #begin(): void {
    const line = screen(this.#request)
    if (line.fault !== null) {
      this.#response.shouldKeepAlive = false
      return this.#refuse('bad_request', line.fault)
    }
    const table = this.#context.table()
    const cluster = table.match(line.hostname, line.path)
    if (cluster === null) return this.#refuse('no_route', null)
    this.#line = line
    this.#cluster = cluster
    this.#peer = plainAddress(this.#request.socket.remoteAddress ?? '')
    this.#trusted = this.#context.trustedProxies.has(this.#peer)
    this.#attempt(false)
  }

  #attempt(fresh: boolean): void {
    const line = this.#line!
    const cluster = this.#cluster!
    const { headers } = this.#request
    const picked = pick(
      cluster,
      {
        clientIp: this.#trusted ? this.#clientIp() : this.#peer,
        path: line.target,
        headers,
        secure: this.#options.secure,
        nowMs: this.#context.clock.now(),
      },
      this.#tried ?? nobodyTried,
    )
    if (picked.member === null)
      return this.#refuse(this.#lastFailure ?? picked.code, this.#lastFailure ? null : picked.reason)
    this.#picked = picked
    this.#attempts++
    const request = this.#outbound(picked.member, fresh)
    if (this.#options.waiting === null) {
      this.#call = this.#context.forward.send(request, this)
    } else {
      this.#tunnel = new Tunnel({
        member: picked.member,
        client: this.#options.waiting.socket,
        idleMs: cluster.timeouts.tunnelIdleMs,
        tunnels: this.#context.tunnels,
      })
      this.#call = this.#context.forward.upgrade(request, this.#tunnel, this)
    }
  }

  #clientIp(): string {
    const { trustedProxies } = this.#context
    return clientIp(this.#peer, this.#request.headers, address => trustedProxies.has(address), isAddress)
  }

  #outbound(member: Member, fresh: boolean): ForwardRequest {
    const line = this.#line!
    const request = this.#request
    const upgrade = this.#options.waiting !== null
    const hop = {
      peer: this.#peer,
      trusted: this.#trusted,
      secure: this.#options.secure,
      port: request.socket.localPort ?? 0,
      httpVersionMinor: request.httpVersionMinor,
      authority: line.authority,
    }
    return {
      member,
      method: request.method!,
      target: line.target,
      headers: outboundHeaders(request.headers, hop, upgrade ? 'upgrade' : line.body),
      body: line.body === 'none' || upgrade ? null : request,
      timeouts: this.#cluster!.timeouts,
      fresh,
    }
  }

  // What the engine reports (ForwardEvents).

  bodyWanted(): void {
    if (this.#options.expectsContinue && !this.#response.headersSent) this.#response.writeContinue()
  }

  information(status: number, rawHeaders: readonly string[]): void {
    if (this.#response.headersSent || this.#request.httpVersionMinor === 0 || this.#options.waiting) return
    try {
      this.#response.writeInformation(status, inboundHeaders(rawHeaders, noExtras))
    } catch {
      // An interim answer may always be left out.
    }
  }

  response(status: number, message: string, rawHeaders: readonly string[]): Writable {
    const response = this.#response
    // What is left of the request will not be read: the connection cannot carry another one.
    if (!this.#request.complete || this.#context.stopping()) response.shouldKeepAlive = false
    response.writeHead(status, message, this.#inbound(rawHeaders))
    return response
  }

  done(rawTrailers: readonly string[]): void {
    const response = this.#response
    if (rawTrailers.length > 0 && response.chunkedEncoding) response.addTrailers(trailerFields(rawTrailers))
    // The member's part is over; how fast the client reads the rest is not its concern.
    this.#leave('ok')
    response.end()
  }

  switched(rawHeaders: readonly string[]): void {
    const { socket } = this.#options.waiting!
    const fields = this.#inbound(rawHeaders)
    let head = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n'
    for (let i = 0; i < fields.length; i += 2) head += `${fields[i]}: ${fields[i + 1]}\r\n`
    this.#response.detachSocket(socket)
    // From here on the tunnel is what is counted on the member.
    this.#picked = null
    this.#tunnel!.open(`${head}\r\n`, this.#options.waiting!.release())
    this.#end('ok')
  }

  failed(failure: Failure): void {
    const outcome =
      failure.code === 'client_closed' || failure.code === 'request_timeout' ? 'aborted' : 'failed'
    if (this.#response.headersSent) {
      this.#leave(outcome)
      return this.#break()
    }
    const verdict = retryVerdict(failure, this.#request.method!, this.#line!.body !== 'none', this.#attempts)
    const member = this.#picked!.member
    // A pooled connection that had been closed while idle says nothing of the member.
    this.#leave(verdict === 'fresh_connection' ? 'aborted' : outcome)
    this.#context.log.debug({ backend: member.id, code: failure.code, verdict }, 'an attempt failed')
    if (verdict === 'no') return this.#refuse(failure.code, null)
    this.#lastFailure = failure.code
    if (verdict === 'other_member') this.#tried = (this.#tried ?? new Set()).add(member)
    try {
      this.#attempt(verdict === 'fresh_connection')
    } catch (error) {
      this.#context.log.error({ err: error }, 'an exchange failed by a fault of the proxy')
      this.#leave('aborted')
      this.#refuse('internal', null)
    }
  }

  #inbound(rawHeaders: readonly string[]): string[] {
    const { member, setCookie, sighting } = this.#picked!
    if (sighting !== null) this.#context.noteSession(sighting)
    return inboundHeaders(rawHeaders, { setCookie, backend: this.#context.debugHeaders ? member.id : null })
  }

  /** Our own answer, unless one has begun or nobody is left to read it. */
  #refuse(code: ErrorCode, reason: string | null): void {
    const response = this.#response
    if (response.headersSent || response.destroyed) return this.#break()
    if (this.#context.stopping()) response.shouldKeepAlive = false
    reply(this.#request, response, code, { reason, clock: this.#context.clock, headers: noHeaders })
  }

  /** The answer cannot be completed: the client must see that it is not whole. */
  #break(): void {
    const socket = this.#response.socket
    // Without a length or chunks the end of the connection is the end of the body; only a reset says otherwise.
    if (socket && this.#request.httpVersionMinor === 0) socket.resetAndDestroy()
    else this.#response.destroy()
  }

  #leave(outcome: MemberOutcome): void {
    const member = this.#picked?.member
    this.#picked = null
    member?.leave(outcome)
  }

  #end(outcome: MemberOutcome): void {
    if (this.#over) return
    this.#over = true
    this.#leave(outcome)
    this.#call?.abort()
    this.#context.exchanges.remove(this)
    this.#options.onOver()
  }
}

const isAddress = (text: string) => isIP(text) !== 0
const nobodyTried: ReadonlySet<Member> = new Set()
const ignore = () => {}
const noExtras = { setCookie: null, backend: null }
const noHeaders: readonly (readonly [string, string])[] = []
