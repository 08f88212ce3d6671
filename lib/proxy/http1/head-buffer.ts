/** Request heads out of the pieces that a connection brings: bounded, and refused as soon as they cannot become one. @pure */
import type { ErrorCode } from '../../errors.ts'
import { requestHeadBytesMax } from '../limits.ts'
import { parseRequestHead, type RequestHead } from './request-head.ts'

export interface RefusedHead {
  readonly code: ErrorCode
  readonly fault: string | null
}

export class HeadBuffer {
  /** What came behind the head that was read last. */
  left: Buffer | null = null
  #partial = ''
  /** One empty line before a request is forgiven (RFC 9112 §2.2). */
  #emptyLine = false

  /** Nothing of a head is here. */
  get empty(): boolean {
    return this.#partial === ''
  }

  clear(): void {
    this.#partial = ''
    this.#emptyLine = false
  }

  /** Null: it is not whole yet. */
  read(bytes: Buffer): RequestHead | RefusedHead | null {
    const before = this.#partial.length
    let text = this.#partial + bytes.toString('latin1', 0, this.#headEnd(bytes))
    this.left = null
    let skipped = 0
    if (text.startsWith('\r\n')) {
      if (this.#emptyLine || text.startsWith('\r\n', 2))
        return { code: 'bad_request', fault: 'Empty lines before the request.' }
      this.#emptyLine = true
      skipped = 2
      text = text.slice(2)
    }
    // What came before holds no end; who sends byte by byte must not make us look at all of it each time.
    const from = skipped > 0 ? 0 : Math.max(0, before - 3)
    const end = text.indexOf('\r\n\r\n', from)
    if (end === -1 || end > requestHeadBytesMax) {
      const cut = text.length + skipped < before + bytes.length
      return this.#keep(text, from, cut)
    }
    this.clear()
    const used = end + 4 + skipped - before
    if (used < bytes.length) this.left = bytes.subarray(used)
    return parseRequestHead(text)
  }

  /** A body behind the head is not made text of: where much has come, the end of the head is looked for first. */
  #headEnd(bytes: Buffer): number {
    // An empty line before it, and the blank line behind it.
    const most = requestHeadBytesMax + 6 - this.#partial.length
    if (bytes.length <= shortBytes) return most
    const end = bytes.indexOf(blankLine)
    return end === -1 ? most : Math.min(most, end + blankLine.length)
  }

  /** `cut`: more of it has come than was looked at. */
  #keep(text: string, from: number, cut: boolean): RefusedHead | null {
    // All but the last byte of the blank line may be here.
    if (cut || text.length > requestHeadBytesMax + 3) return { code: 'headers_too_large', fault: null }
    if (hasBareLineFeed(text, from))
      return { code: 'bad_request', fault: 'A line that does not end in CR LF.' }
    this.#partial = text
    return null
  }
}

const shortBytes = 1024
const blankLine = Buffer.from('\r\n\r\n')

function hasBareLineFeed(text: string, from: number): boolean {
  for (let at = text.indexOf('\n', from); at !== -1; at = text.indexOf('\n', at + 1))
    if (text[at - 1] !== '\r') return true
  return false
}
