/**
 * How one event loop ends, within the grace period and the two seconds of a close handshake at the least.
 *
 *   stopped listening ──► waiting ── the closing time begins ──► closing: tunnels are told one after another ──► told: all of them
 *                            │                                       │                                               │
 *                            └───────────────────────────────────────┴──── nothing is open, or the time is over ─────┴──► cut
 *
 * Each answer ends its connection meanwhile; connections that carry no request end when nothing else is open. Where others go on
 * serving, such connections are waited for like the rest: their clients may be about to ask.
 */
import type { Clock } from '../clock.ts'
import type { ShutdownConfig } from '../config/config.ts'
import { closeHandshakeMs } from './limits.ts'
import type { Tunnels } from './tunnel.ts'

export interface Stopping {
  readonly clock: Clock
  readonly tunnels: Tunnels
  readonly listeners: { stop(): Promise<void>; closeIdle(): void }
  /** Exchanges and tunnels. */
  open(): number
  /** Connections without a request are there, and to be waited for. */
  visited?(): boolean
}

const stopPollMs = 10
const reason = 'the proxy is shutting down'

/** Resolves to what is left then, and is to be cut. */
export async function stopServing(loop: Stopping, shutdown: ShutdownConfig): Promise<number> {
  const { clock, tunnels, listeners } = loop
  const startedAt = clock.monotonic()
  // The last one to be told has time to answer before the end.
  const toldBy = startedAt + Math.max(0, shutdown.graceMs - closeHandshakeMs)
  const end = Math.max(startedAt + shutdown.graceMs, toldBy + closeHandshakeMs)
  const spreadMs = shutdown.tunnels === 'close' ? Math.min(shutdown.closeSpreadMs, toldBy - startedAt) : 0
  await listeners.stop()
  await quiet(loop, toldBy - spreadMs)
  if (spreadMs > 0) tunnels.closeAll(shutdown.closeCode, reason, spreadMs)
  await quiet(loop, toldBy)
  if (shutdown.tunnels !== 'cut') tunnels.closeAll(shutdown.closeCode, reason)
  await quiet(loop, end)
  listeners.closeIdle()
  return loop.open()
}

async function quiet({ clock, open, visited }: Stopping, deadline: number): Promise<void> {
  const busy = () => open() > 0 || visited?.() === true
  while (busy() && clock.monotonic() < deadline) await clock.sleep(stopPollMs)
}
