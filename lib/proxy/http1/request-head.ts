/**
 * A request's head: read once, checked byte by byte, and what passes of it kept as the text that it came as. @pure
 *
 * Whatever two readers could take for two different requests is a fault (RFC 9112 §3, §6; RFC 9110 §5.5). What decides routing and
 * framing is taken out here and written anew by whoever sends the request on.
 */
import { isEssential } from '../headers.ts'
import { requestFieldsMax } from '../limits.ts'
import type { Screened } from '../screen.ts'
import { screenTarget } from '../screen.ts'
import { contentLength, Field, FieldScanner, isToken, type ScanResult } from './field-scanner.ts'

const methodCharsMax = 32

/** Why a head was refused. `fault` is for people and repeats nothing of it. */
export interface HeadFault {
  readonly code: 'bad_request' | 'expectation_failed' | 'upgrade_unsupported'
  readonly fault: string
}

export class RequestHead implements Screened {
  readonly fault = null
  method = ''
  authority = ''
  hostname = ''
  target = ''
  path = ''
  body: 'none' | 'length' | 'chunked' = 'none'
  /** The Content-Length, bytes; -1: none. */
  length = -1
  httpVersionMinor: 0 | 1 = 1
  /** The request line as it goes out, with its CR LF. */
  line = ''
  /** The field lines that pass to the backend as they are, each with its CR LF. */
  kept = ''
  cookie: string | undefined = undefined
  /** The connection may carry another request. */
  keepAlive = true
  expectsContinue = false
  takesTrailers = false
  /** A clean WebSocket handshake (RFC 6455 §4.1). */
  webSocket = false
  /** It says something of earlier hops: looked at where the peer is trusted. */
  forwarded = false
  /** It carries a trace context. */
  traced = false
  readonly #text: string
  readonly #fieldsAt: number

  constructor(text: string, fieldsAt: number) {
    this.#text = text
    this.#fieldsAt = fieldsAt
  }

