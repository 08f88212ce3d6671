/**
 * Writing bytes that are somebody else's after the call, out of a read buffer. New memory for each piece would be the dearest part of
 * relaying it; but nearly always the kernel takes a write at once, and then the memory that it was copied into is free for the next.
 *
 *   nothing waits to go out ──► into the shared memory ── the kernel took all ──► it is used again
 *              │                                       └── not all ──► it is the socket's for good, once for each time it fills up
 *              └ something does ──► into memory of its own size: what waits must hold no more than it is
 */
import { Socket } from 'node:net'
import type { Writable } from 'node:stream'

class Scratch {
  readonly #bytes: number
  #memory: Buffer | null = null
  /** One for each length that was taken: an object less for each piece. */
  #views: Buffer[] | null

  constructor(bytes: number, keepViews: boolean) {
    this.#bytes = bytes
    this.#views = keepViews ? [] : null
  }

  /** `length` bytes, until the next `take`. */
  take(length: number): Buffer {
    this.#memory ??= Buffer.allocUnsafeSlow(this.#bytes)
    if (this.#views === null) return this.#memory.subarray(0, length)
    this.#views[length] ??= this.#memory.subarray(0, length)
    return this.#views[length]
  }

  /** What was taken last is somebody else's for good. */
  lose(): void {
    this.#memory = null
    if (this.#views !== null) this.#views = []
  }
}

const smallMax = 2 * 1024
/** A full read and the text before it. */
const largeMax = 80 * 1024
/** Two, so that a small piece that waits does not hold a large memory. */
const small = new Scratch(smallMax, true)
const large = new Scratch(largeMax, false)

/** Text (latin1), lent bytes and text again as one write. False: the socket is full. */
export function writeLent(to: Writable, bytes: Uint8Array, before = '', after = ''): boolean {
  const total = before.length + bytes.length + after.length
  const scratch = scratchFor(to, total)
  const piece = scratch === null ? Buffer.allocUnsafe(total) : scratch.take(total)
  const at = before === '' ? 0 : piece.write(before, 'latin1')
  piece.set(bytes, at)
  if (after !== '') piece.write(after, at + bytes.length, 'latin1')
  const room = to.write(piece)
  if (scratch !== null && to.writableLength > 0) scratch.lose()
  return room
}

/** Null: it would not be free after the write. TLS says only later that it has sent, and so do other streams. */
function scratchFor(to: Writable, bytes: number): Scratch | null {
  if (bytes > largeMax || to.writableLength > 0 || !(to instanceof Socket) || 'encrypted' in to) return null
  return bytes <= smallMax ? small : large
}
