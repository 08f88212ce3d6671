/**
 * Writes text to a socket past its stream, as long as the kernel takes it at once, and it nearly always does. The stream makes a
 * request object for each write, an entry in its queue and a turn's end to tell of it: a good part of what a small answer costs.
 *
 *   direct ── the kernel took all ──► direct            the request object was not needed, and serves the next write
 *     │ └──── it took a part ──────► waiting ── all is out ──► direct
 *     └ what follows meanwhile, and where the stream has something waiting: the stream, which keeps the order
 *
 * Node offers this to its own streams and to nobody else: docs/decisions/text-goes-past-the-stream.md. Where it has changed within, all
 * goes through the stream.
 */
import type { Socket } from 'node:net'
import { getSystemErrorName } from 'node:util'

/** A socket's connection as Node holds it. */
interface Handle {
  /** 0, or a negative error number, and then nothing was written. Throws no error. */
  writeLatin1String(request: Request, text: string): number
  /** Bytes that the kernel has not taken. */
  readonly writeQueueSize: number
}

interface Request {
  oncomplete: (status: number) => void
}

type RequestClass = new () => Request

/** Undefined: not learnt yet; null: Node has changed within. */
let requestClass: RequestClass | null | undefined
/** For writes that need none in the end. */
let spare: Request | null = null

export class TextWriter {
  readonly #socket: Socket
  readonly #secure: boolean
  #waiting = false

  constructor(socket: Socket) {
    this.#socket = socket
    // TLS has memory of its own between us and the kernel.
    this.#secure = 'encrypted' in socket
  }

  /** The kernel has not taken all; the stream knows nothing of it. */
  get waiting(): boolean {
    return this.#waiting
  }

  /** Latin1, not empty. Errors come as the stream's own: `error` and `close`. To a socket that was ended nothing is written. */
  write(text: string): void {
    if (!this.#direct(text) && this.#socket.writable) this.#socket.write(text, 'latin1')
  }

  /** False: nothing was written. */
  #direct(text: string): boolean {
    const socket = this.#socket
    if (this.#secure || this.#waiting || socket.writableLength > 0 || socket.connecting) return false
    const handle = (socket as unknown as { _handle?: Handle | null })._handle
    if (!handle) return false
    if (requestClass === undefined) learn(handle)
    if (!requestClass) return false
    spare ??= new requestClass()
    // An error is the stream's to tell: it meets the same one.
    if (handle.writeLatin1String(spare, text) !== 0) return false
    if (handle.writeQueueSize > 0) this.#wait(spare)
    return true
  }

  #wait(request: Request): void {
    spare = null
    this.#waiting = true
    request.oncomplete = status => {
      this.#waiting = false
      const name = status < 0 ? getSystemErrorName(status) : ''
      if (name !== '') this.#socket.destroy(Object.assign(new Error(`write ${name}`), { code: name }))
    }
  }
}

/** The class of requests is seen in the stream's next write, which follows at once. */
function learn(handle: Handle): void {
  requestClass = null
  const { writeLatin1String } = handle
  if (typeof writeLatin1String !== 'function' || typeof handle.writeQueueSize !== 'number') return
  handle.writeLatin1String = (request, text) => {
    delete (handle as Partial<Handle>).writeLatin1String
    requestClass = request.constructor as RequestClass
    return writeLatin1String.call(handle, request, text)
  }
}
