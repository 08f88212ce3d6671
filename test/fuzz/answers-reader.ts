/** Reads what a client got, strictly: whole answers one after another, and how it ended. Apart from `lib`. */

export interface SeenAnswer {
  readonly status: number
  readonly fields: readonly (readonly [string, string])[]
  readonly body: string
  readonly trailers: readonly (readonly [string, string])[]
  /** Nothing may follow it. */
  readonly last: boolean
}

export interface AnswersRead {
  readonly answers: readonly SeenAnswer[]
  /** What follows the last whole answer; it may be the beginning of another. */
  readonly rest: string
  /** What is read is no answer; null: no fault. */
  readonly fault: string | null
}

/** `methods`: of the requests, in order. `ended`: the connection is over, cleanly. `max`: so many answers and no more. */
export function readAnswers(
  text: string,
  methods: readonly string[],
  ended: boolean,
  max = Number.POSITIVE_INFINITY,
): AnswersRead {
  const answers: SeenAnswer[] = []
  let at = 0
  for (;;) {
    const over = (fault: string | null): AnswersRead => ({ answers, rest: text.slice(at), fault })
    if (answers.at(-1)?.last) return over(at < text.length ? 'bytes after the last answer' : null)
    const end = answers.length < max ? text.indexOf('\r\n\r\n', at) : -1
    if (end === -1) return over(null)
    const head = readHead(text.slice(at, end))
    if (typeof head === 'string') return over(head)
    if (head.status < 200) {
      at = end + 4
      continue
    }
    const body = readBody(text.slice(end + 4), head, methods[answers.length] ?? 'GET', ended)
    if (body === null) return over(null)
    if (typeof body === 'string') return over(body)
    const { keepAlive, ...seen } = head
    answers.push({
      ...seen,
      body: body.text,
      trailers: body.trailers,
      last: !keepAlive || body.length === null,
    })
    if (body.length === null) return { answers, rest: '', fault: null }
    at = end + 4 + body.length
  }
}

interface Head extends Pick<SeenAnswer, 'status' | 'fields'> {
  readonly keepAlive: boolean
}

function readHead(text: string): Head | string {
  const [line = '', ...lines] = text.split('\r\n')
  const parts = /^HTTP\/1\.1 (\d{3}) [\t\x20-\x7e\x80-\xff]*$/.exec(line)
  if (parts === null) return `not a status line: ${line.slice(0, 100)}`
  const fields: [string, string][] = []
  for (const one of lines) {
    const field = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*$/.exec(one)
    if (field === null) return `not a field: ${one.slice(0, 100)}`
    fields.push([field[1]!.toLowerCase(), field[2]!])
  }
  const options = fields.filter(([name]) => name === 'connection').map(([, value]) => value.toLowerCase())
  return { status: Number(parts[1]), fields, keepAlive: !options.includes('close') }
}

interface Body {
  readonly text: string
  readonly trailers: readonly (readonly [string, string])[]
  /** Null: up to the end of the connection. */
  readonly length: number | null
}

function readBody(
  text: string,
  { status, fields }: Head,
  method: string,
  ended: boolean,
): Body | string | null {
  const lengths = fields.filter(([name]) => name === 'content-length')
  const codings = fields.filter(([name]) => name === 'transfer-encoding')
  if (lengths.length + codings.length > 1) return 'framed in more than one way'
  if (method === 'HEAD' || status === 204 || status === 304) {
    if (codings.length > 0) return 'a coding without a body'
    return { text: '', trailers: [], length: 0 }
  }
  if (codings.length > 0) return codings[0]![1] === 'chunked' ? readChunks(text) : 'an unknown coding'
  if (lengths.length === 0) return ended ? { text, trailers: [], length: null } : null
  if (!/^\d+$/.test(lengths[0]![1])) return 'a length that is no number'
  const length = Number(lengths[0]![1])
  return text.length < length ? null : { text: text.slice(0, length), trailers: [], length }
}

/** As we write them ourselves: no extensions, no zeros before a size. */
function readChunks(text: string): Body | string | null {
  let at = 0
  let body = ''
  for (;;) {
    const end = text.indexOf('\r\n', at)
    if (end === -1) return text.length - at > 20 ? 'a chunk size without end' : null
    const digits = text.slice(at, end)
    if (!/^(?:0|[1-9a-f][0-9a-f]{0,7})$/.test(digits))
      return `a chunk size like ${JSON.stringify(digits.slice(0, 20))}`
    const size = Number.parseInt(digits, 16)
    at = end + 2
    if (size === 0) break
    if (text.length < at + size + 2) return null
    body += text.slice(at, at + size)
    at += size
    if (text.slice(at, at + 2) !== '\r\n') return 'a chunk longer than its size'
    at += 2
  }
  const trailers: [string, string][] = []
  for (;;) {
    const end = text.indexOf('\r\n', at)
    if (end === -1) return null
    const line = text.slice(at, end)
    at = end + 2
    if (line === '') return { text: body, trailers, length: at }
    const colon = line.indexOf(': ')
    if (colon < 1) return 'not a trailer'
    trailers.push([line.slice(0, colon).toLowerCase(), line.slice(colon + 2)])
  }
}
