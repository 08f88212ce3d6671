/** The client's end of the event stream. The only importing file of `ws` here. It is a hint to look again, never the truth. */
import { WebSocket } from 'ws'
import type { StampedEvent } from '../events.ts'
import type { AdminClient } from './client.ts'

const handshakeTimeoutMs = 5000
const messageBytesMax = 1024 * 1024

/** Calls `fn` for each event; says nothing when the stream cannot be had. Returns the way out. */
export function listen(client: AdminClient, since: number, fn: (event: StampedEvent) => void): () => void {
  const { url, headers } = client.events(since)
  const socket = new WebSocket(url, {
    headers,
    handshakeTimeout: handshakeTimeoutMs,
    maxPayload: messageBytesMax,
    perMessageDeflate: false,
  })
  socket.on('message', data => {
    try {
      fn(JSON.parse(String(data)) as StampedEvent)
    } catch {
      // Not an event of ours: polling shows what matters.
    }
  })
  socket.on('error', () => socket.terminate())
  return () => socket.terminate()
}
