/**
 * The control side of the data plane: starts the threads, publishes generations to them, replaces the ones that die.
 *
 *              listening                    error · exit · no acknowledgement in time
 *   starting ─────────────► serving ───────────────────────────────────────────────► dead
 *      ▲                       │ stop                                                  │ backoff
 *      │                       ▼                                                       │
 *      └───────────────────────┼───────────────────────────────────────────────────────┘
 *                           stopped
 *
 * A publish resolves when every serving thread has acknowledged. A thread that dies in between no longer counts: its
 * replacement starts with the newest table, so it never serves an older one.
 *
 * A reload may want more threads, which serve before it goes on, or fewer: the last ones leave. Who leaves listens no more and is not
 * replaced; it still takes tables and messages until what it has is over.
 */
import type { Clock } from '../clock.ts'
import { type Board, threadsMax } from '../cluster/board.ts'
import { differenceOf, type TableDifference } from '../cluster/difference.ts'
import type { Closing, DataPlanePort, SessionSighting } from '../cluster/ports.ts'
import type { TableData } from '../cluster/table.ts'
import type { ListenerConfig, ShutdownConfig } from '../config/config.ts'
import { TidegateError } from '../errors.ts'
import type { Events } from '../events.ts'
import type { Log } from '../log.ts'
import { Conditions } from './conditions.ts'
import { requireFreePort } from './door.ts'
import { inlineLoop, type Loop, type LoopEars, type SpareThreads, stops, workerLoop } from './event-loop.ts'
import type { DataPlaneInit, FromThread, ToThread } from './messages.ts'
import type { Observation } from './observe/observation.ts'
import { PlaneMemory } from './plane-memory.ts'
import { asErrorCode, type PlaneConfig, type Prepared, Settings } from './plane-settings.ts'
import { noMaterial, type TlsMaterial } from './tls/material.ts'
import type { Wanted } from './waking.ts'

/** A thread that does not acknowledge for this long has a stuck event loop and is replaced. */
const acknowledgeTimeoutMs = 10_000
/** What cannot start says so at once: this is for silence, and a starved machine that starts anew is starved more. Below systemd's 90 s. */
const startTimeoutMs = 60_000
const restartDelayMinMs = 100
const restartDelayMaxMs = 5_000
/** A thread that served this long starts its backoff anew. */
const settledAfterMs = 10_000
/** On top of the grace period: the close handshake and the thread's own end. */
const stopMarginMs = 5_000
/** A thread that does not say for this long what was asked of it is not waited for. */
const tellTimeoutMs = 1_000

export interface PlaneDeps extends PlaneConfig {
  readonly board: Board
  readonly clock: Clock
  readonly events: Events
  readonly log: Log
  readonly onSessions: (seen: readonly SessionSighting[]) => void
  /** Requests wait for an instance; left out: no cluster scales to zero. */
  readonly onWanted?: (wanted: readonly Wanted[]) => void
  /** Threads that were made before; left out: none. */
  readonly spares?: SpareThreads
  /** Left out: nobody reads the counters. */
  readonly observation?: Observation
  /** The newest certificates; left out: no listener and no cluster has TLS. */
  readonly tls?: () => TlsMaterial
}

export class Plane implements DataPlanePort {
  readonly #deps: PlaneDeps
  readonly #loops = new Map<number, Loop>()
  /** The numbers of those that are to serve; who leaves is not among them. */
  readonly #wanted = new Set<number>()
  /** What ends those that leave when their time is over. */
  readonly #leaving = new Map<Loop, () => void>()
  readonly #conditions: Conditions
  readonly #restartDelays = new Map<number, number>()
  /** What was asked of the threads, and by whom it was answered. */
  readonly #answers = new Map<number, Map<Loop, unknown>>()
  #asked = 0
  readonly #settings: Settings<Loop>
  readonly #memory: PlaneMemory
  #table: TableData | null = null
  #stopping = false

