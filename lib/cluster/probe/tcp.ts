/** The plainest check: somebody accepts a connection (and, where the cluster speaks TLS with its backends, shakes hands). */
import { connect } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { Ask } from './probe.ts'
import { unanswered } from './words.ts'

export const askTcp: Ask = ({ host, port, tls }, _config, end) => {
  const socket = tls ? connectTls({ ...tls, host, port }) : connect({ host, port })
  socket.on(tls ? 'secureConnect' : 'connect', () => end({ ok: true, reason: 'connected', says: 'ready' }))
  socket.on('error', error => end(unanswered(error)))
  socket.on('close', () => end({ ok: false, reason: 'connection closed before it was open', silent: true }))
  return () => socket.destroy()
}
