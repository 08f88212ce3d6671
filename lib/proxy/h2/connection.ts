/**
 * One HTTP/2 client connection: each of its streams becomes an exchange. It watches what a client may do to a connection that costs
 * us more than it (streams reset, pings, settings), and ends it when it does so too often.
 *
 *   open ──► serving ──── leave(): GOAWAY ────► leaving ── last stream over ──► closed
 *              │  ▲                                ▲
 *              │  └── a stream begins or ends      │
 *              └── no stream for a while ──────────┘        too much of something: GOAWAY (ENHANCE_YOUR_CALM), closed at once
 */
import {
  constants,
  type IncomingHttpHeaders,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2'
import type { Deadlines, Timed } from '../deadlines.ts'
import type { Arrival } from '../entrance.ts'
import { Exchange } from '../exchange.ts'
import type { DataPlaneContext } from '../exchanges.ts'
import { clientKeepAliveMs, requestHeadBytesMax } from '../limits.ts'
import { Bucket } from './bucket.ts'
import { H2Client } from './client.ts'
import { dropRest, isOurReset, writeRefusal } from './refuse.ts'
import { readH2Request } from './request.ts'

export const concurrentStreamsMax = 100
/** What a client may send of one stream before we read on. */
const streamWindowBytes = 128 * 1024
const connectionWindowBytes = 1024 * 1024
/** Streams that a client breaks off, or that break by what it sends: at once, and a second in the long run. */
export const resetsBurst = 200
export const resetsPerSecond = 20
/** Some clients ping for every round trip in which data flows, to measure it; none has a reason for more. */
export const pingsBurst = 1_000
export const pingsPerSecond = 500
export const settingsBurst = 50
export const settingsPerSecond = 2

const sessionOptions = {
  settings: {
    maxConcurrentStreams: concurrentStreamsMax,
    initialWindowSize: streamWindowBytes,
    // More than we take, so that a head that is too large gets its 431.
    maxHeaderListSize: 2 * requestHeadBytesMax,
    enableConnectProtocol: true,
    enablePush: false,
  },
  maxSessionInvalidFrames: 100,
  maxSessionRejectedStreams: 100,
  // A bound below ours in C++, where the frames are counted before they cost anything here.
  streamResetBurst: 2 * resetsBurst,
  streamResetRate: 2 * resetsPerSecond,
  strictSingleValueFields: false,
}

/** What the connections of one listener share. */
export interface H2ListenerState {
  readonly context: DataPlaneContext
  readonly deadlines: Deadlines
  readonly connections: Set<H2Connection>
}

export class H2Connection implements Timed {
  timedAt = -1
  deadlineMs: number
  readonly #state: H2ListenerState
  readonly #arrival: Arrival
  readonly #session: ServerHttp2Session
  readonly #resets: Bucket
  readonly #pings: Bucket
  readonly #settings: Bucket
  #streams = 0

  /** Takes the socket over. */
  constructor(arrival: Arrival, state: H2ListenerState) {
    this.#state = state
    this.#arrival = arrival
    const nowMs = state.context.clock.monotonic()
    this.#resets = new Bucket(resetsBurst, resetsPerSecond, nowMs)
    this.#pings = new Bucket(pingsBurst, pingsPerSecond, nowMs)
    this.#settings = new Bucket(settingsBurst, settingsPerSecond, nowMs)
    const session = performServerHandshake(arrival.socket, sessionOptions)
    this.#session = session
    session.on('error', ignore)
    session.on('stream', this.#onStream)
    session.on('ping', () => this.#count(this.#pings, 'pings'))
    session.on('remoteSettings', () => this.#count(this.#settings, 'settings'))
    session.on('close', this.#onClose)
    session.setLocalWindowSize(connectionWindowBytes)
    state.connections.add(this)
    state.deadlines.add(this)
    this.deadlineMs = state.deadlines.in(clientKeepAliveMs)
  }

  /** Exchanges under way. */
  get streams(): number {
    return this.#streams
  }

  /** Tells the client to begin nothing more here. What is under way goes on, and the connection ends after it. */
  leave(): void {
    this.#session.close()
  }

  destroy(): void {
    this.#session.destroy()
  }

  /** Nothing has been asked for a long time. */
  onDeadline(): void {
    this.deadlineMs = Number.POSITIVE_INFINITY
    this.leave()
  }

  readonly #onStream = (
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    flags: number,
    rawHeaders?: readonly string[],
  ) => {
    this.#streams++
    this.deadlineMs = Number.POSITIVE_INFINITY
    stream.on('error', ignore)
    stream.once('close', () => this.#streamOver(stream))
    // Begun and broken off at once.
    if (stream.destroyed || stream.closed) return
    const ended = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0
    const request = readH2Request({ headers, rawHeaders: rawHeaders ?? [], ended })
    if (request.fault !== null) {
      // What is no request gets its answer without an exchange.
      const toHead = headers[':method'] === 'HEAD'
      writeRefusal(stream, request.code, { reason: request.fault, accept: undefined, toHead, fields: [] })
      if (!ended) stream.once('finish', () => dropRest(stream))
      return void stream.end()
    }
    const { context, deadlines } = this.#state
    const { tunnels, clock } = context
    const client = new H2Client(stream, request, this.#arrival, { tunnels, deadlines, clock })
    const exchange = new Exchange(context, client)
    let over = false
    const close = () => {
      if (over) return
      over = true
      exchange.closed(stream.writableFinished && !stream.aborted)
    }
    // Before the end of what was read: what a client breaks off without an error must not look whole to the backend.
    stream.once('aborted', close)
    stream.once('close', close)
    exchange.begin()
  }

  #streamOver(stream: ServerHttp2Stream): void {
    this.#streams--
    if (this.#streams === 0) this.deadlineMs = this.#state.deadlines.in(clientKeepAliveMs)
    if (stream.aborted && !isOurReset(stream)) this.#count(this.#resets, 'streams broken off')
  }

  #count(bucket: Bucket, what: string): void {
    const { clock, log } = this.#state.context
    if (bucket.take(clock.monotonic()) || this.#session.destroyed) return
    log.info({ peer: this.#arrival.peer, what }, 'an HTTP/2 client was sent away')
    this.#session.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM)
    this.#session.destroy(new Error(`too many ${what}`), constants.NGHTTP2_ENHANCE_YOUR_CALM)
  }

  readonly #onClose = () => {
    this.#state.deadlines.remove(this)
    this.#state.connections.delete(this)
  }
}

const ignore = () => {}
