/**
 * From an accepted socket to a connection that speaks HTTP: reads the PROXY header where one is required, ends TLS, and finds out which
 * HTTP it is to be. What does not get that far is closed without an answer: it has not said that it speaks HTTP.
 *
 *   accept ─► PROXY header (if required) ─► TLS (if configured) ─► arrived: HTTP/1.1, or HTTP/2 by ALPN
 *       │                             └───► first bytes (`h2c`) ─► arrived: HTTP/1.1, or HTTP/2 by its preface
 *       ├─► an untrusted peer, a wrong header, a failed handshake, too slow ─► closed
 *       └─► more connections than may be (`overload.max_connections`) ─► closed; where no TLS is spoken, after a 503
 */
import { strict as assert } from 'node:assert'
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Clock } from '../clock.ts'
import type { Alpn, ListenerConfig } from '../config/config.ts'
import type { Log } from '../log.ts'
import { Deadlines, type Timed } from './deadlines.ts'
import { proxyHeaderTimeoutMs, requestHeadTimeoutMs, turnedAwayMax } from './limits.ts'
import type { Observer } from './observe/observer.ts'
import { type ProxyAddress, readProxyHeader } from './proxy-protocol.ts'
import { replyRaw } from './reply.ts'
import type { Overload } from './resilience/overload.ts'
import { clientCertificateValue } from './tls/client-certificate.ts'
import type { TlsHolder } from './tls/holder.ts'
import { createTlsTerminator, handshakesMax, type TlsTerminator } from './tls/terminator.ts'
import { plainAddress, type TrustedProxies } from './trusted-proxies.ts'

/** A connection as the HTTP of it sees it. */
export interface Arrival {
  /** Not read yet: the next byte from it is the first of HTTP. */
  readonly socket: Socket
  readonly protocol: Alpn
  readonly secure: boolean
  /** The client's address, plain: the peer's, or what a trusted peer's PROXY header said. */
  readonly peer: string
  /** The port that the client connected to. */
  readonly localPort: number
  /**
   * For the backend, from the client's verified certificate. Null: there is none, and what the client says of one is to be
   * taken away. `undefined`: this listener asks for none, so the word of a trusted proxy may stand.
   */
  readonly clientCertificate: string | null | undefined
}

export interface EntranceDeps {
  /** Asked anew for each connection: a reload changes whom we trust. */
  readonly context: {
    readonly trustedProxies: TrustedProxies
    readonly overload: Pick<Overload, 'connected' | 'disconnected'>
    readonly observer: Pick<Observer, 'counters'>
    readonly clock: Clock
    readonly log: Log
  }
  /** Needed for a listener with TLS. */
  readonly tls: TlsHolder | null
  readonly arrived: (arrival: Arrival) => void
}

export class Entrance {
  readonly #config: ListenerConfig
  readonly #deps: EntranceDeps
  readonly #deadlines: Deadlines
  readonly #terminator: TlsTerminator | null
  readonly #peeking = new Set<Peek>()
  /** Connections above the limit that are being told so. */
  readonly #turnedAway = new Set<Socket>()

  /** Throws what OpenSSL says of material that it cannot use. */
  constructor(config: ListenerConfig, deps: EntranceDeps) {
    this.#config = config
    this.#deps = deps
    this.#deadlines = new Deadlines(deps.context.clock)
    const { tls } = config
    // Never plain text where TLS was meant.
    assert(!tls || deps.tls, 'a listener with TLS needs its certificates')
    const { log, clock, observer } = deps.context
    const failed = () => observer.counters.fact('tlsFailed', 1)
    this.#terminator = tls ? createTlsTerminator(tls, deps.tls!.listener(tls), { log, clock, failed }) : null
  }

  /** Connections that have not arrived yet. */
  get pending(): number {
    return this.#peeking.size + (this.#terminator?.pending ?? 0)
  }

  /** Never throws. `arrived` is called for it, or it is closed, and answered only where it is one too many. */
  accept(socket: Socket): void {
    const peer = plainAddress(socket.remoteAddress ?? '')
    const { overload, observer } = this.#deps.context
    if (!overload.connected()) {
      observer.counters.fact('connectionsRefused', 1)
      return this.#turnAway(socket, peer)
    }
    observer.counters.fact('connectionsAccepted', 1)
    socket.once('close', () => {
      overload.disconnected()
      observer.counters.fact('connectionsClosed', 1)
    })
    const localPort = socket.localPort ?? 0
    if (this.#config.proxyProtocol !== 'require') return this.#secure(socket, peer, localPort)
    if (!this.#deps.context.trustedProxies.has(peer)) return this.#refuse(socket, peer, 'not a trusted proxy')
    this.#peek(socket, peer, proxyHeaderTimeoutMs, bytes => {
      const header = readProxyHeader(bytes)
      if ('need' in header) return null
      if ('fault' in header) return { refuse: header.fault }
      const from = header.source ? address(header.source) : peer
      return {
        drop: header.length,
        proceed: () => this.#secure(socket, from, header.destination?.port ?? localPort),
      }
    })
  }

  /** For later connections. */
  renewTls(): void {
    try {
      this.#terminator?.renew(this.#deps.tls!.listener(this.#config.tls!))
    } catch (error) {
      this.#deps.context.log.error({ err: error }, 'certificates were not taken; the former stay in use')
    }
  }