  /** A field's value by its lower-case name; several lines are one list (RFC 9110 §5.3). Looked up in the text: for rare askers. */
  field(name: string): string | undefined {
    if (name === 'cookie') return this.cookie
    if (!this.traced && (name === 'traceparent' || name === 'tracestate')) return undefined
    let value: string | undefined
    scanner.start(this.#text, this.#fieldsAt)
    while (scanner.next(requestFieldsMax) === 'field') {
      if (scanner.nameEnd - scanner.lineStart !== name.length || scanner.name().toLowerCase() !== name)
        continue
      value = value === undefined ? scanner.value() : `${value}, ${scanner.value()}`
    }
    return value
  }

  /** Every field by its lower-case name, for those who want an object. */
  fields(): Record<string, string> {
    const all: Record<string, string> = Object.create(null)
    scanner.start(this.#text, this.#fieldsAt)
    while (scanner.next(requestFieldsMax) === 'field') {
      const name = scanner.name().toLowerCase()
      const before = all[name]
      const glue = name === 'cookie' ? '; ' : ', '
      all[name] = before === undefined ? scanner.value() : before + glue + scanner.value()
    }
    return all
  }
}

/** One for all heads of an event loop: reading a head is one synchronous act. */
const scanner = new FieldScanner()

/** `text` holds the whole head from its first character on, with the blank line; more may follow. */
export function parseRequestHead(text: string): RequestHead | HeadFault {
  const lineEnd = text.indexOf('\r\n')
  const methodEnd = text.indexOf(' ')
  if (methodEnd <= 0 || methodEnd > methodCharsMax || !isToken(text, 0, methodEnd))
    return refuse('The request line does not begin with a method.')
  // ` HTTP/1.1` before the end of the line.
  const targetEnd = lineEnd - 9
  if (targetEnd <= methodEnd || !text.startsWith(' HTTP/1.', targetEnd))
    return refuse('The request line does not end in an HTTP/1 version.')
  const minor = text.charCodeAt(lineEnd - 1) - 0x30
  if (minor !== 0 && minor !== 1) return refuse('An HTTP version other than 1.0 and 1.1.')
  const head = new RequestHead(text, lineEnd + 2)
  head.method = text.slice(0, methodEnd)
  head.httpVersionMinor = minor
  return reader.read(text, head, text.slice(methodEnd + 1, targetEnd), lineEnd + 2)
}

/** What has been seen while the fields of one head are read. */
class HeadReader {
  #text = ''
  #head = new RequestHead('', 0)
  #host: string | null = null
  #contentLength: string | null = null
  #transferEncoding: string | null = null
  #upgrade: string | null = null
  #connection = ''
  #expect: string | null = null

  read(text: string, head: RequestHead, target: string, fieldsAt: number): RequestHead | HeadFault {
    this.#text = text
    this.#head = head
    this.#host = null
    this.#contentLength = null
    this.#transferEncoding = null
    this.#upgrade = null
    this.#connection = ''
    this.#expect = null
    const fault = this.#readFields(fieldsAt) ?? this.#framing()
    if (fault !== null) return refuse(fault)
    this.#options()
    if (this.#expect !== null && !this.#head.expectsContinue && head.httpVersionMinor === 1)
      return refuse('An expectation other than 100-continue.', 'expectation_failed')
    if (head.method === 'CONNECT') return refuse('CONNECT is not supported.', 'upgrade_unsupported')
    if (this.#host === null && head.httpVersionMinor === 1) return refuse('The Host field is missing.')
    const line = screenTarget(target, this.#host ?? '', head.method)
    if (line.fault !== null) return refuse(line.fault)
    head.authority = line.authority
    head.hostname = line.hostname
    head.target = line.target
    head.path = line.path
    // As it came, if that is what we would write.
    const same = head.httpVersionMinor === 1 && line.target === target
    head.line = same ? text.slice(0, fieldsAt) : `${head.method} ${line.target} HTTP/1.1\r\n`
    return head
  }

  /** Runs of lines that pass are taken as one piece. */
  #readFields(fieldsAt: number): string | null {
    const text = this.#text
    let runStart = fieldsAt
    let kept = ''
    scanner.start(text, fieldsAt)
    for (;;) {
      const result: ScanResult = scanner.next(requestFieldsMax)
      if (result === 'field') {
        if (scanner.kind === Field.plain) continue
        if (scanner.kind === Field.cookie) {
          const value = scanner.value()
          const before = this.#head.cookie
          this.#head.cookie = before === undefined ? value : `${before}; ${value}`
          continue
        }
        if (runStart < scanner.lineStart) kept += text.slice(runStart, scanner.lineStart)
        runStart = scanner.lineEnd
        const fault = this.#take()
        if (fault !== null) return fault
      } else if (result === 'end') {
        if (runStart < scanner.lineStart) kept += text.slice(runStart, scanner.lineStart)
        this.#head.kept = kept
        return null
      } else return scanner.fault
    }
  }

  #take(): string | null {
    switch (scanner.kind) {
      case Field.host:
        if (this.#host !== null) return 'More than one Host field.'
        this.#host = scanner.value()
        return null
      case Field.contentLength:
        if (this.#contentLength !== null) return 'More than one Content-Length field.'
        this.#contentLength = scanner.value()
        return null
      case Field.transferEncoding:
        if (this.#transferEncoding !== null) return 'A Transfer-Encoding other than chunked.'
        this.#transferEncoding = scanner.value()
        return null
      case Field.connection:
        this.#connection += `${this.#connection === '' ? '' : ','}${scanner.value()}`
        return null
      case Field.upgrade:
        this.#upgrade = this.#upgrade === null ? scanner.value() : `${this.#upgrade},${scanner.value()}`
        return null
      case Field.expect:
        this.#expect = this.#expect === null ? scanner.value() : `${this.#expect},${scanner.value()}`
        return null
      case Field.te:
        if (/(?:^|[,\s])trailers(?:$|[,;\s])/i.test(scanner.value())) this.#head.takesTrailers = true
        return null
      case Field.forwarding:
        this.#head.forwarded = true
        return null
      case Field.trace:
        this.#head.traced = true
        return null
      default:
        return null
    }
  }

  #framing(): string | null {
    const head = this.#head
    if (this.#transferEncoding === null) {
      if (this.#contentLength === null) return null
      head.length = contentLength(this.#contentLength)
      if (head.length < 0) return 'Content-Length is not a number.'
      if (head.length > 0) head.body = 'length'
      return null
    }
    if (this.#contentLength !== null) return 'Both Content-Length and Transfer-Encoding.'
    if (head.httpVersionMinor === 0) return 'Transfer-Encoding in an HTTP/1.0 request.'
    if (this.#transferEncoding.toLowerCase() !== 'chunked') return 'A Transfer-Encoding other than chunked.'
    head.body = 'chunked'
    return null
  }

  #options(): void {
    const head = this.#head
    head.keepAlive = head.httpVersionMinor === 1
    head.expectsContinue = head.httpVersionMinor === 1 && this.#expect?.toLowerCase() === '100-continue'
    if (this.#connection === '') return
    if (this.#connection === 'keep-alive') head.keepAlive = true
    else if (this.#connection === 'close') head.keepAlive = false
    else this.#readConnection()
  }

  #readConnection(): void {
    const head = this.#head
    let upgrade = false
    let nominated: Set<string> | null = null
    let close = false
    // Not `trim`: it would take more for a blank than HTTP does.
    for (const name of this.#connection.toLowerCase().split(/[ \t]*,[ \t]*/)) {
      if (name === 'close') close = true
      else if (name === 'keep-alive') head.keepAlive = true
      else if (name === 'upgrade') upgrade = true
      else if (name !== '') nominated = (nominated ?? new Set()).add(name)
    }
    if (close) head.keepAlive = false
    head.webSocket =
      upgrade &&
      head.method === 'GET' &&
      head.httpVersionMinor === 1 &&
      head.body === 'none' &&
      this.#upgrade?.toLowerCase() === 'websocket'
    if (nominated !== null) head.kept = withoutNominated(head.kept, nominated)
  }
}

const reader = new HeadReader()

/** The lines without those that a Connection field names; some may not be taken away like that (see `headers.ts`). */
export function withoutNominated(kept: string, nominated: ReadonlySet<string>): string {
  let out = ''
  let at = 0
  while (at < kept.length) {
    const end = kept.indexOf('\r\n', at) + 2
    const name = kept.slice(at, kept.indexOf(':', at)).toLowerCase()
    if (!nominated.has(name) || isEssential(name)) out += kept.slice(at, end)
    at = end
  }
  return out
}

const refuse = (fault: string, code: HeadFault['code'] = 'bad_request'): HeadFault => ({ code, fault })
