/**
 * One address that traffic comes in on: a strict `node:http` server that turns each request into an exchange. It routes nothing and
 * answers only what is not a request at all.
 */
import {
  createServer,
  type Server as HttpServer,
  type IncomingMessage,
  type ServerResponse as Response,
  ServerResponse,
} from 'node:http'
import { type AddressInfo, Server as NetServer, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { ListenerConfig } from '../config/config.ts'
import { type ErrorCode, TidegateError } from '../errors.ts'
import { Deadlines } from './deadlines.ts'
import { type Arrival, Entrance } from './entrance.ts'
import { type DataPlaneContext, Exchange } from './exchange.ts'
import { ClientConnection } from './forward/relay/client-connection.ts'
import { H2Connections } from './h2/connections.ts'
import {
  clientKeepAliveMs,
  connectionsCheckMs,
  earlyBytesMax,
  requestHeadBytesMax,
  requestHeadTimeoutMs,
} from './limits.ts'
import { NodeClient } from './node-client.ts'
import { replyRaw } from './reply.ts'
import type { TlsHolder } from './tls/holder.ts'
import { WaitingClient } from './tunnel.ts'

export interface Listener {
  readonly host: string
  /** The real one, where the configuration said 0. */
  readonly port: number
  /** Stops accepting. What is under way goes on; each later answer ends its connection. */
  stop(): void
  /** There are other certificates or ticket keys; for later connections. */
  renewTls(): void
  /** Closes client connections that carry no request now. */
  closeIdle(): void
  exchanges(): number
  /** Closes everything now but tunnels. */
  destroy(): void
}

export interface ListenerOptions {
  readonly reusePort: boolean
  /** Needed where `config.tls` is. */
  readonly tls?: TlsHolder
}

/** Rejects with `port_in_use`, or `invalid_config` for an address that cannot be used. */
export async function openListener(
  config: ListenerConfig,
  context: DataPlaneContext,
  options: ListenerOptions,
): Promise<Listener> {
  return (config.engine ?? 'relay') === 'relay'
    ? openRelayListener(config, context, options)
    : openNodeListener(config, context, options)
}

/** The relay's connections, each of which reads its own requests. */
async function openRelayListener(
  config: ListenerConfig,
  context: DataPlaneContext,
  options: ListenerOptions,
): Promise<Listener> {
  const connections = new Set<ClientConnection>()
  const state = { context, deadlines: new Deadlines(context.clock), connections, stopped: false }
  const http2 = new H2Connections(context)
  const entrance = openEntrance(config, context, options, arrival => {
    if (arrival.protocol === 'h2') http2.accept(arrival)
    else connections.add(new ClientConnection(arrival, state))
  })
  const server = new NetServer({ allowHalfOpen: true, noDelay: true })
  server.on('connection', socket => entrance.accept(socket))
  await listen(server, config, options.reusePort)
  const { address, port } = server.address() as AddressInfo
  const stop = () => {
    if (state.stopped) return
    state.stopped = true
    server.close()
    http2.leave()
  }
  return {
    host: address,
    port,
    stop,
    renewTls: () => entrance.renewTls(),
    closeIdle: () => {
      entrance.close()
      for (const connection of connections) if (connection.idle) connection.destroy()
    },
    exchanges: () => [...connections].filter(connection => connection.busy).length + http2.exchanges,
    destroy: () => {
      stop()
      entrance.close()
      http2.destroy()
      for (const connection of connections) connection.destroy()
    },
  }
}

function openEntrance(
  config: ListenerConfig,
  context: DataPlaneContext,
  { tls }: ListenerOptions,
  arrived: (arrival: Arrival) => void,
): Entrance {
  return new Entrance(config, { context, tls: tls ?? null, arrived })
}

/** The same on `node:http`, for the engine that wants its requests and responses. */
async function openNodeListener(
  config: ListenerConfig,
  context: DataPlaneContext,
  options: ListenerOptions,
): Promise<Listener> {
  const state: State = { context, exchanges: 0, stopped: false, arrivals: new WeakMap() }
  const server = createServer({
    insecureHTTPParser: false,
    requireHostHeader: true,
    maxHeaderSize: requestHeadBytesMax,
    headersTimeout: requestHeadTimeoutMs,
    // A whole upload may take long; what is bounded is silence within it (the engine's deadlines).
    requestTimeout: 0,
    connectionsCheckingInterval: connectionsCheckMs,
    keepAliveTimeout: clientKeepAliveMs,
    noDelay: true,
    shouldUpgradeCallback: wantsWebSocket,
  })
  server.on('request', (request, response) => serve(state, request, response, false))
  server.on('checkContinue', (request, response) => serve(state, request, response, true))
  server.on('upgrade', (request, socket, head) => upgrade(state, request, socket as Socket, head))
  server.on('connect', (_request, socket) => refuseConnect(state, socket))
  server.on('clientError', (error, socket) => refuseMalformed(state, error, socket as Socket))
  const http2 = new H2Connections(context)
  const entrance = divertConnections(server, config, options, state, http2)
  await listen(server, config, options.reusePort)
  const { address, port } = server.address() as AddressInfo
  return {
    host: address,
    port,
    renewTls: () => entrance.renewTls(),
    stop: () => {
      state.stopped = true
      http2.leave()
      // Not `server.close()`: that one also cuts kept connections on which a request may just be coming.
      NetServer.prototype.close.call(server)
    },
    closeIdle: () => {
      entrance.close()
      server.closeIdleConnections()
    },
    exchanges: () => state.exchanges + http2.exchanges,
    destroy: () => {
      state.stopped = true
      entrance.close()
      http2.destroy()
      server.close()
      server.closeAllConnections()
    },
  }
}

/** Connections go through the entrance first; the server gets those that have arrived and speak HTTP/1.1. */
function divertConnections(
  server: HttpServer,
  config: ListenerConfig,
  options: ListenerOptions,
  state: State,
  http2: H2Connections,
): Entrance {
  const [serveHttp1] = server.listeners('connection') as [(socket: Socket) => void]
  const entrance = openEntrance(config, state.context, options, arrival => {
    if (arrival.protocol === 'h2') return http2.accept(arrival)
    state.arrivals.set(arrival.socket, arrival)
    serveHttp1.call(server, arrival.socket)
  })
  server.removeAllListeners('connection')
  server.on('connection', socket => entrance.accept(socket))
  return entrance
}

/**
 * Rejects with `port_in_use` when anybody listens there. A listener that shares its port would join a stranger's in silence, and
 * each would get some of the other's connections.
 */
export async function requireFreePort(config: ListenerConfig): Promise<void> {
  if (config.port === 0) return
  const probe = new NetServer()
  await listen(probe, config, false)
  await new Promise(resolve => probe.close(resolve))
}

interface State {
  readonly context: DataPlaneContext
  exchanges: number
  stopped: boolean
  /** How each open connection came. */
  readonly arrivals: WeakMap<Socket, Arrival>
}

function serve(state: State, request: IncomingMessage, response: Response, expectsContinue: boolean): void {
  if (state.stopped) response.shouldKeepAlive = false
  exchange(state, request, response, expectsContinue, null)
}

/** The answer to an upgrade, if it is not 101, goes through a response like any other. */
function upgrade(state: State, request: IncomingMessage, socket: Socket, head: Buffer): void {
  const waiting = new WaitingClient(socket, head, earlyBytesMax)
  const response = new ServerResponse(request)
  response.shouldKeepAlive = false
  response.assignSocket(socket)
  // The server does these two for its own responses; the socket is no longer the server's.
  socket.on('drain', () => response.emit('drain'))
  response.once('finish', () => socket.destroySoon())
  exchange(state, request, response, false, waiting)
}

function exchange(
  state: State,
  request: IncomingMessage,
  response: Response,
  expectsContinue: boolean,
  waiting: WaitingClient | null,
): void {
  state.exchanges++
  const { tunnels, clock } = state.context
  const client = new NodeClient({
    request,
    response,
    expectsContinue,
    waiting,
    arrival: state.arrivals.get(request.socket)!,
    tunnels,
    clock,
  })
  const one = new Exchange(state.context, client)
  // The one event that comes whatever happens: after the answer was sent, or when the client is gone.
  response.once('close', () => {
    state.exchanges--
    one.closed(response.writableFinished)
  })
  one.begin()
}

/**
 * Only a clean WebSocket handshake is an upgrade (RFC 6455 §4.1). Anything else that names one (`h2c`, a body with it) is served
 * as the plain request it also is.
 */
function wantsWebSocket(request: IncomingMessage): boolean {
  const { headers } = request
  return (
    request.method === 'GET' &&
    request.httpVersionMinor === 1 &&
    headers.upgrade?.toLowerCase() === 'websocket' &&
    headers['transfer-encoding'] === undefined &&
    (headers['content-length'] ?? '0') === '0'
  )
}

function refuseConnect(state: State, socket: Duplex): void {
  socket.on('error', () => {})
  replyRaw(socket as Socket, 'upgrade_unsupported', 'CONNECT is not supported.', state.context.clock)
}

const refused = new WeakSet<Socket>()

/** What the parser refused, and heads that did not come in time. */
function refuseMalformed(state: State, error: NodeJS.ErrnoException, socket: Socket): void {
  if (refused.has(socket)) return
  refused.add(socket)
  const current = (socket as Socket & { _httpMessage?: Response | null })._httpMessage
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy()
    return
  }
  // In the middle of an answer there is no place for another; what is written of it goes out.
  if (current?.headersSent) return socket.destroySoon()
  replyRaw(socket, malformedCode(error.code), null, state.context.clock)
}

function malformedCode(code: string | undefined): ErrorCode {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return 'headers_too_large'
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return 'payload_too_large'
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return 'request_timeout'
    default:
      return 'bad_request'
  }
}

function listen(server: NetServer, config: ListenerConfig, reusePort: boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException) => reject(listenError(error, config))
    server.once('error', onError)
    server.listen({ host: config.host, port: config.port, reusePort }, () => {
      server.off('error', onError)
      resolve()
    })
  })
}

function listenError(error: NodeJS.ErrnoException, { host, port }: ListenerConfig): TidegateError {
  const where = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
  if (error.code === 'EADDRINUSE') {
    return new TidegateError(
      'port_in_use',
      `${where} is already in use. Stop what listens there (\`ss -ltnp 'sport = :${port}'\` shows it), or choose another address in "listeners".`,
      { details: { host, port }, cause: error },
    )
  }
  return new TidegateError(
    'invalid_config',
    `Cannot listen on ${where} (${error.code}). Choose another address in "listeners".`,
    { details: { host, port }, cause: error },
  )
}
