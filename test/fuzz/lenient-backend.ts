/**
 * A backend that takes whatever some server in the world would take: bare LF, folded lines, blanks before colons, both framings with
 * either preferred, codings that only look like chunked, sizes in any notation. What a strict proxy sends, it must read like everybody
 * else; if it sees anything more, something was smuggled. Each connection has habits of its own.
 */
import { createServer, type Server, type Socket } from 'node:net'
import { closeServer, listenOn } from '../support/traffic.ts'
import type { Random } from './random.ts'

interface Habits {
  readonly prefers: 'length' | 'coding'
  /** Which of several lengths counts. */
  readonly takes: 'first' | 'last'
  readonly lineFeedEnds: boolean
  readonly folds: boolean
  /** To whom `Content_Length` is a length. */
  readonly dashes: boolean
  /** A length in any notation, and what is behind a number is ignored. */
  readonly anyNumber: boolean
}

export interface LenientRequest {
  readonly method: string
  readonly target: string
  readonly host: string
  readonly body: string
}

/** What one connection said since the last mark. */
export interface Heard {
  bytes: string
  /** When its first byte came, among those of all connections. */
  order: number
  /** Not a whole request yet. */
  pending: string
  closed: boolean
}

export class LenientBackend {
  port = 0
  connections: Heard[] = []
  /** All requests since the last mark, as it understood them. */
  requests: LenientRequest[] = []
  readonly #random: Random
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #order = 0

  constructor(random: Random) {
    this.#random = random
    this.#server = createServer(socket => this.#serve(socket))
  }

  async open(): Promise<void> {
    this.port = await listenOn(this.#server)
  }

  /** What was heard until now is forgotten; connections stay. */
  mark(): void {
    this.requests = []
    this.connections = this.connections.filter(({ closed }) => !closed)
    for (const heard of this.connections) Object.assign(heard, { bytes: '', order: 0 })
    this.#order = 0
  }

  /** No request is in the middle. */
  get settled(): boolean {
    return this.connections.every(({ pending, closed }) => pending === '' || closed)
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await closeServer(this.#server)
  }

  #serve(socket: Socket): void {
    const random = this.#random
    const habits: Habits = {
      prefers: random.pick(['length', 'coding']),
      takes: random.pick(['first', 'last']),
      lineFeedEnds: random.chance(0.7),
      folds: random.chance(0.7),
      dashes: random.chance(0.5),
      anyNumber: random.chance(0.5),
    }
    const heard: Heard = { bytes: '', order: 0, pending: '', closed: false }
    this.connections.push(heard)
    this.#sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => {
      heard.closed = true
      this.#sockets.delete(socket)
    })
    socket.on('data', bytes => {
      const text = bytes.toString('latin1')
      if (heard.bytes === '') heard.order = ++this.#order
      heard.bytes += text
      heard.pending += text
      for (let read = readLeniently(heard.pending, habits); read !== null; ) {
        heard.pending = heard.pending.slice(read.length)
        this.requests.push(read.request)
        socket.write(answerTo(read.request))
        read = readLeniently(heard.pending, habits)
      }
    })
  }
}

function answerTo({ method, target }: LenientRequest): string {
  const body = echoOf(method, target)
  return `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${method === 'HEAD' ? '' : body}`
}

/** The answer's body: what was asked. */
export const echoOf = (method: string, target: string) => JSON.stringify([method, target])

/** One request and the bytes it took; null: more are needed. */
export function readLeniently(
  text: string,
  habits: Habits,
): { request: LenientRequest; length: number } | null {
  const start = /^[\r\n]*/.exec(text)![0].length
  const ending = habits.lineFeedEnds ? /\r?\n\r?\n/ : /\r\n\r\n/
  const end = ending.exec(text.slice(start))
  if (end === null) return null
  const headText = text.slice(start, start + end.index)
  const unfolded = habits.folds ? headText.replace(/\r?\n[ \t]+/g, ' ') : headText
  const [line = '', ...lines] = unfolded.split(habits.lineFeedEnds ? /\r?\n/ : /\r\n/)
  const fields = new Map<string, string[]>()
  for (const one of lines) {
    const colon = one.indexOf(':')
    if (colon === -1) continue
    let name = one.slice(0, colon).trim().toLowerCase()
    if (habits.dashes) name = name.replaceAll('_', '-')
    fields.set(name, [...(fields.get(name) ?? []), one.slice(colon + 1).trim()])
  }
  const [method = '', target = ''] = line.trim().split(/\s+/)
  const bodyAt = start + end.index + end[0].length
  const body = bodyOf(text.slice(bodyAt), fields, habits)
  if (body === null) return null
  const request = { method, target, host: fields.get('host')?.[0] ?? '', body: body.text }
  return { request, length: bodyAt + body.length }
}

function bodyOf(
  text: string,
  fields: ReadonlyMap<string, readonly string[]>,
  { prefers, takes, anyNumber }: Habits,
): { text: string; length: number } | null {
  const lengths = (fields.get('content-length') ?? []).flatMap(value => value.split(','))
  const value = (takes === 'first' ? lengths[0] : lengths.at(-1)) ?? ''
  const length = anyNumber ? Number.parseInt(value, 10) : Number(value)
  const chunked = /chunk/i.test((fields.get('transfer-encoding') ?? []).join())
  const byLength = lengths.length > 0 && length > 0
  if (chunked && !(byLength && prefers === 'length')) return chunksOf(text)
  if (!byLength) return { text: '', length: 0 }
  return text.length >= length ? { text: text.slice(0, length), length } : null
}

function chunksOf(text: string): { text: string; length: number } | null {
  let at = 0
  let body = ''
  for (;;) {
    const line = /^[^\n]*\n/.exec(text.slice(at))
    if (line === null) return null
    at += line[0].length
    const size = Number.parseInt(line[0], 16)
    if (!(size > 0)) break
    if (text.length < at + size) return null
    body += text.slice(at, at + size)
    at += size
    at += /^\r?\n?/.exec(text.slice(at))![0].length
  }
  // Trailers, up to an empty line of any kind.
  const end = /^(?:[^\r\n]+\r?\n)*\r?\n/.exec(text.slice(at))
  return end === null ? null : { text: body, length: at + end[0].length }
}
