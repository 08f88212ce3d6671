/**
 * One data plane: listeners, the current table, the tunnels and the pooled connections of one event loop.
 * It is the same in a worker thread and on the main thread (`threads: 0`); only the way messages travel differs.
 * It decides nothing by itself: every change of membership arrives as a message.
 */

import type { Clock } from '../clock.ts'
import { Board } from '../cluster/board.ts'
import { type TableDifference, tableAfter } from '../cluster/difference.ts'
import type { Closing, SessionSighting } from '../cluster/ports.ts'
import type { TableCluster, TableData } from '../cluster/table.ts'
import type { ShutdownConfig } from '../config/config.ts'
import { TidegateError } from '../errors.ts'
import type { Log } from '../log.ts'
import { Door } from './door.ts'
import { type DataPlaneContext, Exchanges } from './exchanges.ts'
import { Forwards } from './forward/forward.ts'
import { createListener } from './listener.ts'
import { ListenerSet } from './listener-set.ts'
import type { Configured, DataPlaneInit, FromThread, PlaneSettings, ToThread } from './messages.ts'
import { Mirrors } from './mirror.ts'
import { Observer } from './observe/observer.ts'
import { machineGauges } from './resilience/gauges.ts'
import { Guards } from './resilience/guards.ts'
import { Overload, type OverloadState } from './resilience/overload.ts'
import { RouteTable } from './route-table.ts'
import { stopServing } from './stopping.ts'
import { TlsHolder } from './tls/holder.ts'
import { parseTrustedProxies } from './trusted-proxies.ts'
import { Tunnels } from './tunnel.ts'
import { Waking } from './waking.ts'

/** Sightings are sent in batches: at most this old, at most this many. */
const sessionsFlushMs = 200
const sessionsBatchMax = 1_000
/** Of the event loop, for what is broken off at the end. */
const breakTurnsMax = 100

export interface DataPlaneDeps {
  readonly post: (message: FromThread) => void
  readonly clock: Clock
  readonly log: Log
}

/** A reload changes what the exchanges share. */
type Mutable<T> = { -readonly [K in keyof T]: T[K] }

export class DataPlane {
  readonly #init: DataPlaneInit
  readonly #deps: DataPlaneDeps
  readonly #board: Board
  readonly #context: Mutable<DataPlaneContext>
  readonly #tls: TlsHolder
  readonly #guards: Guards
  readonly #cancelFlush: () => void
  #table: RouteTable
  readonly #listeners: ListenerSet
  #sightings: SessionSighting[] = []
  #stopping = false

