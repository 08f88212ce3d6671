/** Reads one answer after another from a connection, as far as the bench's own clients need it: status and where it ends. @pure */

const headCharsMax = 65_536

export class AnswerReader {
  #head = ''
  #status = 0
  /** Bytes of the body that are still to come; null: still in the head. */
  #left: number | null = null
  #chunked = false
  #tail = ''

  /** The status of the answer that is complete with this chunk, or null. Throws at what it cannot read. */
  read(chunk: Buffer): number | null {
    if (this.#left !== null || this.#chunked) return this.#body(chunk.length, chunk)
    this.#head += chunk.toString('latin1')
    const end = this.#head.indexOf('\r\n\r\n')
    if (end < 0) {
      if (this.#head.length > headCharsMax) throw new Error('an answer without an end of its head')
      return null
    }
    const head = this.#head.slice(0, end)
    const first = this.#head.slice(end + 4)
    this.#status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(head)?.[1] ?? Number.NaN)
    if (Number.isNaN(this.#status)) throw new Error(`no answer: ${head.slice(0, 80)}`)
    const length = /\r\ncontent-length: *(\d+)/i.exec(head)
    this.#chunked = /\r\ntransfer-encoding: *chunked/i.test(head)
    if (!length && !this.#chunked) throw new Error('an answer that says no length')
    this.#left = length ? Number(length[1]) : 0
    return this.#body(first.length, Buffer.from(first, 'latin1'))
  }

  #body(bytes: number, chunk: Buffer): number | null {
    if (this.#chunked) {
      this.#tail = (this.#tail + chunk.toString('latin1')).slice(-7)
      return /(^|\r\n)0\r\n\r\n$/.test(this.#tail) ? this.#complete() : null
    }
    this.#left! -= bytes
    if (this.#left! < 0) throw new Error('more bytes than the answer has')
    return this.#left === 0 ? this.#complete() : null
  }

  #complete(): number {
    const status = this.#status
    this.#head = ''
    this.#left = null
    this.#chunked = false
    this.#tail = ''
    return status
  }
}
