/**
 * Header and trailer fields, line by line, as RFC 9112 §5 has them and with nothing of its leniency: a name is a token right before
 * its colon, a line ends in CR LF, no line is folded, a value holds no control character but the tab. @pure
 *
 * The text is latin1, one character a byte. The scanner allocates nothing: it says where the parts of the line are.
 */
import { failoverHeader, isFieldAlias } from '../headers.ts'

/** What a field is to a proxy. Everything that is not named here passes as it is. */
export const Field = {
  plain: 0,
  /** For the next hop only (RFC 9110 §7.6.1). */
  hop: 1,
  connection: 2,
  host: 3,
  contentLength: 4,
  transferEncoding: 5,
  upgrade: 6,
  te: 7,
  expect: 8,
  /** About earlier hops: written anew by whoever is trusted. */
  forwarding: 9,
  cookie: 10,
  /** Another spelling of one of the above (`x_forwarded_for`, `x.real.ip`) that some applications take for it. */
  alias: 11,
  /** W3C trace context: written anew where we take part. */
  trace: 12,
  /** For the next hop: how long the other end keeps the connection. */
  keepAlive: 13,
} as const
export type FieldKind = (typeof Field)[keyof typeof Field]

const kinds = new Map<string, FieldKind>([
  ['connection', Field.connection],
  ['keep-alive', Field.keepAlive],
  ['proxy-connection', Field.hop],
  ['proxy-authenticate', Field.hop],
  ['proxy-authorization', Field.hop],
  ['trailer', Field.hop],
  ['http2-settings', Field.hop],
  ['host', Field.host],
  ['content-length', Field.contentLength],
  ['transfer-encoding', Field.transferEncoding],
  ['upgrade', Field.upgrade],
  ['te', Field.te],
  ['expect', Field.expect],
  ['cookie', Field.cookie],
  ['forwarded', Field.forwarding],
  ['via', Field.forwarding],
  ['x-real-ip', Field.forwarding],
  [failoverHeader, Field.forwarding],
  ['traceparent', Field.trace],
  ['tracestate', Field.trace],
])
const longestKnown = 19
const letterX = 23

/** For each length: the first letters of the known names, one bit a letter. Most fields are told from the known ones by this alone. */
const firstLetters = new Uint32Array(longestKnown + 1)
const candidates: { readonly name: string; readonly kind: FieldKind }[][] = []
for (const [name, kind] of kinds) {
  firstLetters[name.length]! |= 1 << (name.charCodeAt(0) - 97)
  candidates[name.length] ??= []
  candidates[name.length]!.push({ name, kind })
}

/** What a byte may be in a name: 0 nothing, 1 a token character (RFC 9110 §5.6.2), 2 one that some take for a dash. */
const nameByte = new Uint8Array(256)
for (const char of '-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ')
  nameByte[char.charCodeAt(0)] = 1
for (const char of "!#$%&'*+.^_`|~") nameByte[char.charCodeAt(0)] = 2

/** 1: may be in a value (RFC 9110 §5.5: visible, blank, tab, obs-text). */
const valueByte = new Uint8Array(256)
valueByte.fill(1, 0x20, 0x7f)
valueByte.fill(1, 0x80)
valueByte[0x09] = 1

const tab = 0x09
const blank = 0x20

export function isToken(text: string, from: number, to: number): boolean {
  if (to <= from) return false
  for (let i = from; i < to; i++) if (nameByte[text.charCodeAt(i)] === 0) return false
  return true
}

export type ScanResult = 'field' | 'end' | 'fault'

export class FieldScanner {
  #text = ''
  #pos = 0
  #count = 0
  kind: FieldKind = Field.plain
  /** Where the line begins, and the first character after its CR LF. */
  lineStart = 0
  lineEnd = 0
  nameEnd = 0
  valueStart = 0
  valueEnd = 0
  /** For people; set by a `fault`. */
  fault = ''

  /** Fields begin at `pos`; the text holds the blank line that ends them. */
  start(text: string, pos: number): void {
    this.#text = text
    this.#pos = pos
    this.#count = 0
  }

  name(): string {
    return this.#text.slice(this.lineStart, this.nameEnd)
  }

  value(): string {
    return this.#text.slice(this.valueStart, this.valueEnd)
  }

  next(fieldsMax: number): ScanResult {
    const text = this.#text
    const start = this.#pos
    const eol = text.indexOf('\r\n', start)
    if (eol === start) {
      this.lineStart = start
      this.lineEnd = start + 2
      return 'end'
    }
    if (eol === -1) return this.#fail('The head does not end.')
    if (++this.#count > fieldsMax) return this.#fail(`More than ${fieldsMax} fields.`)
    const nameEnd = this.#scanName(start, eol)
    if (nameEnd === -1) return 'fault'
    let from = nameEnd + 1
    while (from < eol && isBlank(text.charCodeAt(from))) from++
    for (let i = from; i < eol; i++)
      if (valueByte[text.charCodeAt(i)] === 0) return this.#fail('A control character in a field value.')
    let to = eol
    while (to > from && isBlank(text.charCodeAt(to - 1))) to--
    this.lineStart = start
    this.nameEnd = nameEnd
    this.valueStart = from
    this.valueEnd = to
    this.lineEnd = eol + 2
    this.#pos = eol + 2
    return 'field'
  }

  /** The place of the colon, with `kind` set; -1 after a fault. */
  #scanName(start: number, eol: number): number {
    const text = this.#text
    let i = start
    let odd = false
    for (;;) {
      const byte = i < eol ? nameByte[text.charCodeAt(i)]! : 0
      if (byte === 0) break
      if (byte === 2) odd = true
      i++
    }
    if (i === start || i === eol || text.charCodeAt(i) !== 0x3a) {
      this.#fail('A line that is not a header field.')
      return -1
    }
    this.kind = odd ? this.#aliasKind(start, i) : this.#kindOf(start, i)
    return i
  }

  #kindOf(start: number, end: number): FieldKind {
    const length = end - start
    const first = (this.#text.charCodeAt(start) | 0x20) - 97
    const known = length <= longestKnown && first >= 0 && first < 26 && (firstLetters[length]! >> first) & 1
    if (!known && !(first === letterX && length > 10)) return Field.plain
    if (known) {
      for (const candidate of candidates[length]!)
        if (this.#isName(candidate.name, start)) return candidate.kind
    }
    const ours =
      first === letterX && (this.#isName('x-forwarded-', start) || this.#isName('x-tidegate-', start))
    return ours ? Field.forwarding : Field.plain
  }

  /** The text has this name (lower case) there, or one that begins with it, in whatever case. The bytes are token characters. */
  #isName(name: string, start: number): boolean {
    for (let i = 0; i < name.length; i++)
      if ((this.#text.charCodeAt(start + i) | 0x20) !== name.charCodeAt(i)) return false
    return true
  }

  #aliasKind(start: number, end: number): FieldKind {
    return isFieldAlias(this.#text.slice(start, end).toLowerCase()) ? Field.alias : Field.plain
  }

  #fail(fault: string): 'fault' {
    this.fault = fault
    return 'fault'
  }
}

/** Of a Content-Length, in bytes: up to fifteen digits and nothing else (RFC 9110 §8.6). -1: it is none. */
export function contentLength(value: string): number {
  if (value.length === 0 || value.length > 15) return -1
  let length = 0
  for (let i = 0; i < value.length; i++) {
    const digit = value.charCodeAt(i) - 0x30
    if (digit < 0 || digit > 9) return -1
    length = length * 10 + digit
  }
  return length
}

const isBlank = (code: number) => code === blank || code === tab
