/**
 * Writing bytes that are somebody else's after the call, out of a read buffer. New memory for each piece would be the dearest part of
 * relaying it; but nearly always the kernel takes a write at once, and then the memory that it was copied into is free for the next.
 */
import { Socket } from 'node:net'
import type { Writable } from 'node:stream'

/** A full read and the text before it. */
const scratchBytes = 80 * 1024
/** Pieces up to here get a view that is kept. */
const usualMax = 2 * 1024

class Scratch {
  #memory: Buffer | null = null
  #views: Buffer[] = []

  /** `length` bytes, until the next `take`. */
  take(length: number): Buffer {
    if (length > scratchBytes) return Buffer.allocUnsafeSlow(length)
    this.#memory ??= Buffer.allocUnsafeSlow(scratchBytes)
    if (length > usualMax) return this.#memory.subarray(0, length)
    this.#views[length] ??= this.#memory.subarray(0, length)
    return this.#views[length]
  }

  /** What was taken last is somebody else's for good. */
  lose(): void {
    this.#memory = null
    this.#views = []
  }
}

const scratch = new Scratch()

/** Text (latin1), lent bytes and text again as one write. False: the socket is full. */
export function writeLent(to: Writable, bytes: Uint8Array, before = '', after = ''): boolean {
  const total = before.length + bytes.length + after.length
  const plain = to instanceof Socket && !('encrypted' in to)
  const piece = plain ? scratch.take(total) : Buffer.allocUnsafe(total)
  const at = before === '' ? 0 : piece.write(before, 'latin1')
  piece.set(bytes, at)
  if (after !== '') piece.write(after, at + bytes.length, 'latin1')
  const room = to.write(piece)
  // The kernel has it all, or else the socket goes on to need this memory.
  if (plain && to.writableLength > 0) scratch.lose()
  return room
}
