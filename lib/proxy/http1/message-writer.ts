/**
 * Writes one message after another on a socket: head, body in its framing, trailers. What is small and comes together goes out in
 * one write: a system call costs more than copying some kilobytes.
 */
import type { Socket } from 'node:net'

export type Framing = 'none' | 'length' | 'chunked' | 'close'

/** Up to here bytes become part of the text that waits; larger ones are copied behind it into memory of their own. */
const copyBytesMax = 3 * 1024
const heldCharsMax = 16 * 1024

export class MessageWriter {
  readonly #socket: Socket
  readonly #secure: boolean
  /** Latin1, not sent yet. */
  #held = ''
  #framing: Framing = 'none'
  /** Of the body that were written, without their framing. */
  bodyBytes = 0
  /** With `length`: bytes still to come. */
  #remaining = 0

  constructor(socket: Socket) {
    this.#socket = socket
    this.#secure = 'encrypted' in socket
  }

  /** True: what was promised in the head has been written. */
  get complete(): boolean {
    return this.#framing !== 'length' || this.#remaining === 0
  }

  get full(): boolean {
    return this.#socket.writableNeedDrain
  }

  /** Takes the head; it goes out with the first bytes, or at the flush. */
  begin(head: string, framing: Framing, length: number): void {
    this.#held += head
    this.#framing = framing
    this.bodyBytes = 0
    this.#remaining = framing === 'length' ? length : 0
  }

  /** The bytes are the caller's again after this. False: more than was promised. */
  write(bytes: Buffer): boolean {
    const { length } = bytes
    if (this.#framing === 'none' || length === 0) return true
    if (this.#framing === 'length') {
      if (length > this.#remaining) return false
      this.#remaining -= length
    }
    const chunked = this.#framing === 'chunked'
    this.bodyBytes += length
    if (length <= copyBytesMax) {
      const text = bytes.toString('latin1')
      this.#held += chunked ? `${length.toString(16)}\r\n${text}\r\n` : text
      if (this.#held.length > heldCharsMax) this.flush()
      return true
    }
    const before = chunked ? `${this.#held}${length.toString(16)}\r\n` : this.#held
    this.#held = ''
    this.#copyOut(before, bytes, chunked ? '\r\n' : '')
    return true
  }

  /** As one write. */
  #copyOut(before: string, bytes: Buffer, after: string): void {
    const total = before.length + bytes.length + after.length
    // TLS has a copy of its own, and says only later that it has been sent.
    const piece = this.#secure ? Buffer.allocUnsafe(total) : scratch.take(total)
    const at = before === '' ? 0 : piece.write(before, 'latin1')
    piece.set(bytes, at)
    if (after !== '') piece.write(after, at + bytes.length, 'latin1')
    const socket = this.#socket
    socket.write(piece)
    // The kernel has it all, or else the socket goes on to need this memory.
    if (!this.#secure && socket.writableLength > 0) scratch.lose()
  }

  flush(): void {
    if (this.#held === '') return
    const text = this.#held
    this.#held = ''
    if (this.#socket.writable) this.#socket.write(text, 'latin1')
  }

  /** `trailers`: name and value in turns; only a chunked body has any. */
  end(trailers: readonly (readonly [string, string])[]): void {
    if (this.#framing === 'chunked') {
      this.#held += '0\r\n'
      for (const [name, value] of trailers) this.#held += `${name}: ${value}\r\n`
      this.#held += '\r\n'
    }
    this.flush()
  }
}

/**
 * Memory for one write after another: nearly always the kernel takes a write at once, and the memory is free for the next. New memory for
 * each piece would be the dearest part of relaying a body.
 */
class Scratch {
  #memory: Buffer | null = null

  /** `length` bytes, until the next `take`. */
  take(length: number): Buffer {
    if (length > scratchBytes) return Buffer.allocUnsafeSlow(length)
    this.#memory ??= Buffer.allocUnsafeSlow(scratchBytes)
    return this.#memory.subarray(0, length)
  }

  /** What was taken last is somebody else's for good. */
  lose(): void {
    this.#memory = null
  }
}

/** A full read and the text before it. */
const scratchBytes = 80 * 1024
const scratch = new Scratch()
