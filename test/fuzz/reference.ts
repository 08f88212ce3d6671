/**
 * What RFC 9112 and `docs/proxy.md` say of a stream of requests, written as plainly as possible and apart from `lib`: the whole text at
 * once, all faults of a head together. It is the judge of the fuzz tests.
 */

export interface SeenRequest {
  readonly method: string
  /** As it came. */
  readonly rawTarget: string
  /** As it goes on: origin form, or `*`. */
  readonly target: string
  readonly authority: string
  readonly minor: number
  /** Name in lower case and value, in order. */
  readonly fields: readonly (readonly [string, string])[]
  readonly framing: 'none' | 'length' | 'chunked'
  readonly body: string
  readonly trailers: readonly (readonly [string, string])[]
  /** A value may end in one; not everybody knows. */
  readonly tabBehindCoding: boolean
}

/** Why a request is refused. */
export type Fault =
  | 'empty lines'
  | 'bare LF'
  | 'request line'
  | 'method too long'
  | 'version'
  | 'target form'
  | 'target bytes'
  | 'dot segment'
  | 'no host'
  | 'two hosts'
  | 'host'
  | 'field line'
  | 'value byte'
  | 'too many fields'
  | 'head too large'
  | 'two lengths'
  | 'length'
  | 'length and coding'
  | 'two codings'
  | 'coding'
  | 'coding in HTTP/1.0'
  | 'expectation'
  | 'CONNECT'
  | 'chunk size'
  | 'chunk extension'
  | 'chunk end'
  | 'trailer'

export const statusOf = (fault: Fault): number =>
  ({ 'head too large': 431, expectation: 417, CONNECT: 501 })[fault as string] ?? 400

export interface Reading {
  /** Whole requests, in order, up to the first after which the connection ends. */
  readonly requests: readonly SeenRequest[]
  /** The head of one more whose body is not whole, or is not a body. */
  readonly begun: SeenRequest | null
  /** The connection ends behind the last of them, whatever follows. */
  readonly ended: boolean
  /** What is wrong with what follows; empty: nothing follows, or it is not whole. */
  readonly faults: readonly Fault[]
}

const token = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+"

export interface HeadLimits {
  readonly bytes: number
  readonly fields: number
}

/** As a client meets them. */
const documented: HeadLimits = { bytes: 16 * 1024, fields: 200 }
/** With the fields that we add. */
export const behindUs: HeadLimits = { bytes: 18 * 1024, fields: 210 }

export function readRequests(text: string, limits: HeadLimits = documented): Reading {
  const requests: SeenRequest[] = []
  let at = 0
  for (;;) {
    if (text.startsWith('\r\n', at)) at += 2
    if (text.startsWith('\r\n', at)) return { requests, begun: null, ended: false, faults: ['empty lines'] }
    const end = text.indexOf('\r\n\r\n', at)
    if (end === -1 || end - at > limits.bytes)
      return { requests, begun: null, ended: false, faults: unfinished(text.slice(at), limits) }
    const head = readHead(text.slice(at, end), limits)
    if (head.faults.length > 0) return { requests, begun: null, ended: false, faults: head.faults }
    const body = readBody(text.slice(end + 4), head.request)
    if (body.fault !== null) return { requests, begun: head.request, ended: false, faults: [body.fault] }
    if (body.length === null) return { requests, begun: head.request, ended: false, faults: [] }
    requests.push({ ...head.request, body: body.body, trailers: body.trailers })
    if (!head.keepAlive) return { requests, begun: null, ended: true, faults: [] }
    at = end + 4 + body.length
  }
}

/** A head that does not end. */
function unfinished(text: string, limits: HeadLimits): Fault[] {
  const faults: Fault[] = []
  if (text.length > limits.bytes + 3) faults.push('head too large')
  if (/(?:^|[^\r])\n/.test(text)) faults.push('bare LF')
  return faults
}

const noRequest: SeenRequest = {
  method: '',
  rawTarget: '',
  target: '',
  authority: '',
  minor: 1,
  fields: [],
  framing: 'none',
  body: '',
  trailers: [],
  tabBehindCoding: false,
}

