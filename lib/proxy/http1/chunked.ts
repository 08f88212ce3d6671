/**
 * The chunked coding, read strictly (RFC 9112 §7.1): a size of at most 13 hexadecimal digits, extensions that are tokens and of
 * bounded length and go nowhere, CR LF after every part, trailers of bounded length. @pure
 *
 *           digit           CR LF            all bytes             CR LF
 *   size ──────────► size ────────► data ──────────────► dataEnd ────────► size
 *                      │ size 0, CR LF
 *                      ▼
 *                  trailers ── blank line ──► done
 */
import { FieldScanner } from './field-scanner.ts'

/** A chunk's line: size and extensions. */
const sizeLineBytesMax = 256
/** All extensions of one body together: what they are for, nobody knows, and each costs a line (CVE-2024-22019). */
const extensionBytesMax = 4 * 1024
const trailerBytesMax = 8 * 1024
const trailerFieldsMax = 64
const sizeDigitsMax = 13

export interface ChunkSink {
  /** A piece of the body: a view of the bytes that were fed. */
  onBody(bytes: Buffer): void
}

export class ChunkedReader {
  state: 'size' | 'data' | 'dataEnd' | 'trailers' | 'done' | 'fault' = 'size'
  /** For people; set in `fault`. */
  fault = ''
  /** Name and value in turns. */
  trailers: string[] | null = null
  #remaining = 0
  /** A line that is not whole yet. */
  #line = ''
  #extensionBytes = 0

  reset(): void {
    this.state = 'size'
    this.trailers = null
    this.#remaining = 0
    this.#line = ''
    this.#extensionBytes = 0
  }

  /**
   * Reads from `offset` and hands what is body to the sink. Returns the place after the last byte that belongs to the body: the
   * end of `bytes` unless the body is over, or after a fault wherever it was seen.
   */
  feed(bytes: Buffer, offset: number, sink: ChunkSink): number {
    let pos = offset
    while (pos < bytes.length) {
      switch (this.state) {
        case 'size':
          pos = this.#readSize(bytes, pos)
          break
        case 'data': {
          const end = Math.min(bytes.length, pos + this.#remaining)
          this.#remaining -= end - pos
          if (this.#remaining === 0) this.state = 'dataEnd'
          sink.onBody(pos === 0 && end === bytes.length ? bytes : bytes.subarray(pos, end))
          pos = end
          break
        }
        case 'dataEnd':
          pos = this.#readDataEnd(bytes, pos)
          break
        case 'trailers':
          pos = this.#readTrailers(bytes, pos)
          break
        default:
          return pos
      }
    }
    return pos
  }

  #readSize(bytes: Buffer, pos: number): number {
    const next = this.#readLine(bytes, pos, sizeLineBytesMax)
    if (next === -1) return bytes.length
    const line = this.#line
    this.#line = ''
    let digits = 0
    let size = 0
    for (; digits < line.length; digits++) {
      const value = hexDigit[line.charCodeAt(digits)]!
      if (value === notHex) break
      size = size * 16 + value
    }
    if (digits === 0 || digits > sizeDigitsMax) return this.#fail('A chunk size that is not a number.', next)
    if (digits < line.length && !this.#extension(line, digits)) return next
    this.#remaining = size
    this.state = size === 0 ? 'trailers' : 'data'
    return next
  }

  #extension(line: string, from: number): boolean {
    this.#extensionBytes += line.length - from
    if (this.#extensionBytes > extensionBytesMax) {
      this.#fail('Chunk extensions that are too long.', 0)
      return false
    }
    if (extensionPattern.test(line.slice(from))) return true
    this.#fail('A chunk extension that is not valid.', 0)
    return false
  }

  #readDataEnd(bytes: Buffer, pos: number): number {
    const byte = bytes[pos]!
    if (this.#line === '') {
      if (byte !== cr) return this.#fail('A chunk that is longer than its size.', pos)
      this.#line = '\r'
      return pos + 1
    }
    this.#line = ''
    if (byte !== lf) return this.#fail('A chunk that is longer than its size.', pos)
    this.state = 'size'
    return pos + 1
  }

  #readTrailers(bytes: Buffer, pos: number): number {
    // The commonest end by far: no trailers.
    if (this.#line === '' && bytes[pos] === cr && bytes[pos + 1] === lf) {
      this.state = 'done'
      return pos + 2
    }
    const before = this.#line.length
    const text =
      this.#line + bytes.toString('latin1', pos, Math.min(bytes.length, pos + trailerBytesMax + 4 - before))
    const end = text.startsWith('\r\n') ? 0 : text.indexOf('\r\n\r\n')
    if (end === -1) {
      this.#line = text
      if (text.length > trailerBytesMax) return this.#fail('Trailers that are too long.', bytes.length)
      return bytes.length
    }
    this.#line = ''
    if (end > 0 && !this.#parseTrailers(text)) return pos
    this.state = 'done'
    return pos + (end === 0 ? 2 : end + 4) - before
  }

  #parseTrailers(text: string): boolean {
    const scanner = new FieldScanner()
    scanner.start(text, 0)
    this.trailers = []
    for (;;) {
      const result = scanner.next(trailerFieldsMax)
      if (result === 'end') return true
      if (result === 'fault') {
        this.#fail(scanner.fault, 0)
        return false
      }
      this.trailers.push(scanner.name(), scanner.value())
    }
  }

  /** Adds to `#line` up to CR LF, which is left out. -1: not whole yet, everything was taken, or a fault. */
  #readLine(bytes: Buffer, pos: number, bytesMax: number): number {
    const newline = bytes.indexOf(lf, pos)
    const end = newline === -1 ? bytes.length : newline
    if (this.#line.length + (end - pos) > bytesMax) {
      this.#fail('A chunk size line that is too long.', 0)
      return -1
    }
    this.#line += bytes.toString('latin1', pos, end)
    if (newline === -1) return -1
    if (!this.#line.endsWith('\r')) {
      this.#fail('A line that does not end in CR LF.', 0)
      return -1
    }
    this.#line = this.#line.slice(0, -1)
    return newline + 1
  }

  #fail(fault: string, pos: number): number {
    this.state = 'fault'
    this.fault = fault
    return pos
  }
}

const cr = 0x0d
const lf = 0x0a
const notHex = 255
const hexDigit = new Uint8Array(256).fill(notHex)
for (let i = 0; i < 16; i++) {
  hexDigit[i.toString(16).charCodeAt(0)] = i
  hexDigit[i.toString(16).toUpperCase().charCodeAt(0)] = i
}
/** `;name`, `;name=token`, `;name="quoted"`, without the blanks that RFC 9112 calls bad. */
const extensionPattern =
  /^(?:;[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:=(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+|"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"))?)+$/
