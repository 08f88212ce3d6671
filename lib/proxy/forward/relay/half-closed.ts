/**
 * A client that has ended its half of the connection: it may still read its answer, or it has gone, and nothing but a write that
 * fails would tell. So it is believed as long as its answer moves.
 */
import type { Socket } from 'node:net'
import { clientReadIdleMs, halfClosedSilenceMs } from '../../limits.ts'

export class HalfClosed {
  readonly #socket: Socket
  /** Bytes that the kernel has taken. */
  #gone: number
  #stillMs = 0

  constructor(socket: Socket) {
    this.#socket = socket
    this.#gone = taken(socket)
  }

  /** Asked every `halfClosedSilenceMs` while there is an answer. `waits`: something of it has not gone out. */
  reads(waits: boolean): boolean {
    const gone = taken(this.#socket)
    if (gone !== this.#gone) {
      this.#gone = gone
      this.#stillMs = 0
      return true
    }
    this.#stillMs += halfClosedSilenceMs
    // Where something waits to go out it is the client that is slow, and may be.
    return waits && this.#stillMs < clientReadIdleMs
  }
}

const taken = ({ bytesWritten, writableLength }: Socket) => bytesWritten - writableLength