  /** Closes what has not arrived. */
  close(): void {
    for (const { socket } of [...this.#peeking]) socket.destroy()
    for (const socket of this.#turnedAway) socket.destroy()
    this.#terminator?.close()
  }

  #secure(socket: Socket, peer: string, localPort: number): void {
    if (this.#terminator === null) return this.#sniff(socket, peer, localPort)
    this.#terminator.accept(socket, secured => {
      const fact = secured.isSessionReused() ? 'tlsResumed' : 'tlsFull'
      this.#deps.context.observer.counters.fact(fact, 1)
      const protocol = this.#agreed(secured)
      if (protocol === null) return this.#refuse(secured, peer, 'no common protocol')
      const clientCertificate = this.#certificateOf(secured)
      this.#deps.arrived({ socket: secured, protocol, secure: true, peer, localPort, clientCertificate })
    })
  }

  /** A client that offers nothing (no ALPN) speaks HTTP/1.1, if that is spoken here. */
  #agreed({ alpnProtocol }: TLSSocket): Alpn | null {
    const { alpn } = this.#config.tls!
    const protocol = alpnProtocol || 'http/1.1'
    return alpn.find(known => known === protocol) ?? null
  }

  #certificateOf(socket: TLSSocket): string | null | undefined {
    if (this.#config.tls!.clientAuth === 'none') return undefined
    const certificate = socket.authorized ? socket.getPeerX509Certificate() : undefined
    return certificate === undefined ? null : clientCertificateValue(certificate)
  }

  #sniff(socket: Socket, peer: string, localPort: number): void {
    const arrive = (protocol: Alpn) =>
      this.#deps.arrived({ socket, protocol, secure: false, peer, localPort, clientCertificate: undefined })
    if (this.#config.protocol !== 'h2c') return arrive('http/1.1')
    this.#peek(socket, peer, requestHeadTimeoutMs, bytes => {
      const seen = Math.min(bytes.length, preface.length)
      if (bytes.compare(preface, 0, seen, 0, seen) !== 0)
        return { drop: 0, proceed: () => arrive('http/1.1') }
      return seen < preface.length ? null : { drop: 0, proceed: () => arrive('h2') }
    })
  }

  #peek(socket: Socket, peer: string, limitMs: number, decide: Decide): void {
    if (this.#peeking.size >= handshakesMax) return this.#refuse(socket, peer, 'too many connections at once')
    const over = (peek: Peek, refusal: string | null) => {
      this.#peeking.delete(peek)
      this.#deadlines.remove(peek)
      if (refusal !== null) this.#refuse(socket, peer, refusal)
    }
    const peek = new Peek(socket, decide, over)
    this.#peeking.add(peek)
    this.#deadlines.add(peek)
    peek.deadlineMs = this.#deadlines.in(limitMs)
    peek.begin()
  }

  /** It is told for a moment at most, and so many at once: they must not be what uses up the room. */
  #turnAway(socket: Socket, peer: string): void {
    if (this.#terminator !== null || this.#turnedAway.size >= turnedAwayMax)
      return this.#refuse(socket, peer, 'too many connections')
    this.#turnedAway.add(socket)
    socket.once('close', () => this.#turnedAway.delete(socket))
    socket.on('error', ignore)
    // What it asks is not read, but must have come: a reset for unread bytes would take the answer along.
    socket.resume()
    replyRaw(socket, 'overloaded', null, this.#deps.context.clock)
  }

  #refuse(socket: Socket, peer: string, why: string): void {
    this.#deps.context.log.debug({ peer, why }, 'a connection was refused')
    socket.destroy()
  }
}

/** The beginning of the first bytes of every HTTP/2 connection (RFC 9113 §3.4), up to where no HTTP/1.1 request can go. */
const preface = Buffer.from('PRI * HTTP/2.0\r\n')

const address = ({ address }: ProxyAddress) => plainAddress(address)

/** Null: more bytes are needed. `drop`: so many of them were for us, the rest stays on the socket. */
type Decide = (
  bytes: Buffer,
) => null | { readonly refuse: string } | { readonly drop: number; readonly proceed: () => void }

/** Looks at the first bytes of a connection without taking more of them than are meant for it. */
class Peek implements Timed {
  timedAt = -1
  readonly socket: Socket
  deadlineMs = Number.POSITIVE_INFINITY
  readonly #decide: Decide
  readonly #over: (peek: Peek, refusal: string | null) => void
  #bytes: Buffer = Buffer.alloc(0)

  constructor(socket: Socket, decide: Decide, over: (peek: Peek, refusal: string | null) => void) {
    this.socket = socket
    this.#decide = decide
    this.#over = over
  }

  begin(): void {
    this.socket.on('error', ignore)
    // Not `data`: a socket that was made to flow would have to be told twice to stop, and may not be read by others then.
    this.socket.on('readable', this.#onReadable)
    this.socket.on('end', this.#onEnd)
    this.socket.on('close', this.#onEnd)
  }

  onDeadline(): void {
    this.#end('too slow')
  }

  readonly #onEnd = () => this.#end('closed')

  readonly #onReadable = () => {
    const chunk: Buffer | null = this.socket.read()
    if (chunk === null) return
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk])
    const verdict = this.#decide(this.#bytes)
    if (verdict === null) return
    if ('refuse' in verdict) return this.#end(verdict.refuse)
    this.#end(null)
    const rest = this.#bytes.subarray(verdict.drop)
    if (rest.length > 0) this.socket.unshift(rest)
    verdict.proceed()
  }

  #end(refusal: string | null): void {
    this.socket.off('readable', this.#onReadable)
    this.socket.off('end', this.#onEnd)
    this.socket.off('close', this.#onEnd)
    this.#over(this, refusal)
  }
}

const ignore = () => {}
