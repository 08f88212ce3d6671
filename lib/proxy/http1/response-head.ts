/**
 * A backend's answer head, read as strictly as a request's: an answer whose end two readers could see in two places is not passed on
 * (RFC 9112 §4, §6.3). @pure
 */
import { Field, FieldScanner, contentLength as lengthOf, type ScanResult } from './field-scanner.ts'
import { withoutNominated } from './request-head.ts'

export const responseFieldsMax = 256

/** Where the answer's body ends: there is none, after `length` bytes, after the last chunk, with the connection. */
export type AnswerFraming = 'none' | 'length' | 'chunked' | 'close'

export class ResponseHead {
  status = 0
  message = ''
  /** The status line as it goes out, and the field lines that pass to the client as they are, each with its CR LF. */
  start = ''
  fieldsAt = 0
  framing: AnswerFraming = 'none'
  /** The Content-Length, or -1; an answer to HEAD has one and no body. */
  length = -1
  version: '1.0' | '1.1' = '1.1'
  /** The backend's connection may carry another exchange. */
  keepAlive = true
  /** How long the backend says that it keeps its connection idle, milliseconds; infinite where it says nothing. */
  keepsMs = Number.POSITIVE_INFINITY
  /** What it switches to (lower case), with status 101. */
  upgrade: string | null = null

  /** The lines behind the status line. */
  get kept(): string {
    return this.start.slice(this.fieldsAt)
  }

  /** Name and value in turns, without what belongs to one hop. */
  fields(): string[] {
    const out: string[] = []
    const { start } = this
    let at = this.fieldsAt
    while (at < start.length) {
      const end = start.indexOf('\r\n', at)
      const colon = start.indexOf(':', at)
      out.push(start.slice(at, colon), start.slice(colon + 1, end).trim())
      at = end + 2
    }
    if (this.length >= 0) out.push('Content-Length', String(this.length))
    return out
  }
}

export interface ResponseFault {
  readonly fault: string
}

const scanner = new FieldScanner()

/** `text` holds the whole head from its first character on, with the blank line. `toHead`: it answers a HEAD request. */
export function parseResponseHead(text: string, toHead: boolean): ResponseHead | ResponseFault {
  const lineEnd = text.indexOf('\r\n')
  const minor = text.charCodeAt(7) - 0x30
  if (!text.startsWith('HTTP/1.') || (minor !== 0 && minor !== 1) || text.charCodeAt(8) !== 0x20)
    return refuse('not an HTTP/1 status line')
  const status = digit(text, 9) * 100 + digit(text, 10) * 10 + digit(text, 11)
  const afterStatus = lineEnd > 12 ? text.charCodeAt(12) : 0x20
  // Not a number where one of the three is no digit.
  if (lineEnd < 12 || !(status >= 100) || afterStatus !== 0x20) return refuse('not an HTTP/1 status line')
  const message = lineEnd > 13 ? text.slice(13, lineEnd) : ''
  for (let i = 13; i < lineEnd; i++) {
    const code = text.charCodeAt(i)
    if ((code < 0x20 && code !== 0x09) || code === 0x7f)
      return refuse('a control character in the status line')
  }
  const head = new ResponseHead()
  head.status = status
  head.message = message
  if (minor === 0) head.version = '1.0'
  // As it came, if that is what we would write: then it is one piece with the lines that follow it.
  const same = minor === 1 && lineEnd > 12
  if (!same) head.start = `HTTP/1.1 ${status} ${message}\r\n`
  head.fieldsAt = same ? lineEnd + 2 : head.start.length
  return readFields(text, lineEnd + 2, same ? 0 : lineEnd + 2, head, minor, toHead)
}

