/**
 * What becomes of the connections of one listener: each request on them is turned into an exchange. It routes nothing, answers only
 * what is not a request at all, and owns no port: connections come from a door, one listener after another.
 */
import {
  createServer,
  type Server as HttpServer,
  type IncomingMessage,
  type ServerResponse as Response,
  ServerResponse,
} from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { ListenerConfig } from '../config/config.ts'
import type { ErrorCode } from '../errors.ts'
import { Deadlines } from './deadlines.ts'
import { type Arrival, Entrance } from './entrance.ts'
import { Exchange } from './exchange.ts'
import type { DataPlaneContext } from './exchanges.ts'
import { ClientConnection } from './forward/relay/client-connection.ts'
import { readTogether } from './forward/relay/shared-read-socket.ts'
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
import { Roster } from './roster.ts'
import { tellRefused } from './telling.ts'
import type { TlsHolder } from './tls/holder.ts'
import { WaitingClient } from './tunnel.ts'

export interface Listener {
  /** Takes over a connection that came in at its door. Never throws. */
  readonly accept: (socket: Socket) => void
  /** No more connections come. What is under way goes on; each later answer ends its connection. */
  stop(): void
  /** There are other certificates or ticket keys; for later connections. */
  renewTls(): void
  /** The last call but `destroy`: closes client connections that carry no request now. */
  closeIdle(): void
  exchanges(): number
  /** Closes everything now but tunnels. */
  destroy(): void
}

/** Throws what OpenSSL says of certificates that it cannot use. `tls`: needed where `config.tls` is. */
export function createListener(
  config: ListenerConfig,
  context: DataPlaneContext,
  tls: TlsHolder | null = null,
): Listener {
  return (config.engine ?? 'relay') === 'relay'
    ? createRelayListener(config, context, tls)
    : createNodeListener(config, context, tls)
}

/** The relay's connections, each of which reads its own requests. */
function createRelayListener(
  config: ListenerConfig,
  context: DataPlaneContext,
  tls: TlsHolder | null,
): Listener {
  const connections = new Roster<ClientConnection>()
  const state = { context, deadlines: new Deadlines(context.clock), connections, stopped: false }
  const http2 = new H2Connections(context)
  const arrived = (arrival: Arrival) => {
    if (arrival.protocol === 'h2') http2.accept(arrival)
    else connections.add(new ClientConnection(arrival, state))
  }
  const entrance = new Entrance(config, { context, tls, arrived })
  const plain = !config.tls && config.protocol !== 'h2c' && config.proxyProtocol !== 'require'
  const stop = () => {
    state.stopped = true
    http2.leave()
  }
  return {
    accept: socket => entrance.accept(plain ? readTogether(socket) : socket),
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

/** The same on `node:http`, for the engine that wants its requests and responses. */
function createNodeListener(
  config: ListenerConfig,
  context: DataPlaneContext,
  tls: TlsHolder | null,
): Listener {
  const state: State = { context, exchanges: 0, stopped: false, arrivals: new WeakMap(), open: new WeakMap() }
  const server = createHttpServer(state)
  const [serveHttp1] = server.listeners('connection') as [(socket: Socket) => void]
  const http2 = new H2Connections(context)
  const arrived = (arrival: Arrival) => {
    if (arrival.protocol === 'h2') return http2.accept(arrival)
    state.arrivals.set(arrival.socket, arrival)
    serveHttp1.call(server, arrival.socket)
  }
  const entrance = new Entrance(config, { context, tls, arrived })
  return {
    accept: socket => entrance.accept(socket),
    renewTls: () => entrance.renewTls(),
    stop: () => {
      state.stopped = true
      http2.leave()
    },
    closeIdle: () => {
      entrance.close()
      // Those without a request; and nobody watches for heads any more.
      server.close()
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

/** It listens nowhere: it is given connections that have arrived and speak HTTP/1.1. */
function createHttpServer(state: State): HttpServer {
  const server = createServer({
    insecureHTTPParser: false,
    // Ours to refuse, so that it is answered and told of like anything else.
    requireHostHeader: false,
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
  // What it does when it listens: from now on it watches its connections for heads that do not come in time.
  server.emit('listening')
  return server
}

interface State {
  readonly context: DataPlaneContext
  exchanges: number
  stopped: boolean
  /** How each open connection came. */
  readonly arrivals: WeakMap<Socket, Arrival>
  /** What each response is the answer of. */
  readonly open: WeakMap<Response, Exchange>
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
  state.open.set(response, one)
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
  const code = malformedCode(error.code)
  const exchange = current ? state.open.get(current) : undefined
  // What comes as a body is none; but one that ends too early is of a client that leaves.
  if (exchange !== undefined && error.code !== 'HPE_INVALID_EOF_STATE')
    return exchange.clientFault(code, null)
  if (exchange === undefined)
    tellRefused(state.context.observer, state.arrivals.get(socket)?.peer ?? '', code)
  replyRaw(socket, code, null, state.context.clock)
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
