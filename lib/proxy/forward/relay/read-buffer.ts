/**
 * The one buffer that an event loop reads sockets into, and views of its beginning: what is read is used up before the next read, so
 * one view of each usual length is enough for all.
 */
const bytes = 64 * 1024
const usualMax = 2 * 1024

export class ReadBuffer {
  readonly buffer = Buffer.allocUnsafeSlow(bytes)
  readonly #views: Buffer[] = []

  /** The first `length` bytes. Whoever keeps them copies them. */
  first(length: number): Buffer {
    if (length > usualMax) return this.buffer.subarray(0, length)
    this.#views[length] ??= this.buffer.subarray(0, length)
    return this.#views[length]
  }
}
