/**
 * What the planes say to each other. @pure
 *
 *   control ──► thread   publish · close_tunnels · cut · stop
 *   thread  ──► control  listening · acknowledged · sessions · failed · stopped
 */
import type { BoardBuffer } from '../cluster/board.ts'
import type { SessionSighting } from '../cluster/ports.ts'
import type { TableData } from '../cluster/table.ts'
import type { ListenerConfig } from '../config/config.ts'

/** Given to a data plane at its birth (`workerData` of a thread). */
export interface DataPlaneInit {
  readonly thread: number
  readonly board: BoardBuffer
  readonly listeners: readonly ListenerConfig[]
  /** True in a worker: several listen on one port. */
  readonly reusePort: boolean
  readonly trustedProxies: readonly string[]
  readonly debugHeaders: boolean
  /** The newest table: a thread never listens without one. */
  readonly table: TableData
}

export type ToThread =
  | { readonly type: 'publish'; readonly table: TableData }
  | {
      readonly type: 'close_tunnels'
      readonly slot: number
      readonly epoch: number
      readonly code: 1001 | 1012
      readonly reason: string
    }
  | { readonly type: 'cut'; readonly slot: number; readonly epoch: number }
  /** Stop accepting, finish what is in flight, close tunnels with 1001 at the end of the grace, then say `stopped`. */
  | { readonly type: 'stop'; readonly graceMs: number }

export type FromThread =
  | { readonly type: 'listening'; readonly listeners: readonly ListenerConfig[] }
  | { readonly type: 'acknowledged'; readonly generation: number }
  | { readonly type: 'sessions'; readonly seen: readonly SessionSighting[] }
  /** Could not start (a port in use): the thread ends after it. */
  | { readonly type: 'failed'; readonly code: string; readonly message: string }
  | { readonly type: 'stopped'; readonly cut: number }
