/**
 * What the planes say to each other. @pure
 *
 *   control ──► thread   limits · observe · publish · close_tunnels · keep_tunnels · ask_tunnels · ask_sessions · cut · configure · tls · stop
 *   thread  ──► control  listening · acknowledged · behind · sessions · wanted · answer · failed · stopped
 */
import type { BoardBuffer } from '../cluster/board.ts'
import type { TableDifference } from '../cluster/difference.ts'
import type { Closing, SessionSighting } from '../cluster/ports.ts'
import type { TableData } from '../cluster/table.ts'
import type { ListenerConfig, OverloadConfig, ShutdownConfig } from '../config/config.ts'
import type { ObserveInit, ObserveUpdate } from './observe/observer.ts'
import type { SharedData } from './resilience/shared-limits.ts'
import type { TlsMaterial } from './tls/material.ts'
import type { Wanted } from './waking.ts'

/** A listener with a number of its own: as long as it is open, the same number is the same listener. */
export interface PlacedListener {
  readonly id: number
  /** Listeners of one address, one after another, share their door. */
  readonly door: number
  readonly config: ListenerConfig
}

/** What a reload may change of a data plane. */
export interface PlaneSettings {
  readonly listeners: readonly PlacedListener[]
  /** How many event loops serve: among them is divided what holds for all together. */
  readonly threads: number
  readonly trustedProxies: readonly string[]
  readonly debugHeaders: boolean
  readonly overload: OverloadConfig
}

/** The listeners' real addresses in their order, or why nothing was changed. */
export type Configured =
  | { readonly ok: true; readonly listeners: readonly ListenerConfig[] }
  | { readonly ok: false; readonly code: string; readonly message: string }

/** Given to a data plane at its birth (`workerData` of a thread). */
export interface DataPlaneInit extends PlaneSettings {
  readonly thread: number
  readonly board: BoardBuffer
  /** True in a worker: several listen on one port. */
  readonly reusePort: boolean
  readonly tls: TlsMaterial
  readonly limits: SharedData
  readonly observe: ObserveInit
  /** The newest table: a thread never listens without one. */
  readonly table: TableData
}

export type ToThread =
  /** The memory that the limits of the next table are kept in. */
  | { readonly type: 'limits'; readonly limits: SharedData }
  | { readonly type: 'observe'; readonly update: ObserveUpdate }
  /** The whole table, or what it changes of the one that this thread was sent before. */
  | { readonly type: 'publish'; readonly table: TableData | TableDifference }
  | {
      readonly type: 'close_tunnels'
      readonly slot: number
      readonly epoch: number
      readonly closing: Closing
    }
  | { readonly type: 'keep_tunnels'; readonly slot: number; readonly epoch: number }
  /** Asks, here and below, are answered by `answer` with the same `ask`: by the milliseconds or null. */
  | { readonly type: 'ask_tunnels'; readonly ask: number; readonly slot: number; readonly epoch: number }
  /** Answered by true, after `sessions` with what it has seen so far. */
  | { readonly type: 'ask_sessions'; readonly ask: number }
  | {
      readonly type: 'cut'
      readonly slot: number
      readonly epoch: number
      readonly what: 'tunnels' | 'exchanges' | 'all'
    }
  /** All of it or nothing; answered by how that went. */
  | { readonly type: 'configure'; readonly ask: number; readonly settings: PlaneSettings }
  /** Certificates or ticket keys are others, for connections that are made from now on. */
  | { readonly type: 'tls'; readonly material: TlsMaterial }
  /**
   * Stop accepting, finish what is in flight, end tunnels as told, then say `stopped`. `awaitClients`: others go on serving, so
   * there is time; a connection without a request may bring one yet.
   */
  | { readonly type: 'stop'; readonly shutdown: ShutdownConfig; readonly awaitClients: boolean }

export type FromThread =
  | { readonly type: 'listening'; readonly listeners: readonly ListenerConfig[] }
  | { readonly type: 'acknowledged'; readonly generation: number }
  /** What it was sent is not for the table that it has: it wants the whole. */
  | { readonly type: 'behind' }
  | { readonly type: 'sessions'; readonly seen: readonly SessionSighting[] }
  /** Requests wait there for an instance. Said again as long as they do. */
  | { readonly type: 'wanted'; readonly wanted: readonly Wanted[] }
  | { readonly type: 'answer'; readonly ask: number; readonly answer: number | null | true | Configured }
  /** Could not start (a port in use): the thread ends after it. */
  | { readonly type: 'failed'; readonly code: string; readonly message: string }
  | { readonly type: 'stopped'; readonly cut: number }