function readFields(
  text: string,
  fieldsAt: number,
  from: number,
  head: ResponseHead,
  minor: number,
  toHead: boolean,
): ResponseHead | ResponseFault {
  let runStart = from
  let { start } = head
  let contentLength: string | null = null
  let transferEncoding: string | null = null
  let connection = ''
  scanner.start(text, fieldsAt)
  for (;;) {
    const result: ScanResult = scanner.next(responseFieldsMax)
    if (result === 'fault') return refuse(scanner.fault)
    if (result === 'end') break
    const { kind } = scanner
    if (passes(kind, text)) continue
    if (runStart < scanner.lineStart) start += text.slice(runStart, scanner.lineStart)
    runStart = scanner.lineEnd
    if (kind === Field.contentLength) {
      if (contentLength !== null) return refuse('more than one Content-Length')
      contentLength = scanner.value()
    } else if (kind === Field.transferEncoding) {
      if (transferEncoding !== null) return refuse('more than one Transfer-Encoding')
      transferEncoding = scanner.value().toLowerCase()
    } else if (kind === Field.connection)
      connection =
        connection === '' ? scanner.value().toLowerCase() : `${connection},${scanner.value().toLowerCase()}`
    else if (kind === Field.keepAlive) head.keepsMs = Math.min(head.keepsMs, keptMs(scanner.value()))
    else if (kind === Field.upgrade)
      head.upgrade = `${head.upgrade === null ? '' : `${head.upgrade},`}${scanner.value().toLowerCase()}`
  }
  head.start = runStart < scanner.lineStart ? start + text.slice(runStart, scanner.lineStart) : start
  head.keepAlive = minor === 1
  if (connection !== '') readConnection(head, connection)
  return frame(head, contentLength, transferEncoding, minor, toHead)
}

/** Of `Keep-Alive: timeout=5, max=100` the 5 (RFC 2068 §19.7.1, which servers go by): a backend says the same in each answer. */
function keptMs(value: string): number {
  if (value !== lastKeepAlive) {
    const seconds = /(?:^|[,;\s])timeout\s*=\s*(\d{1,9})(?:$|[,;\s])/i.exec(value)?.[1]
    lastKeepAlive = value
    lastKeptMs = seconds === undefined ? Number.POSITIVE_INFINITY : Number(seconds) * 1000
  }
  return lastKeptMs
}

let lastKeepAlive = ''
let lastKeptMs = Number.POSITIVE_INFINITY

/** Of what `Field` knows, an answer's Via, Cookie, Expect and the like mean nothing to a proxy. */
function passes(kind: number, text: string): boolean {
  switch (kind) {
    case Field.plain:
    case Field.cookie:
    case Field.host:
    case Field.expect:
    case Field.alias:
    case Field.trace:
      return true
    case Field.forwarding:
      return !text
        .slice(scanner.lineStart, scanner.lineStart + 11)
        .toLowerCase()
        .startsWith('x-tidegate-')
    default:
      return false
  }
}

function readConnection(head: ResponseHead, connection: string): void {
  if (connection === 'keep-alive') return
  if (connection === 'close') {
    head.keepAlive = false
    return
  }
  let nominated: Set<string> | null = null
  for (const name of connection.split(/[ \t]*,[ \t]*/)) {
    if (name === 'close') head.keepAlive = false
    else if (name !== '' && name !== 'keep-alive' && name !== 'upgrade')
      nominated = (nominated ?? new Set()).add(name)
  }
  if (nominated !== null)
    head.start = head.start.slice(0, head.fieldsAt) + withoutNominated(head.kept, nominated)
}

function frame(
  head: ResponseHead,
  contentLength: string | null,
  transferEncoding: string | null,
  minor: number,
  toHead: boolean,
): ResponseHead | ResponseFault {
  if (contentLength !== null) {
    if (transferEncoding !== null) return refuse('both Content-Length and Transfer-Encoding')
    head.length = lengthOf(contentLength)
    if (head.length < 0) return refuse('a Content-Length that is not a number')
  }
  if (transferEncoding !== null && (transferEncoding !== 'chunked' || minor === 0))
    return refuse('a Transfer-Encoding other than chunked')
  const { status } = head
  if (toHead || status < 200 || status === 204 || status === 304) {
    // These never have a body; a length on a 204 or an interim answer would only confuse (RFC 9110 §8.6).
    if (status < 200 || status === 204) head.length = -1
    head.framing = 'none'
  } else if (transferEncoding !== null) head.framing = 'chunked'
  else if (head.length === 0) head.framing = 'none'
  else head.framing = head.length > 0 ? 'length' : 'close'
  if (head.framing === 'close') head.keepAlive = false
  return head
}

function digit(text: string, at: number): number {
  const value = text.charCodeAt(at) - 0x30
  return value >= 0 && value <= 9 ? value : Number.NaN
}

const refuse = (fault: string): ResponseFault => ({ fault })
