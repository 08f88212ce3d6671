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
 */
import { Worker } from 'node:worker_threads'
import type { Clock } from '../clock.ts'
import type { Board } from '../cluster/board.ts'
import { differenceOf, type TableDifference } from '../cluster/difference.ts'
import type { Closing, DataPlanePort, SessionSighting } from '../cluster/ports.ts'
import type { TableData } from '../cluster/table.ts'
import type { ListenerConfig, ShutdownConfig } from '../config/config.ts'
import { TidegateError } from '../errors.ts'
import type { Events } from '../events.ts'
import type { Log, LogLevel } from '../log.ts'
import { DataPlane } from './data-plane.ts'
import { requireFreePort } from './door.ts'
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
  readonly threads: number
  readonly board: Board
  readonly clock: Clock
  readonly events: Events
  readonly log: Log
  readonly onSessions: (seen: readonly SessionSighting[]) => void
  /** Requests wait for an instance; left out: no cluster scales to zero. */
  readonly onWanted?: (wanted: readonly Wanted[]) => void
  /** Left out: nobody reads the counters. */
  readonly observation?: Observation
  /** The newest certificates; left out: no listener and no cluster has TLS. */
  readonly tls?: () => TlsMaterial
}

/** One event loop that serves: a worker, or this very thread. */
interface Loop {
  readonly index: number
  acknowledged: number
  /** The generation that it was sent last. */
  sent: number
  serving: boolean
  readonly startedAtMs: number
  send(message: ToThread): void
  terminate(): void
}

