/**
 * What of the configuration is the data plane's own, and how it changes while the threads serve.
 *
 *   settled ── prepare: what is new listens in every thread ──► ready ── commit: what is not wanted any more is retired ──► settled
 *                │ one of them cannot                             │ undo
 *                └──────────── as it was ◄────────────────────────┘
 */
import type { ListenerConfig, OverloadConfig, ShutdownConfig } from '../config/config.ts'
import { type ErrorCode, errorTable, TidegateError } from '../errors.ts'
import { overlap } from '../units.ts'
import type { Configured, PlaneSettings, ToThread } from './messages.ts'
import { asPlaced, type Placed, place, settled } from './placed-listeners.ts'

export interface PlaneConfig {
  /** 0: everything on the thread that asks. Cannot become another number, and no other can become 0. */
  readonly threads: number
  readonly listeners: readonly ListenerConfig[]
  readonly trustedProxies: readonly string[]
  readonly debugHeaders: boolean
  /** Left out: nothing is shed that would not break us. */
  readonly overload?: OverloadConfig
  /** How threads leave that are not wanted any more. */
  readonly shutdown?: ShutdownConfig
}

/** A change that is ready: exactly one of the two is called. */
export interface Prepared {
  commit(): Promise<void>
  undo(): Promise<void>
}

/** The threads, as far as it speaks to them. */
export interface Threads<Loop> {
  all(): readonly Loop[]
  /** What those of the loops answer that live so long and answer in time. */
  ask<T>(loops: readonly Loop[], message: (ask: number) => ToThread, limitMs: number): Promise<readonly T[]>
}

const configureTimeoutMs = 10_000

/** For those who embed a data plane and say nothing of it. */
export const ordinaryOverload: OverloadConfig = {
  maxMemoryBytes: 4 * 1024 ** 3,
  maxEventLoopDelayMs: 1_000,
  maxConnections: 50_000,
}

export class Settings<Loop> {
  readonly #threads: Threads<Loop>
  #config: PlaneConfig
  #placed: readonly Placed[]

  constructor(config: PlaneConfig, threads: Threads<Loop>) {
    this.#config = config
    this.#placed = place([], config.listeners)
    this.#threads = threads
  }

  /** With their real ports, once a thread has told them. */
  listeners(): readonly ListenerConfig[] {
    return this.#placed.map(({ real }) => real)
  }

  opened(real: readonly ListenerConfig[]): void {
    this.#placed = settled(this.#placed, real)
  }

  /** What a thread that starts now is given. */
  now(): PlaneSettings {
    return settingsOf(this.#placed, this.#config)
  }

  /** Rejects with everything as it was. `requireFree` rejects when somebody else listens there. */
  async prepare(
    config: PlaneConfig,
    requireFree: (listener: ListenerConfig) => Promise<void>,
  ): Promise<Prepared> {
    const before = this.#placed
    const wanted = place(before, config.listeners)
    const fresh = wanted.filter(placed => !before.includes(placed))
    // Who takes another's place has its door; one that only overlaps it shares the port until that one is retired.
    const ours = (one: ListenerConfig) => before.some(({ real }) => overlap(one, real))
    for (const { configured } of fresh) if (!ours(configured)) await requireFree(configured)
    const undo = async () => void (await this.#send(before, this.#config))
    let opened: readonly Placed[] = fresh
    try {
      if (fresh.length > 0) opened = await this.#open(before, fresh)
    } catch (error) {
      await undo()
      throw error
    }
    const commit = async () => {
      this.#config = config
      this.#placed = wanted.map(placed => opened.find(({ id }) => id === placed.id) ?? placed)
      await this.#send(this.#placed, config)
    }
    return { commit, undo }
  }

  /** The first thread decides a port 0; the others join it there. */
  async #open(before: readonly Placed[], fresh: readonly Placed[]): Promise<readonly Placed[]> {
    const [first, ...others] = this.#threads.all()
    if (!first) throw new TidegateError('internal', 'no data-plane thread is there to listen')
    const real = await this.#send([...before, ...fresh], this.#config, [first])
    const opened = settled(fresh, real.slice(before.length))
    if (others.length > 0) await this.#send([...before, ...opened], this.#config, others)
    return opened
  }

  /** Throws the fault of the first loop that could not; gives the real addresses that a loop told. */
  async #send(
    placed: readonly Placed[],
    config: PlaneConfig,
    loops: readonly Loop[] = this.#threads.all(),
  ): Promise<readonly ListenerConfig[]> {
    const settings = settingsOf(placed, config)
    const message = (ask: number): ToThread => ({ type: 'configure', ask, settings })
    const outcomes = await this.#threads.ask<Configured>(loops, message, configureTimeoutMs)
    for (const outcome of outcomes)
      if (!outcome.ok) throw new TidegateError(asErrorCode(outcome.code), outcome.message)
    const [told] = outcomes
    return told?.ok ? told.listeners : placed.map(({ real }) => real)
  }
}

export const asErrorCode = (code: string): ErrorCode =>
  code in errorTable ? (code as ErrorCode) : 'internal'

const settingsOf = (
  placed: readonly Placed[],
  { threads, trustedProxies, debugHeaders, overload }: PlaneConfig,
): PlaneSettings => ({
  listeners: placed.map(asPlaced),
  threads: Math.max(1, threads),
  trustedProxies,
  debugHeaders,
  overload: overload ?? ordinaryOverload,
})