function readHead(
  text: string,
  limits: HeadLimits,
): { request: SeenRequest; keepAlive: boolean; faults: Fault[] } {
  const [line = '', ...lines] = text.split('\r\n')
  const faults: Fault[] = []
  const { method, rawTarget, minor } = readLine(line, faults)
  // Nothing sure can be said of the rest.
  if (faults.length > 0 && method === '') return { request: noRequest, keepAlive: false, faults }
  const fields: [string, string][] = []
  if (lines.length > limits.fields) faults.push('too many fields')
  for (const one of lines) {
    const field = new RegExp(`^(${token}):[ \\t]*(.*?)[ \\t]*$`, 's').exec(one)
    if (field === null) faults.push('field line')
    else if (/[^\t\x20-\x7e\x80-\xff]/.test(field[2]!)) faults.push('value byte')
    else fields.push([field[1]!.toLowerCase(), field[2]!])
  }
  const all = (name: string) => fields.filter(([key]) => key === name).map(([, value]) => value)
  const framing = readFraming(all('content-length'), all('transfer-encoding'), minor, faults)
  const expect = all('expect')
  if (minor === 1 && expect.length > 0 && expect.join().toLowerCase() !== '100-continue')
    faults.push('expectation')
  if (method === 'CONNECT') faults.push('CONNECT')
  const { target, authority } = readTarget(method, rawTarget, all('host'), minor, faults)
  const options = all('connection').flatMap(value => value.toLowerCase().split(/[ \t]*,[ \t]*/))
  const keepAlive = !options.includes('close') && (minor === 1 || options.includes('keep-alive'))
  // The lab's backend refuses to switch, and a refused switch ends the connection.
  const upgrade =
    method === 'GET' &&
    minor === 1 &&
    framing === 'none' &&
    options.includes('upgrade') &&
    all('upgrade').join().toLowerCase() === 'websocket'
  const request = {
    method,
    rawTarget,
    target,
    authority,
    minor,
    fields,
    framing,
    body: '',
    trailers: [],
    tabBehindCoding: /^transfer-encoding:.*\t$/im.test(text),
  } as const
  return { request, keepAlive: keepAlive && !upgrade, faults }
}

function readLine(line: string, faults: Fault[]): { method: string; rawTarget: string; minor: number } {
  const parts = new RegExp(`^(${token}) (.*) HTTP/(.*)$`, 's').exec(line)
  if (parts === null) {
    faults.push('request line')
    return { method: '', rawTarget: '/', minor: 1 }
  }
  const [, method = '', rawTarget = '', version = ''] = parts
  if (version !== '1.1' && version !== '1.0') faults.push('version')
  if (method.length > 32) faults.push('method too long')
  return { method, rawTarget, minor: version === '1.0' ? 0 : 1 }
}

function readFraming(
  lengths: string[],
  codings: string[],
  minor: number,
  faults: Fault[],
): SeenRequest['framing'] {
  if (lengths.length > 1) faults.push('two lengths')
  if (codings.length > 1) faults.push('two codings')
  if (lengths.length > 0 && codings.length > 0) faults.push('length and coding')
  if (codings.length > 0 && minor === 0) faults.push('coding in HTTP/1.0')
  if (codings.some(coding => coding.toLowerCase() !== 'chunked')) faults.push('coding')
  if (lengths.some(length => !/^[0-9]{1,15}$/.test(length))) faults.push('length')
  if (codings.length > 0) return 'chunked'
  return lengths.length > 0 && Number(lengths[0]) > 0 ? 'length' : 'none'
}

const authorityPattern =
  /^(?:\[[0-9a-fA-F:.]{2,45}\]|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+)(?::[0-9]{0,5})?$/

