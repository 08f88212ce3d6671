/** A backend's socket and a tunnel become one: bytes both ways, and the end of the one is the end of the other. */
import type { Socket } from 'node:net'
import type { Deadlines, Timed } from '../../deadlines.ts'
import { closeHandshakeMs } from '../../limits.ts'
import type { TunnelEnd } from '../forward.ts'

/** `early`: what the backend sent right after its 101. */
export function joinTunnel(backend: Socket, tunnel: TunnelEnd, early: Buffer, deadlines: Deadlines): void {
  if (backend.destroyed) {
    tunnel.destroy()
    return
  }
  backend.setKeepAlive(true, 30_000)
  if (early.length > 0) tunnel.write(early)
  backend.on('end', () => tunnel.end())
  tunnel.pipe(backend)
  backend.on('close', broken => (broken ? tunnel.destroy() : tunnel.destroySoon()))
  tunnel.once('close', () => release(backend, deadlines))
}

/** What is written goes out; a backend that does not close its own half does not keep the connection for ever. */
function release(backend: Socket, deadlines: Deadlines): void {
  if (backend.destroyed) return
  const entry: Timed = { deadlineMs: 0, onDeadline: () => backend.destroy() }
  deadlines.add(entry)
  entry.deadlineMs = deadlines.in(closeHandshakeMs)
  backend.once('close', () => deadlines.remove(entry))
  backend.destroySoon()
}
