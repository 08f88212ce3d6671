/**
 * The event stream: `GET /api/v1/events` upgraded to a WebSocket, one JSON event a message, first the kept ones after `?since=`.
 * A client that reads too slowly is closed with 1013 and may come back with the last `seq` it saw; nothing is queued without bound.
 */
import { type IncomingMessage, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { type WebSocket, WebSocketServer } from 'ws'
import type { Clock } from '../lib/clock.ts'
import { errorBody, TidegateError, toTidegateError } from '../lib/errors.ts'
import { check, strict, z } from '../lib/schema.ts'
import { endpoint } from './endpoint.ts'
import { guardHost, guardOrigin } from './guard.ts'
import type { ControlPort } from './ports.ts'
import { eventShape } from './shapes.ts'

export const eventsPath = '/api/v1/events'
const bufferedBytesMax = 1024 * 1024
const clientsMax = 64
const pingEveryMs = 30_000
const closeGraceMs = 1000

const since = z
  .string()
  .regex(/^\d{1,15}$/)
  .optional()
  .meta({ description: 'Sends the kept events with a higher `seq` first; 0 sends all that are kept.' })

/** What a request that does not upgrade gets, and what the OpenAPI document says of the stream. */
export const eventEndpoints = [
  endpoint({
    id: 'stream_events',
    method: 'GET',
    path: eventsPath,
    summary: 'Every operation step, health change, drain and generation, as a WebSocket',
    query: strict({ since }),
    answers: { 101: { description: 'Each message is one event.', shape: eventShape } },
    errors: ['upgrade_required', 'forbidden'],
    handle: () => {
      throw new TidegateError('upgrade_required', `Connect to ${eventsPath} with a WebSocket client.`)
    },
  }),
]

export interface EventStreamOptions {
  readonly host: string
  readonly clock: Clock
  /** Bytes a client may be behind before it is closed. */
  readonly bufferedBytesMax?: number
}

export class EventStream {
  readonly #control: ControlPort
  readonly #options: EventStreamOptions
  readonly #server = new WebSocketServer({ noServer: true, maxPayload: 1024, perMessageDeflate: false })
  readonly #alive = new WeakSet<WebSocket>()
  readonly #stopPings: () => void

  constructor(control: ControlPort, options: EventStreamOptions) {
    this.#control = control
    this.#options = options
    this.#stopPings = options.clock.every(pingEveryMs, () => this.#ping())
  }

  /** Takes over the socket of an upgrade request, or answers it with an error. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', () => socket.destroy())
    try {
      const from = this.#admit(request)
      this.#server.handleUpgrade(request, socket, head, client => this.#serve(client, from))
    } catch (error) {
      refuseUpgrade(socket, toTidegateError(error))
    }
  }

  /** Tells every client to come back later, then ends those that do not listen. */
  async close(): Promise<void> {
    this.#stopPings()
    const clients = [...this.#server.clients]
    for (const client of clients) client.close(1001, 'shutting down')
    const gone = Promise.all(clients.map(closed))
    const abort = new AbortController()
    const late = this.#options.clock.sleep(closeGraceMs, abort.signal).catch(() => {})
    await Promise.race([gone, late])
    abort.abort()
    for (const client of clients) client.terminate()
    this.#server.close()
  }

  #admit(request: IncomingMessage): number | undefined {
    const url = new URL(request.url ?? '/', 'http://admin')
    guardHost(request.headers, this.#options.host)
    guardOrigin(request.headers)
    if (url.pathname !== eventsPath)
      throw new TidegateError('unknown_endpoint', `Only ${eventsPath} speaks WebSocket.`)
    if (this.#server.clients.size >= clientsMax)
      throw new TidegateError('too_many_clients', `At most ${clientsMax} clients may listen to events.`)
    const query = check(strict({ since }), Object.fromEntries(url.searchParams))
    if (!query.ok)
      throw new TidegateError('invalid_request', '`since` must be the `seq` of an event: a whole number.')
    return query.value.since === undefined ? undefined : Number(query.value.since)
  }

  #serve(client: WebSocket, from: number | undefined): void {
    const limit = this.#options.bufferedBytesMax ?? bufferedBytesMax
    this.#alive.add(client)
    client.on('pong', () => this.#alive.add(client))
    client.on('error', () => client.terminate())
    const leave = this.#control.subscribe(event => {
      if (client.readyState !== client.OPEN) return
      if (client.bufferedAmount > limit) client.close(1013, 'too slow')
      else client.send(JSON.stringify(event))
    }, from)
    client.on('close', leave)
  }

  #ping(): void {
    for (const client of this.#server.clients) {
      if (!this.#alive.has(client)) client.terminate()
      this.#alive.delete(client)
      if (client.readyState === client.OPEN) client.ping()
    }
  }
}

const closed = (client: WebSocket): Promise<void> =>
  new Promise(resolve => {
    if (client.readyState === client.CLOSED) resolve()
    else client.once('close', () => resolve())
  })

function refuseUpgrade(socket: Duplex, error: TidegateError): void {
  const body = JSON.stringify(errorBody(error))
  const head = [
    `HTTP/1.1 ${error.status} ${STATUS_CODES[error.status] ?? ''}`,
    'Content-Type: application/json; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
  ]
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`)
}
