/**
 * One HTTP/2 connection to a backend: how many streams it takes, whether it takes any, and whether it is still alive.
 *
 *   connecting ──► open ◄───────────────────┐
 *        │          │ a stream ran out of time │ the ping comes back
 *        │          ▼                       │
 *        │        doubted (takes nothing) ──┘
 *        │          │ no answer             GOAWAY, forgotten, or idle for long: leaving (takes nothing) ── last stream over ──┐
 *        ▼          ▼                                                                                                          ▼
 *        └────────► closed ◄──────────────────────────────────────────────────────────────────────────────────────────────────┘
 */
import { type ClientHttp2Session, connect } from 'node:http2'
import type { Socket } from 'node:net'
import type { ErrorCode } from '../../../errors.ts'
import type { Deadlines, Timed } from '../../deadlines.ts'
import { pooledIdleMs, responseHeadBytesMax } from '../../limits.ts'
import { isTlsFailure } from '../../tls/upstream.ts'

/** Streams on one connection, whatever the backend would allow. */
export const streamsPerSessionMax = 250
/** What a backend may send of one answer, and of all, before we read on. */
const streamWindowBytes = 256 * 1024
const sessionWindowBytes = 4 * 1024 * 1024
/** A backend that does not answer a ping for this long is not there. */
export const pingTimeoutMs = 5_000

const options = {
  settings: {
    enablePush: false,
    initialWindowSize: streamWindowBytes,
    maxHeaderListSize: responseHeadBytesMax,
  },
  // Megabytes. The default would refuse streams while bodies wait for a backend that reads slowly.
  maxSessionMemory: 64,
  strictSingleValueFields: false,
}

/** Whoever chooses among sessions. */
export interface SessionOwner {
  /** It takes more now than it did. */
  roomier(): void
  gone(session: BackendSession): void
}

export class BackendSession implements Timed {
  timedAt = -1
  deadlineMs = Number.POSITIVE_INFINITY
  readonly http2: ClientHttp2Session
  /** It has carried a stream before. */
  used = false
  /** Why it could not be made. */
  failure: ErrorCode = 'upstream_connect_failed'
  /** The last stream that the backend says it has looked at, once it has said so. */
  lastStreamId = Number.POSITIVE_INFINITY
  readonly #owner: SessionOwner
  readonly #deadlines: Deadlines
  #state: 'connecting' | 'open' | 'doubted' | 'leaving' | 'closed' = 'connecting'
  #settled = false
  #streams = 0
  #limit = streamsPerSessionMax
  #whenSettled: (() => void)[] = []

  constructor(socket: Socket, owner: SessionOwner, deadlines: Deadlines, secure: boolean) {
    this.#owner = owner
    this.#deadlines = deadlines
    deadlines.add(this)
    socket.setKeepAlive(true, 30_000)
    socket.on('error', error => this.#failed(error))
    // The authority is each request's own.
    const http2 = connect(secure ? 'https://backend' : 'http://backend', {
      ...options,
      createConnection: () => socket,
    })
    this.http2 = http2
    http2.on('error', error => this.#failed(error))
    http2.on('connect', () => this.#connected(secure))
    http2.on('remoteSettings', ({ maxConcurrentStreams }) => this.#settings(maxConcurrentStreams))
    http2.on('goaway', (code, lastStreamId) => this.#goaway(code, lastStreamId))
    http2.on('close', () => this.#closed())
  }

  get connected(): boolean {
    return this.#state !== 'connecting' && this.#state !== 'closed'
  }

  /** How many more streams it takes now. */
  get room(): number {
    return this.#state === 'open' || this.#state === 'connecting' ? this.#limit - this.#streams : 0
  }

  /** WebSockets by extended CONNECT (RFC 8441); known once the backend's settings have come. */
  get takesWebSockets(): boolean {
    return this.http2.remoteSettings.enableConnectProtocol === true
  }

  /** Calls back when the backend's settings are known, or never. */
  whenSettled(then: () => void): void {
    if (this.#settled) then()
    else this.#whenSettled.push(then)
  }

  enter(): void {
    this.#streams++
    this.deadlineMs = Number.POSITIVE_INFINITY
  }

  leave(): void {
    this.#streams--
    this.used = true
    if (this.#streams === 0 && this.#state === 'open') this.deadlineMs = this.#deadlines.in(pooledIdleMs)
    if (this.room > 0) this.#owner.roomier()
  }

  /** A stream on it ran out of time: it takes no others until the backend has answered a ping. */
  doubt(): void {
    if (this.#state !== 'open' || this.http2.closed) return
    this.#state = 'doubted'
    this.deadlineMs = this.#deadlines.in(pingTimeoutMs)
    this.http2.ping(error => {
      if (error !== null || this.#state !== 'doubted') return
      this.#state = 'open'
      this.deadlineMs = this.#streams === 0 ? this.#deadlines.in(pooledIdleMs) : Number.POSITIVE_INFINITY
      this.#owner.roomier()
    })
  }

  /** Takes nothing more; ends with its last stream. */
  retire(): void {
    if (this.#state === 'closed') return
    this.#state = 'leaving'
    this.deadlineMs = Number.POSITIVE_INFINITY
    this.http2.close()
  }

  destroy(): void {
    this.http2.destroy()
  }

  onDeadline(): void {
    if (this.#state === 'doubted') this.destroy()
    else this.retire()
  }

  #connected(secure: boolean): void {
    if (this.#state !== 'connecting') return
    if (secure && this.http2.alpnProtocol !== 'h2') {
      this.failure = 'upstream_tls_failed'
      return this.destroy()
    }
    this.#state = 'open'
    this.http2.setLocalWindowSize(sessionWindowBytes)
    if (this.#streams === 0) this.deadlineMs = this.#deadlines.in(pooledIdleMs)
  }

  #settings(maxConcurrentStreams: number | undefined): void {
    const before = this.room
    this.#limit = Math.min(maxConcurrentStreams ?? streamsPerSessionMax, streamsPerSessionMax)
    this.#settled = true
    for (const then of this.#whenSettled.splice(0)) then()
    if (this.room > Math.max(0, before)) this.#owner.roomier()
  }

  /** Node closes or destroys the session after it; what the backend has not looked at is free to go elsewhere. */
  #goaway(_code: number, lastStreamId: number): void {
    this.lastStreamId = Math.min(this.lastStreamId, lastStreamId)
    if (this.#state === 'closed') return
    this.#state = 'leaving'
    this.deadlineMs = Number.POSITIVE_INFINITY
  }

  #failed(error: Error): void {
    if (this.#state === 'connecting' && isTlsFailure(error)) this.failure = 'upstream_tls_failed'
  }

  #closed(): void {
    this.#state = 'closed'
    this.#deadlines.remove(this)
    this.#owner.gone(this)
  }
}