  constructor(deps: PlaneDeps) {
    this.#deps = deps
    this.#conditions = new Conditions(deps.clock)
    this.#memory = new PlaneMemory(deps, message => this.#tell(message))
    this.#settings = new Settings<Loop>(deps, {
      all: () => [...this.#loops.values()].filter(loop => !loop.leaving),
      ask: (loops, message, limitMs) => this.#ask(message, limitMs, loops),
    })
  }

  /** Starts every thread with `table`; resolves to the listeners with their real ports. Rejects (`port_in_use` …) with nothing left running. */
  async start(table: TableData): Promise<readonly ListenerConfig[]> {
    this.#table = table
    try {
      for (const listener of this.listeners()) await requireFreePort(listener)
      // The first thread decides a port 0; the others join it there.
      this.#wanted.add(0)
      this.#settings.opened(await this.#open(0))
      await this.#join(this.#deps.threads - 1)
    } catch (error) {
      this.#stopping = true
      this.#memory.close()
      for (const loop of this.#loops.values()) loop.terminate()
      throw error
    }
    return this.listeners()
  }

  /** With their real ports. */
  listeners(): readonly ListenerConfig[] {
    return this.#settings.listeners()
  }

  /**
   * Makes a changed configuration ready: what is new listens in every thread, threads that are new serve; what was there goes on.
   * Rejects with nothing changed (`port_in_use` …). `commit` retires what is not wanted any more; what is open there goes on.
   */
  async prepare(config: PlaneConfig): Promise<Prepared> {
    const threads = Math.max(1, config.threads)
    const joined = await this.#join(threads - this.#wanted.size)
    try {
      const { commit, undo } = await this.#settings.prepare(config, requireFreePort)
      return {
        commit: () => {
          const last = [...this.#wanted].sort((a, b) => a - b).slice(threads)
          this.#dismiss(last, config.shutdown)
          return commit()
        },
        undo: () => {
          this.#dismiss(joined, config.shutdown)
          return undo()
        },
      }
    } catch (error) {
      this.#dismiss(joined, config.shutdown)
      throw error
    }
  }

  async publish(table: TableData): Promise<void> {
    const difference = this.#table && differenceOf(this.#table, table)
    this.#table = table
    this.#memory.assign(table)
    for (const loop of this.#loops.values()) this.#send(loop, table, difference)
    const late = () =>
      [...this.#loops.values()].filter(loop => loop.serving && loop.acknowledged < table.generation)
    const inTime = await this.#conditions.until(() => late().length === 0, acknowledgeTimeoutMs)
    if (inTime) return
    for (const loop of late()) {
      this.#deps.log.error(
        { thread: loop.index, generation: table.generation },
        'thread does not acknowledge; replaced',
      )
      loop.terminate()
    }
    await this.#conditions.until(() => late().length === 0, acknowledgeTimeoutMs)
  }

  closeTunnels(slot: number, epoch: number, closing: Closing): void {
    this.#tell({ type: 'close_tunnels', slot, epoch, closing })
  }

  keepTunnels(slot: number, epoch: number): void {
    this.#tell({ type: 'keep_tunnels', slot, epoch })
  }

  cut(slot: number, epoch: number, what: 'tunnels' | 'exchanges' | 'all'): void {
    this.#tell({ type: 'cut', slot, epoch, what })
  }

  async oldestTunnelMs(slot: number, epoch: number): Promise<number | null> {
    const ages = await this.#ask<number | null>(ask => ({ type: 'ask_tunnels', ask, slot, epoch }))
    const known = ages.filter(age => age !== null)
    return known.length > 0 ? Math.max(...known) : null
  }

  async heardSessions(): Promise<boolean> {
    const told = await this.#ask(ask => ({ type: 'ask_sessions', ask }))
    return told.length === this.#loops.size
  }

  /** For connections that are made from now on, in every thread. */
  renewTls(material: TlsMaterial): void {
    this.#tell({ type: 'tls', material })
  }

  /** Ids of the event loops that serve now. */
  serving(): readonly number[] {
    const loops = [...this.#loops.values()]
    return loops.filter(loop => loop.serving && !loop.leaving).map(loop => loop.index)
  }

  /** Stops accepting, lets what is in flight finish within the grace period, ends tunnels as told, ends all threads. */
  async stop(graceMs: number, how: Omit<ShutdownConfig, 'graceMs'> = stops.atTheEnd): Promise<void> {
    this.#stopping = true
    this.#tell({ type: 'stop', shutdown: { ...how, graceMs }, awaitClients: false })
    // Those that leave already were given a time of their own, which may be longer.
    const cancel = this.#deps.clock.after(graceMs, () => {
      for (const loop of this.#leaving.keys()) loop.terminate()
    })
    await this.#conditions.until(() => this.#loops.size === 0, graceMs + stopMarginMs)
    cancel()
    for (const loop of this.#loops.values()) loop.terminate()
    await this.#conditions.until(() => this.#loops.size === 0, stopMarginMs)
    this.#memory.close()
  }

  #tell(message: ToThread): void {
    for (const loop of this.#loops.values()) loop.send(message)
  }

  /** What those of the loops answer that live so long and answer in time. */
  async #ask<T>(
    message: (ask: number) => ToThread,
    limitMs = tellTimeoutMs,
    loops: readonly Loop[] = [...this.#loops.values()],
  ): Promise<readonly T[]> {
    const ask = ++this.#asked
    const answers = new Map<Loop, unknown>()
    this.#answers.set(ask, answers)
    for (const loop of loops) loop.send(message(ask))
    const open = () => loops.some(loop => !answers.has(loop) && this.#loops.get(loop.index) === loop)
    await this.#conditions.until(() => !open(), limitMs)
    this.#answers.delete(ask)
    return [...answers.values()] as T[]
  }

  /** Starts so many more, all of them or none; resolves to their numbers when they serve. */
  async #join(count: number): Promise<readonly number[]> {
    const free = Array.from({ length: threadsMax }, (_, index) => index).filter(
      index => !this.#wanted.has(index) && !this.#loops.has(index),
    )
    if (count > free.length)
      throw new TidegateError(
        'reload_refused',
        `${this.#leaving.size} threads still see out their clients, and there can be ${threadsMax} at once. Try again when they have left.`,
      )
    const joined = free.slice(0, Math.max(0, count))
    for (const index of joined) this.#wanted.add(index)
    const outcomes = await Promise.allSettled(joined.map(index => this.#open(index)))
    const failed = outcomes.find(outcome => outcome.status === 'rejected')
    if (!failed) return joined
    this.#dismiss(joined)
    throw failed.reason
  }

  /** They stop listening and go when what they have is over, by the rules that the process ends by. */
  #dismiss(numbers: readonly number[], shutdown: ShutdownConfig = stops.ordinary): void {
    for (const index of numbers) {
      this.#wanted.delete(index)
      const loop = this.#loops.get(index)
      if (!loop || loop.leaving) continue
      loop.leaving = true
      const limitMs = shutdown.graceMs + stopMarginMs
      this.#leaving.set(
        loop,
        this.#deps.clock.after(limitMs, () => loop.terminate()),
      )
      loop.send({ type: 'stop', shutdown, awaitClients: true })
    }
  }

  /** Starts one loop; resolves to its listeners' real addresses. */
  async #open(index: number): Promise<readonly ListenerConfig[]> {
    let outcome: readonly ListenerConfig[] | TidegateError | null = null
    const settle = (value: readonly ListenerConfig[] | TidegateError) => {
      outcome ??= value
      this.#conditions.changed()
    }
    this.#memory.widen(index)
    const ears: LoopEars = {
      receive: (loop, message) => this.#receive(loop, message, settle),
      crashed: (loop, error) => this.#crashed(loop, error, settle),
      ended: (loop, detail) => this.#ended(loop, detail, settle),
    }
    const make = this.#deps.threads === 0 ? inlineLoop : workerLoop
    const loop = make(this.#init(index), this.#deps, ears)
    this.#loops.set(index, loop)
    if (!(await this.#conditions.until(() => outcome !== null, startTimeoutMs))) {
      loop.terminate()
      throw new TidegateError(
        'internal',
        `Data-plane thread ${index} did not start within ${startTimeoutMs / 1000} s.`,
      )
    }
    const result = outcome as unknown as readonly ListenerConfig[] | TidegateError
    if (result instanceof TidegateError) throw result
    return result
  }

  #init(index: number): DataPlaneInit {
    const { board, threads } = this.#deps
    return {
      thread: index,
      board: board.buffer,
      reusePort: threads > 0,
      tls: this.#deps.tls?.() ?? noMaterial,
      ...this.#settings.now(),
      ...this.#memory.init(this.#table!),
      table: this.#table!,
    }
  }

  #crashed(loop: Loop, error: Error, settle: (value: TidegateError) => void): void {
    this.#deps.log.error({ thread: loop.index, err: error }, 'data-plane thread crashed')
    const message = `Data-plane thread ${loop.index} crashed: ${error.message}`
    settle(new TidegateError('internal', message, { cause: error }))
  }

  #receive(
    loop: Loop,
    message: FromThread,
    settle: (value: readonly ListenerConfig[] | TidegateError) => void,
  ): void {
    switch (message.type) {
      case 'listening':
        loop.serving = true
        this.#deps.events.publish({ type: 'thread', thread: loop.index, status: 'started', detail: null })
        this.#catchUp(loop)
        return settle(message.listeners)
      case 'acknowledged':
        loop.acknowledged = Math.max(loop.acknowledged, message.generation)
        return this.#conditions.changed()
      case 'behind':
        return this.#send(loop, this.#table!, null)
      case 'sessions':
        return this.#deps.onSessions(message.seen)
      case 'wanted':
        return this.#deps.onWanted?.(message.wanted)
      case 'answer':
        this.#answers.get(message.ask)?.set(loop, message.answer)
        return this.#conditions.changed()
      case 'failed':
        settle(new TidegateError(asErrorCode(message.code), message.message))
        return loop.terminate()
      case 'stopped':
        if (message.cut > 0)
          this.#deps.log.warn({ thread: loop.index, cut: message.cut }, 'cut at the end of the grace period')
        return loop.terminate()
    }
  }

  /** A thread that was starting while a generation was published gets the newest one before it counts as current. */
  #catchUp(loop: Loop): void {
    if (loop.acknowledged < this.#table!.generation) this.#send(loop, this.#table!, null)
  }

  /** The difference, to a loop that was sent the generation before; the whole table to any other. */
  #send(loop: Loop, table: TableData, difference: TableDifference | null): void {
    this.#memory.sendAhead(loop, table)
    const follows = difference !== null && difference.base === loop.sent
    loop.sent = table.generation
    loop.send({ type: 'publish', table: follows ? difference : table })
  }

  #ended(
    loop: Loop,
    detail: string,
    settle: (value: readonly ListenerConfig[] | TidegateError) => void,
  ): void {
    if (this.#loops.get(loop.index) !== loop) return
    this.#loops.delete(loop.index)
    settle(new TidegateError('internal', `Data-plane thread ${loop.index} ended: ${detail}`))
    this.#conditions.changed()
    this.#memory.gone(loop.index)
    this.#leaving.get(loop)?.()
    this.#leaving.delete(loop)
    if (this.#stopping || !loop.serving) return
    if (loop.leaving) {
      this.#deps.events.publish({ type: 'thread', thread: loop.index, status: 'stopped', detail })
      return
    }
    this.#deps.events.publish({ type: 'thread', thread: loop.index, status: 'crashed', detail })
    this.#replace(loop)
  }

  #replace(dead: Loop): void {
    const lived = this.#deps.clock.monotonic() - dead.startedAtMs
    const before = lived >= settledAfterMs ? 0 : (this.#restartDelays.get(dead.index) ?? 0)
    const delay = Math.min(restartDelayMaxMs, Math.max(restartDelayMinMs, before * 2))
    this.#restartDelays.set(dead.index, delay)
    this.#deps.clock.after(delay, async () => {
      if (this.#stopping || !this.#wanted.has(dead.index)) return
      try {
        await this.#open(dead.index)
        this.#deps.events.publish({ type: 'thread', thread: dead.index, status: 'replaced', detail: null })
      } catch (error) {
        this.#deps.log.error(
          { thread: dead.index, err: error },
          'data-plane thread could not be replaced; trying again',
        )
        this.#replace(dead)
      }
    })
  }
}
