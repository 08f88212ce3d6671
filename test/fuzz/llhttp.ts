/** Node's own parser as a second opinion: a real `node:http` server and client, each at the end of a pipe instead of a socket. */
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'

export interface NodeRequest {
  readonly method: string
  readonly url: string
  readonly minor: number
  readonly fields: readonly (readonly [string, string])[]
  readonly body: string
  readonly trailers: readonly (readonly [string, string])[]
}

export interface NodeReading {
  /** Requests with their whole body, in order. */
  readonly requests: readonly NodeRequest[]
  /** The error code that ended it; null: none. */
  readonly fault: string | null
}

/** One end of a pipe that gives `input` and then ends; what is written to it is thrown away. */
class Pipe extends Duplex {
  constructor(input: string) {
    super()
    if (input !== '') this.push(Buffer.from(input, 'latin1'))
    this.push(null)
  }
  override _read(): void {}
  override _write(_chunk: unknown, _encoding: string, done: () => void): void {
    done()
  }
  setTimeout(): this {
    return this
  }
  setNoDelay(): this {
    return this
  }
  setKeepAlive(): this {
    return this
  }
  ref(): this {
    return this
  }
  unref(): this {
    return this
  }
  destroySoon(): void {
    this.destroy()
  }
}

const settings = { insecureHTTPParser: false, requireHostHeader: true, maxHeaderSize: 16 * 1024 }

export class NodeServer {
  readonly #server = createServer(settings)
  readonly #readings = new WeakMap<object, { requests: NodeRequest[]; fault: string | null }>()

  constructor() {
    const take = (request: IncomingMessage, response: ServerResponse) => this.#take(request, response)
    this.#server.maxHeadersCount = 0
    this.#server.on('request', take)
    this.#server.on('checkContinue', (request, response) => {
      response.writeContinue()
      take(request, response)
    })
    this.#server.on('checkExpectation', take)
    this.#server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
      const reading = this.#readings.get(socket)
      if (reading !== undefined) reading.fault ??= error.code ?? error.message
      // Whole requests before the fault still report their end.
      setImmediate(() => setImmediate(() => socket.destroy()))
    })
  }

  read(text: string): Promise<NodeReading> {
    const pipe = new Pipe(text)
    const reading = { requests: [] as NodeRequest[], fault: null as string | null }
    this.#readings.set(pipe, reading)
    return new Promise(resolve => {
      pipe.on('error', () => {})
      pipe.on('close', () => resolve(reading))
      this.#server.emit('connection', pipe)
    })
  }

  #take(request: IncomingMessage, response: ServerResponse): void {
    const reading = this.#readings.get(request.socket)
    let body = ''
    request.setEncoding('latin1')
    request.on('error', () => {})
    request.on('data', text => {
      body += text
    })
    request.on('end', () => {
      const { method = '', url = '', httpVersionMinor: minor, rawHeaders, rawTrailers } = request
      const fields = pairs(rawHeaders)
      reading?.requests.push({ method, url, minor, fields, body, trailers: pairs(rawTrailers) })
    })
    response.on('error', () => {})
    response.setHeader('Content-Length', 0)
    response.end()
  }
}

export interface NodeAnswer {
  readonly status: number
  readonly fields: readonly (readonly [string, string])[]
  readonly body: string
}

/** What Node's client makes of an answer; null: it refuses it, or it is not whole. */
export function nodeReadsAnswer(text: string, method: string): Promise<NodeAnswer | null> {
  return new Promise(resolve => {
    const pipe = new Pipe(text)
    const request = httpRequest({
      method,
      createConnection: () => pipe as unknown as Socket,
      maxHeaderSize: 64 * 1024,
      insecureHTTPParser: false,
    })
    // A whole answer still reports its end when what is behind it is a fault, or when the connection ends with it.
    const none = () => setImmediate(() => setImmediate(() => resolve(null)))
    request.on('error', none)
    request.on('close', none)
    request.on('upgrade', () => resolve(null))
    request.on('response', response => {
      let body = ''
      response.setEncoding('latin1')
      response.on('data', text => {
        body += text
      })
      response.on('error', none)
      response.on('end', () => {
        if (!response.complete) return resolve(null)
        resolve({ status: response.statusCode!, fields: pairs(response.rawHeaders), body })
      })
    })
    request.end()
  })
}

function pairs(raw: readonly string[]): [string, string][] {
  const out: [string, string][] = []
  for (let i = 0; i + 1 < raw.length; i += 2) out.push([raw[i]!.toLowerCase(), raw[i + 1]!])
  return out
}