export class Plane implements DataPlanePort {
  readonly #deps: PlaneDeps
  readonly #loops = new Map<number, Loop>()
  readonly #waiters = new Set<() => void>()
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
    this.#memory = new PlaneMemory(deps, message => this.#tell(message))
    this.#settings = new Settings<Loop>(deps, {
      all: () => [...this.#loops.values()],
      ask: (...asked) => this.#ask(...asked),
    })
  }

  /** Starts every thread with `table`; resolves to the listeners with their real ports. Rejects (`port_in_use` …) with nothing left running. */
  async start(table: TableData): Promise<readonly ListenerConfig[]> {
    this.#table = table
    try {
      for (const listener of this.listeners()) await requireFreePort(listener)
      // The first thread decides a port 0; the others join it there.
      this.#settings.opened(await this.#open(0))
      const others = Array.from({ length: Math.max(0, this.#deps.threads - 1) }, (_, i) => this.#open(i + 1))
      await Promise.all(others)
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
   * Makes a changed configuration ready: what is new listens in every thread, what was there goes on. Rejects with nothing
   * changed (`port_in_use` …). `commit` retires what is not wanted any more; what is open there goes on.
   */
  prepare(config: PlaneConfig): Promise<Prepared> {
    return this.#settings.prepare(config, requireFreePort)
  }

  async publish(table: TableData): Promise<void> {
    const difference = this.#table && differenceOf(this.#table, table)
    this.#table = table
    this.#memory.assign(table)
    for (const loop of this.#loops.values()) this.#send(loop, table, difference)
    const late = () =>
      [...this.#loops.values()].filter(loop => loop.serving && loop.acknowledged < table.generation)
    const inTime = await this.#until(() => late().length === 0, acknowledgeTimeoutMs)
    if (inTime) return
    for (const loop of late()) {
      this.#deps.log.error(
        { thread: loop.index, generation: table.generation },
        'thread does not acknowledge; replaced',
      )
      loop.terminate()
    }
    await this.#until(() => late().length === 0, acknowledgeTimeoutMs)
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
    const message = (ask: number): ToThread => ({ type: 'ask_tunnels', ask, slot, epoch })
    const ages = await this.#ask<number | null>([...this.#loops.values()], message, tellTimeoutMs)
    const known = ages.filter(age => age !== null)
    return known.length > 0 ? Math.max(...known) : null
  }

  /** For connections that are made from now on, in every thread. */
  renewTls(material: TlsMaterial): void {
    this.#tell({ type: 'tls', material })
  }

  /** Ids of the event loops that serve now. */
  serving(): readonly number[] {
    return [...this.#loops.values()].filter(loop => loop.serving).map(loop => loop.index)
  }

  /** Stops accepting, lets what is in flight finish within the grace period, ends tunnels as told, ends all threads. */
  async stop(graceMs: number, how: Omit<ShutdownConfig, 'graceMs'> = stopAtTheEnd): Promise<void> {
    this.#stopping = true
    this.#tell({ type: 'stop', shutdown: { ...how, graceMs } })
    await this.#until(() => this.#loops.size === 0, graceMs + stopMarginMs)
    for (const loop of this.#loops.values()) loop.terminate()
    await this.#until(() => this.#loops.size === 0, stopMarginMs)
    this.#memory.close()
  }

  #tell(message: ToThread): void {
    for (const loop of this.#loops.values()) loop.send(message)
  }

  /** What those of the loops answer that live so long and answer in time. */
  async #ask<T>(
    loops: readonly Loop[],
    message: (ask: number) => ToThread,
    limitMs: number,
  ): Promise<readonly T[]> {
    const ask = ++this.#asked
    const answers = new Map<Loop, unknown>()
    this.#answers.set(ask, answers)
    for (const loop of loops) loop.send(message(ask))
    const open = () => loops.some(loop => !answers.has(loop) && this.#loops.get(loop.index) === loop)
    await this.#until(() => !open(), limitMs)
    this.#answers.delete(ask)
    return [...answers.values()] as T[]
  }

  /** Starts one loop; resolves to its listeners' real addresses. */
  async #open(index: number): Promise<readonly ListenerConfig[]> {
    let outcome: readonly ListenerConfig[] | TidegateError | null = null
    const settle = (value: readonly ListenerConfig[] | TidegateError) => {
      outcome ??= value
      this.#wake()
    }
    const loop = this.#deps.threads === 0 ? this.#inline(settle) : this.#worker(index, settle)
    this.#loops.set(index, loop)
    if (!(await this.#until(() => outcome !== null, startTimeoutMs))) {
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

  #worker(index: number, settle: (value: readonly ListenerConfig[] | TidegateError) => void): Loop {
    const logLevel = this.#deps.log.level as LogLevel
    const worker = new Worker(new URL('./thread.ts', import.meta.url), {
      workerData: { init: this.#init(index), logLevel },
      name: `tidegate-data-${index}`,
    })
    const loop: Loop = {
      index,
      acknowledged: this.#table!.generation,
      sent: this.#table!.generation,
      serving: false,
      startedAtMs: this.#deps.clock.monotonic(),
      send: message => worker.postMessage(message),
      terminate: () => void worker.terminate(),
    }
    worker.on('message', (message: FromThread) => this.#receive(loop, message, settle))
    worker.on('error', error => {
      this.#deps.log.error({ thread: index, err: error }, 'data-plane thread crashed')
      settle(
        new TidegateError('internal', `Data-plane thread ${index} crashed: ${error.message}`, {
          cause: error,
        }),
      )
    })
    worker.on('exit', code => this.#ended(loop, `exit code ${code}`, settle))
    return loop
  }

  /** `threads: 0`: the same data plane on this loop; messages still travel one turn later, so order is the same. */
  #inline(settle: (value: readonly ListenerConfig[] | TidegateError) => void): Loop {
    const post = (message: FromThread) => {
      setImmediate(() => {
        this.#receive(loop, message, settle)
        if (message.type === 'stopped' || message.type === 'failed') this.#ended(loop, 'stopped', settle)
      })
    }
    const plane = new DataPlane(this.#init(0), { post, clock: this.#deps.clock, log: this.#deps.log })
    const loop: Loop = {
      index: 0,
      acknowledged: this.#table!.generation,
      sent: this.#table!.generation,
      serving: false,
      startedAtMs: this.#deps.clock.monotonic(),
      send: message => setImmediate(() => plane.receive(message)),
      terminate: () => plane.receive({ type: 'stop', shutdown: { ...stopAtTheEnd, graceMs: 0 } }),
    }
    void plane.start()
    return loop
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
        return this.#wake()
      case 'behind':
        return this.#send(loop, this.#table!, null)
      case 'sessions':
        return this.#deps.onSessions(message.seen)
      case 'wanted':
        return this.#deps.onWanted?.(message.wanted)
      case 'tunnels':
        return this.#answered(loop, message.ask, message.oldestMs)
      case 'configured':
        return this.#answered(loop, message.ask, message.outcome)
      case 'failed':
        settle(new TidegateError(asErrorCode(message.code), message.message))
        return loop.terminate()
      case 'stopped':
        if (message.cut > 0)
          this.#deps.log.warn({ thread: loop.index, cut: message.cut }, 'cut at the end of the grace period')
        return loop.terminate()
    }
  }

  #answered(loop: Loop, ask: number, answer: unknown): void {
    this.#answers.get(ask)?.set(loop, answer)
    this.#wake()
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
    this.#wake()
    this.#deps.board.wipeThread(loop.index)
    this.#memory.gone(loop.index)
    if (this.#stopping || !loop.serving) return
    this.#deps.events.publish({ type: 'thread', thread: loop.index, status: 'crashed', detail })
    this.#replace(loop)
  }

  #replace(dead: Loop): void {
    const lived = this.#deps.clock.monotonic() - dead.startedAtMs
    const before = lived >= settledAfterMs ? 0 : (this.#restartDelays.get(dead.index) ?? 0)
    const delay = Math.min(restartDelayMaxMs, Math.max(restartDelayMinMs, before * 2))
    this.#restartDelays.set(dead.index, delay)
    this.#deps.clock.after(delay, async () => {
      if (this.#stopping) return
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

  /** Resolves true as soon as `condition` holds (asked again at every `#wake`), false after `limitMs`. */
  #until(condition: () => boolean, limitMs: number): Promise<boolean> {
    if (condition()) return Promise.resolve(true)
    return new Promise(resolve => {
      const finish = (value: boolean) => {
        this.#waiters.delete(check)
        cancel()
        resolve(value)
      }
      const check = () => {
        if (condition()) finish(true)
      }
      const cancel = this.#deps.clock.after(limitMs, () => finish(false))
      this.#waiters.add(check)
    })
  }

  #wake(): void {
    for (const check of [...this.#waiters]) check()
  }
}

/** What nobody has told otherwise: tunnels stay until the end, and are told then. */
const stopAtTheEnd = { tunnels: 'keep', closeCode: 1001, closeSpreadMs: 0 } as const
