/**
 * A client's socket that is read into one buffer, the same for all of an event loop. An ordinary socket gets 64 KiB of new memory for each
 * read, cut down to what came: for a request of a hundred bytes that is dearer than reading it, and the collector has to come for it.
 *
 * Node offers this (`onread`) for sockets that it connects, and not for those that it accepts. So the connection is taken out of the
 * accepted socket, and a new one made around it: `docs/decisions/clients-are-read-into-one-buffer.md`.
 */
import { Socket, type SocketConstructorOpts } from 'node:net'
import { ReadBuffer } from './read-buffer.ts'

export class SharedReadSocket extends Socket {
  /** Takes what was read; the bytes are somebody else's after the call. Null: `data` is emitted, with a copy. */
  reader: ((bytes: Buffer) => void) | null = null

  constructor(handle: object) {
    const own: { socket: SharedReadSocket | null } = { socket: null }
    const callback = (length: number) => {
      own.socket!.#read(reads.first(length))
      return true
    }
    const options = { handle, allowHalfOpen: true, onread: { buffer: reads.buffer, callback } }
    super(options as SocketConstructorOpts)
    own.socket = this
  }

  #read(bytes: Buffer): void {
    if (this.reader !== null) this.reader(bytes)
    else if (this.listenerCount('data') > 0) this.emit('data', Buffer.from(bytes))
  }
}

/** Either kind of socket; the bytes are lent for the call. */
export function readWith(socket: Socket, reader: (bytes: Buffer) => void): void {
  if (socket instanceof SharedReadSocket) socket.reader = reader
  else socket.on('data', reader)
}

export function readNoMore(socket: Socket, reader: (bytes: Buffer) => void): void {
  if (socket instanceof SharedReadSocket) socket.reader = null
  else socket.off('data', reader)
}

/** Only in the turn in which the socket was accepted: nothing of it may have been read. The socket itself where Node has changed within. */
export function readTogether(accepted: Socket): Socket {
  const within = accepted as unknown as { _handle?: object | null; _server?: object | null }
  const handle = within._handle
  if (!handle || !('useUserBuffer' in handle) || within._server === undefined) return accepted
  within._handle = null
  const socket = new SharedReadSocket(handle)
  // The server counts its connections by this one.
  ;(socket as unknown as typeof within)._server = within._server
  within._server = null
  return socket
}

const reads = new ReadBuffer()
