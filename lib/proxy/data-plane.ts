/**
 * One data plane: listeners, the current table, the tunnels and the pooled connections of one event loop.
 * It is the same in a worker thread and on the main thread (`threads: 0`); only the way messages travel differs.
 * It decides nothing by itself: every change of membership arrives as a message.
 */

import type { Clock } from '../clock.ts'
import { Board } from '../cluster/board.ts'
import type { SessionSighting } from '../cluster/ports.ts'
import type { TableData } from '../cluster/table.ts'
import type { ListenerConfig } from '../config/config.ts'
import { TidegateError } from '../errors.ts'
import type { Log } from '../log.ts'
import { type DataPlaneContext, Exchanges } from './exchange.ts'
import { Forwards } from './forward/forward.ts'
import { type Listener, openListener } from './listener.ts'
import type { DataPlaneInit, FromThread, ToThread } from './messages.ts'
import { RouteTable } from './route-table.ts'
import { parseTrustedProxies } from './trusted-proxies.ts'
import { Tunnels } from './tunnel.ts'

/** Sightings are sent in batches: at most this old, at most this many. */
const sessionsFlushMs = 200
const sessionsBatchMax = 1_000
/** After a Close frame at the end of a grace period a client has this long to answer it. */
const closeHandshakeMs = 2_000
const stopPollMs = 10

export interface DataPlaneDeps {
  readonly post: (message: FromThread) => void
  readonly clock: Clock
  readonly log: Log
}

export class DataPlane {
  readonly #init: DataPlaneInit
  readonly #deps: DataPlaneDeps
  readonly #board: Board
  readonly #context: DataPlaneContext
  readonly #cancelFlush: () => void
  #table: RouteTable
  #listeners: Listener[] = []
  #sightings: SessionSighting[] = []
  #stopping = false

  constructor(init: DataPlaneInit, deps: DataPlaneDeps) {
    this.#init = init
    this.#deps = deps
    this.#board = new Board(init.board)
    this.#table = new RouteTable(init.table, this.#board, init.thread)
    this.#context = this.#createContext()
    this.#cancelFlush = deps.clock.every(sessionsFlushMs, () => this.#flushSessions())
  }

  /** Opens the listeners and says `listening` with the real ports, or `failed`. */
  async start(): Promise<void> {
    try {
      for (const config of this.#init.listeners) {
        this.#listeners.push(await openListener(config, this.#context, { reusePort: this.#init.reusePort }))
      }
    } catch (error) {
      this.#close()
      const code = error instanceof TidegateError ? error.code : 'internal'
      this.#deps.post({
        type: 'failed',
        code,
        message: error instanceof Error ? error.message : String(error),
      })
      return
    }
    const listeners: ListenerConfig[] = this.#listeners.map(({ host, port }) => ({ host, port }))
    this.#deps.post({ type: 'listening', listeners })
  }

  receive(message: ToThread): void {
    switch (message.type) {
      case 'publish':
        return this.#publish(message.table)
      case 'close_tunnels':
        return this.#context.tunnels.closeMember(message.slot, message.epoch, message.code, message.reason)
      case 'cut':
        this.#context.exchanges.cutMember(message.slot, message.epoch)
        return this.#context.tunnels.cutMember(message.slot, message.epoch)
      case 'stop':
        void this.#stop(message.graceMs)
    }
  }

  #createContext(): DataPlaneContext {
    const { clock, log } = this.#deps
    return {
      table: () => this.#table,
      forwards: new Forwards({ clock }),
      exchanges: new Exchanges(),
      tunnels: new Tunnels({ clock }),
      trustedProxies: parseTrustedProxies(this.#init.trustedProxies),
      debugHeaders: this.#init.debugHeaders,
      noteSession: sighting => this.#noteSession(sighting),
      clock,
      log,
      stopping: () => this.#stopping,
    }
  }

  /** One assignment is the whole switch; members that left lose their pooled connections. */
  #publish(data: TableData): void {
    const previous = this.#table
    this.#table = new RouteTable(data, this.#board, this.#init.thread, previous)
    const kept = new Set(this.#table.members())
    for (const member of previous.members()) if (!kept.has(member)) this.#context.forwards.forget(member)
    this.#deps.post({ type: 'acknowledged', generation: data.generation })
  }

  #noteSession(sighting: SessionSighting): void {
    this.#sightings.push(sighting)
    if (this.#sightings.length >= sessionsBatchMax) this.#flushSessions()
  }

  #flushSessions(): void {
    if (this.#sightings.length === 0) return
    const seen = this.#sightings
    this.#sightings = []
    this.#deps.post({ type: 'sessions', seen })
  }

  /** Stop accepting, let what is in flight end, then tell tunnels and cut the rest. */
  async #stop(graceMs: number): Promise<void> {
    if (this.#stopping) return
    this.#stopping = true
    for (const listener of this.#listeners) listener.stop()
    await this.#quiet(graceMs)
    for (const listener of this.#listeners) listener.closeIdle()
    this.#context.tunnels.closeAll(1001, 'the proxy is shutting down')
    await this.#quiet(closeHandshakeMs)
    const cut = this.#open()
    this.#flushSessions()
    this.#close()
    this.#deps.post({ type: 'stopped', cut })
  }

  async #quiet(limitMs: number): Promise<void> {
    const { clock } = this.#deps
    const deadline = clock.monotonic() + limitMs
    while (this.#open() > 0 && clock.monotonic() < deadline) await clock.sleep(stopPollMs)
  }

  #open(): number {
    return this.#context.exchanges.size + this.#context.tunnels.size
  }

  #close(): void {
    this.#cancelFlush()
    for (const listener of this.#listeners) listener.destroy()
    this.#context.tunnels.cutAll()
    this.#context.forwards.close()
  }
}