  constructor(init: DataPlaneInit, deps: DataPlaneDeps) {
    this.#init = init
    this.#deps = deps
    this.#board = new Board(init.board)
    this.#guards = new Guards(init.limits, init.thread, deps.clock)
    this.#guards.share(init.threads)
    this.#table = this.#routeTable(init.table)
    this.#tls = new TlsHolder(init.tls)
    this.#context = this.#createContext()
    const { clock, log } = deps
    this.#listeners = new ListenerSet({
      clock,
      openDoor: (config, receiver) => Door.open(config, { reusePort: init.reusePort, log, receiver }),
      create: config => createListener(config, this.#context, this.#tls),
    })
    this.#cancelFlush = deps.clock.every(sessionsFlushMs, () => this.#flushSessions())
  }

  /** Opens the listeners and says `listening` with the real ports, or `failed`. */
  async start(): Promise<void> {
    const outcome = await this.#become(this.#init)
    if (outcome.ok) return this.#deps.post({ type: 'listening', listeners: outcome.listeners })
    this.#close()
    this.#deps.post({ type: 'failed', code: outcome.code, message: outcome.message })
  }

  receive(message: ToThread): void {
    switch (message.type) {
      case 'limits':
        return this.#guards.take(message.limits)
      case 'observe':
        return this.#context.observer.configure(message.update)
      case 'publish':
        return this.#publish(message.table)
      case 'close_tunnels':
        return this.#closeTunnels(message.slot, message.epoch, message.closing)
      case 'keep_tunnels':
        return this.#context.tunnels.keepMember(message.slot, message.epoch)
      case 'ask_tunnels': {
        const answer = this.#context.tunnels.oldestMs(message.slot, message.epoch)
        return this.#deps.post({ type: 'answer', ask: message.ask, answer })
      }
      case 'ask_sessions':
        this.#flushSessions()
        return this.#deps.post({ type: 'answer', ask: message.ask, answer: true })
      case 'cut':
        if (message.what !== 'tunnels') this.#cutExchanges(message.slot, message.epoch)
        if (message.what !== 'exchanges') this.#context.tunnels.cutMember(message.slot, message.epoch)
        return
      case 'configure':
        return void this.#configure(message.ask, message.settings)
      case 'tls':
        this.#tls.renew(message.material)
        return this.#listeners.renewTls()
      case 'stop':
        void this.#stop(message.shutdown, message.awaitClients)
    }
  }

  #closeTunnels(slot: number, epoch: number, { code, reason, spreadMs }: Closing): void {
    this.#context.tunnels.closeMember(slot, epoch, code, reason, spreadMs)
  }

  async #configure(ask: number, settings: PlaneSettings): Promise<void> {
    const outcome = await this.#become(settings)
    if (outcome.ok) {
      this.#context.trustedProxies = parseTrustedProxies(settings.trustedProxies)
      this.#context.debugHeaders = settings.debugHeaders
      this.#share(settings)
    }
    this.#deps.post({ type: 'answer', ask, answer: outcome })
  }

  #share({ overload, threads }: PlaneSettings): void {
    this.#context.overload.configure(overload, threads)
    this.#context.waking.share(threads)
    this.#guards.share(threads)
  }

  async #become({ listeners }: PlaneSettings): Promise<Configured> {
    try {
      return { ok: true, listeners: await this.#listeners.become(listeners) }
    } catch (error) {
      const code = error instanceof TidegateError ? error.code : 'internal'
      return { ok: false, code, message: error instanceof Error ? error.message : String(error) }
    }
  }

  #createContext(): Mutable<DataPlaneContext> {
    const { clock, log } = this.#deps
    const { thread, threads, overload, observe } = this.#init
    const forwards = new Forwards({ clock, tls: this.#tls })
    const changed = (state: OverloadState) => log.warn({ ...state }, `overload: ${state.level}`)
    return {
      table: () => this.#table,
      forwards,
      mirrors: new Mirrors(forwards),
      overload: new Overload({
        config: overload,
        threads,
        gauges: machineGauges,
        clock,
        changed,
      }),
      waking: new Waking({
        clock,
        threads,
        serves: cluster => this.#table.serves(cluster),
        tell: wanted => this.#deps.post({ type: 'wanted', wanted }),
      }),
      observer: new Observer(observe, { thread, clock, log, random: Math.random }),
      random: Math.random,
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

  #cutExchanges(slot: number, epoch: number): void {
    this.#context.exchanges.cutMember(slot, epoch)
    this.#context.mirrors.cutMember(slot, epoch)
  }

  /** One assignment is the whole switch; members that left lose their pooled connections. */
  #publish(sent: TableData | TableDifference): void {
    const previous = this.#table
    if ('base' in sent && sent.base !== previous.generation) return this.#deps.post({ type: 'behind' })
    const data = 'base' in sent ? tableAfter(previous.data, sent) : sent
    this.#table = this.#routeTable(data, previous)
    for (const member of this.#table.departed) this.#context.forwards.forget(member)
    this.#guards.keep(data.clusters)
    this.#deps.post({ type: 'acknowledged', generation: data.generation })
  }

  #routeTable(data: TableData, previous?: RouteTable): RouteTable {
    // Asked for several times in an exchange: what happens in one turn of the loop happens at one time.
    const now = () => {
      const { turns } = this.#context.observer
      return turns.wall(turns.now())
    }
    const guardOf = (cluster: TableCluster) => this.#guards.of(cluster)
    return new RouteTable(data, this.#board, this.#init.thread, previous, undefined, guardOf, now)
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

  async #stop(shutdown: ShutdownConfig, awaitClients: boolean): Promise<void> {
    if (this.#stopping) return
    this.#stopping = true
    const { exchanges, tunnels, overload, clock } = this.#context
    const open = () => exchanges.size + tunnels.size
    const visited = () => awaitClients && overload.connections > 0
    const cut = await stopServing({ clock, tunnels, listeners: this.#listeners, open, visited }, shutdown)
    this.#flushSessions()
    exchanges.stopAll()
    tunnels.cutAll()
    // What was broken off is told of when it has closed.
    let turns = 0
    do await new Promise(setImmediate)
    while (open() > 0 && ++turns < breakTurnsMax)
    this.#close()
    await this.#context.observer.close()
    this.#deps.post({ type: 'stopped', cut })
  }

  #close(): void {
    this.#cancelFlush()
    this.#listeners.destroy()
    this.#context.mirrors.close()
    this.#context.overload.close()
    this.#context.waking.close()
    this.#guards.close()
    this.#context.tunnels.cutAll()
    this.#context.forwards.close()
  }
}
