/**
 * Load shedding of one event loop: new requests are refused before memory or time run out, so that those under way can end.
 *
 *          pressure ≥ 0.9 of a limit
 *   ok ───────────────────────────────► shed_new
 *    ▲                                     │  each look moves the share of refused requests by how far the pressure is from 0.85
 *    └──────── share back at 0 ────────────┘
 *
 * The pressure is the worst of three: memory of this loop against its part of the limit, V8's heap against V8's own, and how late the
 * loop's timers are. The share grows and shrinks step by step and finds the load that can be carried, where a switch would swing between
 * everything and nothing. It never reaches the whole: a little must pass for a loop to notice that it is well again.
 * What nobody uses any more counts as memory in use until V8 collects it, and V8 does so when it needs room: a loop that is spared by
 * refusing may not come to that for minutes. So while memory is what is short it is had collected, every few seconds.
 * The number of client connections is a limit by itself: those above it are refused, the others are not bothered.
 */
import type { Clock } from '../../clock.ts'
import type { OverloadConfig } from '../../config/config.ts'

/** What is measured on this thread, where the clock does not say. */
export interface Gauges {
  /** Heap in use and memory outside of it (buffers), bytes. */
  memoryBytes(): number
  /** The part of V8's own heap limit that is in use, 0 … 1. */
  heapShare(): number
  /** Has garbage collected: until then it counts as memory in use. */
  collect(): void
}

export type OverloadLevel = 'ok' | 'shed_new'
export type OverloadCause = 'memory' | 'heap' | 'event_loop'

export interface OverloadState {
  readonly level: OverloadLevel
  /** Of new requests, refused. */
  readonly share: number
  /** 1: at the limit. */
  readonly pressure: number
  /** Which of the three is the worst. */
  readonly cause: OverloadCause
}

const lookMs = 100
const enterAt = 0.9
const aimAt = 0.85
/** Of the distance from the aim, per look: at the limit all but 5 % are refused after 1.3 s, at twice the limit after 0.2 s. */
const gain = 0.5
const shareMax = 0.95
/** A collection of a large heap takes a good part of a second. */
const collectEveryMs = 5_000
/** A single late tick (a long collection) is not a late loop: each look counts this much. */
const delayWeight = 0.25

export interface OverloadDeps {
  readonly config: OverloadConfig
  /** Among how many loops the limits are divided. */
  readonly threads: number
  readonly gauges: Gauges
  readonly clock: Clock
  /** The level changed. */
  readonly changed: (state: OverloadState) => void
}

export class Overload {
  readonly #deps: OverloadDeps
  #memoryMax = 0
  #delayMax = 0
  #connectionsMax = 0
  /** Clients' connections to this loop, over all listeners. */
  #connections = 0
  readonly #cancel: () => void
  #lookedAt: number
  /** Smoothed lateness of the tick, milliseconds. */
  #delay = 0
  #share = 0
  #pressure = 0
  #cause: OverloadCause = 'memory'
  #collectedAt = Number.NEGATIVE_INFINITY
  /** What fractions of requests have added up to: spreads the refused evenly, without chance. */
  #owed = 0

  constructor(deps: OverloadDeps) {
    const { config, clock } = deps
    this.#deps = deps
    this.configure(config, deps.threads)
    this.#lookedAt = clock.monotonic()
    this.#cancel = clock.every(lookMs, () => this.#look())
  }

  get state(): OverloadState {
    const level = this.#share > 0 ? 'shed_new' : 'ok'
    return { level, share: this.#share, pressure: this.#pressure, cause: this.#cause }
  }

  /** After a reload; what is refused now changes step by step from the next look on. */
  configure(config: OverloadConfig, threads: number): void {
    const share = Math.max(1, threads)
    this.#memoryMax = config.maxMemoryBytes / share
    this.#delayMax = config.maxEventLoopDelayMs
    this.#connectionsMax = Math.ceil(config.maxConnections / share)
  }

  /** Clients' connections to this loop now. */
  get connections(): number {
    return this.#connections
  }

  /** True: refuse this new request with `overloaded`, before anything else is done for it. */
  shed(): boolean {
    if (this.#share === 0) return false
    this.#owed += this.#share
    if (this.#owed < 1) return false
    this.#owed -= 1
    return true
  }

  /** A client has connected. False: it is one too many, and not counted. Otherwise `disconnected` follows. */
  connected(): boolean {
    if (this.#connections >= this.#connectionsMax) return false
    this.#connections++
    return true
  }

  disconnected(): void {
    this.#connections--
  }

  close(): void {
    this.#cancel()
  }

  #look(): void {
    const nowMs = this.#deps.clock.monotonic()
    const late = Math.max(0, nowMs - this.#lookedAt - lookMs)
    this.#lookedAt = nowMs
    this.#delay += (late - this.#delay) * delayWeight
    this.#measure()
    const before = this.#share
    if (before > 0 || this.#pressure >= enterAt) {
      const moved = before + (this.#pressure - aimAt) * gain
      this.#share = Math.min(shareMax, Math.max(0, moved))
    }
    if (this.#share > 0 && this.#cause !== 'event_loop') this.#collect(nowMs)
    if (before > 0 === this.#share > 0) return
    this.#owed = 0
    this.#deps.changed(this.state)
  }

  #collect(nowMs: number): void {
    if (this.#pressure <= aimAt || nowMs - this.#collectedAt < collectEveryMs) return
    this.#collectedAt = nowMs
    this.#deps.gauges.collect()
  }

  #measure(): void {
    const { gauges } = this.#deps
    const memory = gauges.memoryBytes() / this.#memoryMax
    const heap = gauges.heapShare()
    const delay = this.#delay / this.#delayMax
    this.#pressure = Math.max(memory, heap, delay)
    this.#cause = delay === this.#pressure ? 'event_loop' : heap === this.#pressure ? 'heap' : 'memory'
  }
}
