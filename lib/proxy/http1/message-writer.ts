/**
 * Writes one message after another on a socket: head, body in its framing, trailers. What is small and comes together goes out in
 * one write: a system call costs more than copying some kilobytes. Where nothing more is to come it goes out at the end of the turn (`turn-end.ts`).
 */
import type { Socket } from 'node:net'
import { writeLent } from '../lent-write.ts'
import { TextWriter } from './text-writer.ts'
import { atTurnEnd, type Sender } from './turn-end.ts'

export type Framing = 'none' | 'length' | 'chunked' | 'close'

/** Up to here bytes become part of the text that waits; larger ones are copied behind it into memory of their own. */
const copyBytesMax = 3 * 1024
const heldCharsMax = 16 * 1024

export class MessageWriter implements Sender {
  readonly #socket: Socket
  readonly #text: TextWriter
  /** Latin1, not sent yet. */
  #held = ''
  #inLine = false
  #framing: Framing = 'none'
  /** Of the body that were written, without their framing. */
  bodyBytes = 0
  /** With `length`: bytes still to come. */
  #remaining = 0

  constructor(socket: Socket) {
    this.#socket = socket
    this.#text = new TextWriter(socket)
  }

  /** True: what was promised in the head has been written. */
  get complete(): boolean {
    return this.#framing !== 'length' || this.#remaining === 0
  }

  get full(): boolean {
    return this.#socket.writableNeedDrain
  }

  /** Something of it has not been handed to the socket. */
  get holds(): boolean {
    return this.#held !== ''
  }

  /** Something that was said has not gone out yet. */
  get waits(): boolean {
    return this.#held !== '' || this.#text.waiting || this.#socket.writableLength > 0
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
      if (this.#held.length > heldCharsMax) this.sendNow()
      return true
    }
    const before = chunked ? `${this.#held}${length.toString(16)}\r\n` : this.#held
    this.#held = ''
    writeLent(this.#socket, bytes, before, chunked ? '\r\n' : '')
    return true
  }

  /** No more now: what is held goes out at the end of this turn. */
  flush(): void {
    if (this.#held === '' || this.#inLine) return
    this.#inLine = true
    atTurnEnd(this)
  }

  turnEnds(): void {
    this.#inLine = false
    this.sendNow()
  }

  /** Before anything else is done to the socket. */
  sendNow(): void {
    if (this.#held === '') return
    const text = this.#held
    this.#held = ''
    this.#text.write(text)
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
