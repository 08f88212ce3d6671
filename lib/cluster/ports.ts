/**
 * What the cluster layer needs of the data plane, said by the one who needs it. @pure
 * `proxy/plane` implements it; cluster knows nothing of threads or sockets.
 */
import type { CloseCode } from '../config/config.ts'
import type { TableData } from './table.ts'

export interface DataPlanePort {
  /** Posts the table to every thread; resolves when all have acknowledged its generation. */
  publish(table: TableData): Promise<void>
  /**
   * Asks every thread to end this member's tunnels, evenly over `spreadMs`: a WebSocket gets a Close frame with `code` on a
   * frame boundary, anything else is ended. Returns at once; the board's `tunnels` tells when they are gone.
   */
  closeTunnels(slot: number, epoch: number, closing: Closing): void
  /** Takes back the closes that have not happened yet. */
  keepTunnels(slot: number, epoch: number): void
  /** Asks every thread to cut this member's exchanges, tunnels or both now. */
  cut(slot: number, epoch: number, what: 'tunnels' | 'exchanges' | 'all'): void
  /** Resolves true when all sessions that threads had seen when this was asked are told; false: not every thread answered in time. */
  heardSessions?(): Promise<boolean>
  /** How long its oldest tunnel has been open; null: it has none, or nobody said in time. */
  oldestTunnelMs?(slot: number, epoch: number): Promise<number | null>
}

export interface Closing {
  readonly code: CloseCode
  readonly reason: string
  readonly spreadMs: number
}

/** A session that a thread saw: an authenticated affinity cookie, with the end of its life. */
export interface SessionSighting {
  readonly slot: number
  readonly epoch: number
  /** The session's random id, base64url. */
  readonly session: string
  /** Wall clock, milliseconds. */
  readonly expiresAtMs: number
}
