/** A backend's socket and a tunnel become one: bytes both ways, and the end of the one is the end of the other. */
import type { Socket } from 'node:net'
import type { Deadlines, Timed } from '../../deadlines.ts'
import { writeLent } from '../../lent-write.ts'
import { closeHandshakeMs } from '../../limits.ts'
import type { TunnelEnd } from '../forward.ts'

/** What the backend sends is brought by who reads its socket (`fromBackend`). */
export function joinTunnel(backend: Socket, tunnel: TunnelEnd, deadlines: Deadlines): void {
  backend.setKeepAlive(true, 30_000)
  tunnel.join({
    write: bytes => !backend.writable || writeLent(backend, bytes),
    end: () => void backend.end(),
    resume: () => void backend.resume(),
  })
  backend.on('drain', () => tunnel.backendRoom())
  backend.on('end', () => tunnel.backendEnded())
  backend.on('close', broken => (broken ? tunnel.destroy() : tunnel.backendEnded()))
  tunnel.once('close', () => release(backend, deadlines))
}

/** What is written goes out; a backend that does not close its own half does not keep the connection for ever. */
function release(backend: Socket, deadlines: Deadlines): void {
  if (backend.destroyed) return
  const entry: Timed = { timedAt: -1, deadlineMs: 0, onDeadline: () => backend.destroy() }
  deadlines.add(entry)
  entry.deadlineMs = deadlines.in(closeHandshakeMs)
  backend.once('close', () => deadlines.remove(entry))
  backend.destroySoon()
}