function readTarget(
  method: string,
  raw: string,
  hosts: string[],
  minor: number,
  faults: Fault[],
): { target: string; authority: string } {
  if (hosts.length > 1) faults.push('two hosts')
  if (hosts.length === 0 && minor === 1) faults.push('no host')
  if (hosts.some(host => host !== '' && !authorityPattern.test(host))) faults.push('host')
  let authority = hosts[0] ?? ''
  let target = raw
  const url = /^https?:\/\/([^/?]+)(.*)$/is.exec(raw)
  if (url !== null && authorityPattern.test(url[1]!)) {
    authority = url[1]!
    const rest = url[2]!
    target = rest.startsWith('/') ? rest : `/${rest}`
    if (rest === '' && method === 'OPTIONS') target = '*'
  } else if (!raw.startsWith('/') && !(raw === '*' && method === 'OPTIONS')) faults.push('target form')
  if (/[^\x21\x22\x24-\x7e]/.test(target)) faults.push('target bytes')
  const path = target.split('?', 1)[0]!
  const segments = path.split(/[/\\]/).slice(1)
  // A `;` ends a segment too, for some.
  const plain = segments.map(segment => segment.split(';', 1)[0]!.replace(/%2e/gi, '.'))
  if (plain.some(segment => segment === '.' || segment === '..')) faults.push('dot segment')
  return { target, authority }
}

interface Body {
  readonly fault: Fault | null
  /** Bytes it took; null: it is not whole. */
  readonly length: number | null
  readonly body: string
  readonly trailers: readonly (readonly [string, string])[]
}

function readBody(text: string, { framing, fields }: SeenRequest): Body {
  if (framing === 'none') return { fault: null, length: 0, body: '', trailers: [] }
  if (framing === 'chunked') return readChunks(text)
  const length = Number(fields.find(([name]) => name === 'content-length')![1])
  const whole = text.length >= length
  return { fault: null, length: whole ? length : null, body: text.slice(0, length), trailers: [] }
}

const extension = new RegExp(
  `^(?:;${token}(?:=(?:${token}|"(?:[\\t \\x21\\x23-\\x5b\\x5d-\\x7e\\x80-\\xff]|\\\\[\\t \\x21-\\x7e\\x80-\\xff])*"))?)*$`,
)

export function readChunks(text: string): Body {
  let at = 0
  let body = ''
  let extensions = 0
  const over = (
    fault: Fault | null,
    length: number | null = null,
    trailers: [string, string][] = [],
  ): Body => ({
    fault,
    length,
    body,
    trailers,
  })
  for (;;) {
    const lineFeed = text.indexOf('\n', at)
    const line = text.slice(at, lineFeed === -1 ? undefined : lineFeed)
    if (line.length > 256) return over('chunk size')
    if (lineFeed === -1) return over(null)
    if (!line.endsWith('\r')) return over('chunk size')
    const [, digits = '', rest = ''] = /^([0-9a-fA-F]*)(.*)$/s.exec(line.slice(0, -1))!
    if (digits.length < 1 || digits.length > 13) return over('chunk size')
    extensions += rest.length
    if (extensions > 4096 || !extension.test(rest)) return over('chunk extension')
    at = lineFeed + 1
    const size = Number.parseInt(digits, 16)
    if (size === 0) break
    body += text.slice(at, at + size)
    at += size
    const end = text.slice(at, at + 2)
    if (!'\r\n'.startsWith(end)) return over('chunk end')
    if (end.length < 2) return over(null)
    at += 2
  }
  if (text.startsWith('\r\n', at)) return over(null, at + 2)
  const end = text.indexOf('\r\n\r\n', at)
  if ((end === -1 ? text.length : end) - at > 8 * 1024) return over('trailer')
  if (end === -1) return over(null)
  const trailers: [string, string][] = []
  for (const line of text.slice(at, end).split('\r\n')) {
    const field = new RegExp(`^(${token}):[ \\t]*([\\t\\x20-\\x7e\\x80-\\xff]*?)[ \\t]*$`).exec(line)
    if (field === null || trailers.length === 64) return over('trailer')
    trailers.push([field[1]!.toLowerCase(), field[2]!])
  }
  return over(null, end + 4, trailers)
}
