/** What RFC 9112 and `docs/proxy.md` say of a backend's answer, written plainly and apart from `lib`: the judge of the answer fuzz. */
import { readChunks } from './reference.ts'

type Fields = readonly (readonly [string, string])[]

export type AnswerFault =
  | 'status line'
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
  | 'unasked switch'
  | 'too many interim answers'
  | 'chunks'

export interface AnswerReading {
  /** `cut`: it does not end. */
  readonly outcome: 'whole' | 'cut' | 'fault'
  readonly faults: readonly AnswerFault[]
  /** A head could be passed on. */
  readonly begun: boolean
  readonly status: number
  readonly fields: Fields
  readonly framing: 'none' | 'length' | 'chunked' | 'close'
  readonly body: string
  readonly trailers: Fields
  /** Bytes behind it. */
  readonly more: boolean
}

const headBytesMax = 64 * 1024
const interimsMax = 32

/** `ended`: the connection has, cleanly. */
export function readAnswer(text: string, method: string, ended: boolean): AnswerReading {
  let at = 0
  for (let interims = 0; ; interims++) {
    const end = text.indexOf('\r\n\r\n', at)
    if (end === -1 || end - at > headBytesMax) return unfinished(text.slice(at))
    const head = readHead(text.slice(at, end))
    if (head.faults.length > 0) return { ...nothing, outcome: 'fault', faults: head.faults }
    at = end + 4
    if (head.status === 101) return { ...nothing, outcome: 'fault', faults: ['unasked switch'] }
    if (head.status >= 200) return readBody(text.slice(at), head, method, ended)
    if (interims === interimsMax)
      return { ...nothing, outcome: 'fault', faults: ['too many interim answers'] }
  }
}

const nothing: AnswerReading = {
  outcome: 'cut',
  faults: [],
  begun: false,
  status: 0,
  fields: [],
  framing: 'none',
  body: '',
  trailers: [],
  more: false,
}

function unfinished(text: string): AnswerReading {
  if (text.length >= 5 && !text.startsWith('HTTP/'))
    return { ...nothing, outcome: 'fault', faults: ['status line'] }
  if (text.length > headBytesMax + 3) return { ...nothing, outcome: 'fault', faults: ['head too large'] }
  return nothing
}

interface Head {
  readonly minor: number
  readonly status: number
  readonly fields: Fields
  readonly faults: readonly AnswerFault[]
}

function readHead(text: string): Head {
  const [line = '', ...lines] = text.split('\r\n')
  const faults: AnswerFault[] = []
  const parts = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: [\t\x20-\x7e\x80-\xff]*)?$/.exec(line)
  if (parts === null) return { minor: 1, status: 0, fields: [], faults: ['status line'] }
  const fields: [string, string][] = []
  if (lines.length > 256) faults.push('too many fields')
  for (const one of lines) {
    const field = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*(.*?)[ \t]*$/s.exec(one)
    if (field === null) faults.push('field line')
    else if (/[^\t\x20-\x7e\x80-\xff]/.test(field[2]!)) faults.push('value byte')
    else fields.push([field[1]!.toLowerCase(), field[2]!])
  }
  const minor = Number(parts[1])
  const all = (name: string) => fields.filter(([key]) => key === name).map(([, value]) => value)
  const [lengths, codings] = [all('content-length'), all('transfer-encoding')]
  if (lengths.length > 1) faults.push('two lengths')
  if (codings.length > 1) faults.push('two codings')
  if (lengths.length > 0 && codings.length > 0) faults.push('length and coding')
  if (codings.some(coding => coding.toLowerCase() !== 'chunked')) faults.push('coding')
  if (codings.length > 0 && minor === 0) faults.push('coding in HTTP/1.0')
  if (lengths.some(length => !/^\d{1,15}$/.test(length))) faults.push('length')
  return { minor, status: Number(parts[2]), fields, faults }
}

function readBody(text: string, { status, fields }: Head, method: string, ended: boolean): AnswerReading {
  const length = fields.find(([name]) => name === 'content-length')?.[1]
  const chunked = fields.some(([name]) => name === 'transfer-encoding')
  const seen = { ...nothing, begun: true, status, fields }
  const whole = (framing: AnswerReading['framing'], body: string, more: boolean, trailers: Fields = []) =>
    ({ ...seen, outcome: 'whole', framing, body, more, trailers }) as const
  if (method === 'HEAD' || status === 204 || status === 304) return whole('none', '', text !== '')
  if (chunked) {
    const chunks = readChunks(text)
    const { body } = chunks
    if (chunks.fault !== null)
      return { ...seen, framing: 'chunked', body, outcome: 'fault', faults: ['chunks'] }
    if (chunks.length === null) return { ...seen, framing: 'chunked', body }
    return whole('chunked', body, chunks.length < text.length, chunks.trailers)
  }
  if (length === undefined)
    return ended ? whole('close', text, false) : { ...seen, framing: 'close', body: text }
  const size = Number(length)
  if (text.length < size) return { ...seen, framing: 'length', body: text }
  return whole('length', text.slice(0, size), text.length > size)
}

const forOneHop =
  /^(?:connection|keep-alive|proxy-connection|proxy-authenticate|proxy-authorization|te|trailer|transfer-encoding|upgrade|http2-settings)$/
const notToTakeAway =
  /^(?:host|content-(?:length|type|encoding|range)|cookie|set-cookie|authorization|www-authenticate|cache-control|location|date|sec-.*|forwarded|via|x-real-ip|x-forwarded-.*)$/

/** Those fields that go on to the client, as the tables in `docs/proxy.md` say. A length is framing, and compared as such. */
export function fieldsForClient(fields: Fields): Fields {
  const nominated = fields
    .filter(([name]) => name === 'connection')
    .flatMap(([, value]) => value.toLowerCase().split(/[ \t]*,[ \t]*/))
  return fields.filter(
    ([name]) =>
      !forOneHop.test(name) &&
      name !== 'content-length' &&
      !name.startsWith('x-tidegate-') &&
      (!nominated.includes(name) || notToTakeAway.test(name)),
  )
}
