/**
 * The server side of TLS of one listener: takes an accepted socket, gives the one that speaks clear text, or nothing. It never listens:
 * a PROXY header may have to be read first, and all protocols of a listener share its one port.
 *
 *   accept ──► handshake ──► secured
 *                  └── failed, or too slow: the connection is closed, and the log knows why
 *
 * New certificates are used by connections that come after them. Those under way keep what they began with.
 */
import { constants, createHash } from 'node:crypto'
import type { Socket } from 'node:net'
import { createSecureContext, createServer, type SecureContext, type Server, type TLSSocket } from 'node:tls'
import type { ListenerTlsConfig } from '../../config/config.ts'
import type { Log } from '../../log.ts'
import type { ListenerMaterial } from './holder.ts'
import type { UseMaterial } from './material.ts'
import { NameIndex } from './names.ts'

/** How long a client may come back with its session instead of a full handshake, and a former client certificate be believed. */
export const sessionSeconds = 3_600
/** Handshakes under way at a time, for one listener of one thread; beyond it connections are closed at once. */
export const handshakesMax = 2_048

export interface TlsTerminator {
  /** Calls `secured` once, when the handshake has ended well. Takes care of the socket if it does not. */
  accept(socket: Socket, secured: (socket: TLSSocket) => void): void
  /** For later connections. */
  renew(tls: ListenerMaterial): void
  /** Handshakes under way. */
  readonly pending: number
  /** Ends the handshakes under way. */
  close(): void
}

interface Pending {
  readonly socket: Socket
  readonly secured: (socket: TLSSocket) => void
}

/** Throws what OpenSSL says of material that it cannot use. */
export function createTlsTerminator(
  config: ListenerTlsConfig,
  { material, ticketKeys }: ListenerMaterial,
  log: Log,
): TlsTerminator {
  const pending = new Map<string, Pending>()
  let names = nameIndex(config, material)
  const server = createServer({
    ...contextOptions(config, material, 0),
    ticketKeys: Buffer.from(ticketKeys),
    ALPNProtocols: [...config.alpn],
    SNICallback: (name, done) => done(null, names.find(name)),
    handshakeTimeout: config.handshakeTimeoutMs,
    requestCert: config.clientAuth !== 'none',
    rejectUnauthorized: config.clientAuth === 'require',
  })
  server.on('secureConnection', socket => {
    // Only this says which connection it was: the server makes its own object for each.
    const key = connectionKey(socket)
    const entry = key === null ? undefined : pending.get(key)
    if (entry === undefined) return void socket.destroy()
    pending.delete(key!)
    socket.on('error', ignore)
    socket.allowHalfOpen = true
    entry.secured(socket)
  })
  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
    log.debug({ peer: socket.remoteAddress, code: error.code ?? error.message }, 'a TLS handshake failed')
    socket.destroy()
  })
  return {
    accept: (socket, secured) => accept(server, pending, { socket, secured }),
    renew: next => {
      const index = nameIndex(config, next.material)
      const context = contextOptions(config, next.material, 0)
      server.setSecureContext({ ...context, ticketKeys: Buffer.from(next.ticketKeys) })
      names = index
    },
    get pending() {
      return pending.size
    },
    close: () => {
      for (const { socket } of [...pending.values()]) socket.destroy()
    },
  }
}

function accept(server: Server, pending: Map<string, Pending>, entry: Pending): void {
  const { socket } = entry
  socket.on('error', ignore)
  const key = connectionKey(socket)
  if (key === null || pending.size >= handshakesMax) return void socket.destroy()
  pending.set(key, entry)
  // Who closes its half in the middle of a handshake has left; the half-closed are waited for only when they have asked something.
  socket.allowHalfOpen = false
  socket.once('close', () => {
    if (pending.get(key) === entry) pending.delete(key)
  })
  server.emit('connection', socket)
}

/** What tells a connection from all others that are open: both ends of it. Null: it is closed already. */
function connectionKey({ remoteAddress, remotePort, localAddress, localPort }: Socket): string | null {
  if (remoteAddress === undefined || localAddress === undefined) return null
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`
}

/** A context for each certificate. `undefined` stands for the first, which the server has of its own. */
function nameIndex(config: ListenerTlsConfig, material: UseMaterial): NameIndex<SecureContext | undefined> {
  return new NameIndex(
    material.certificates.map(({ names }, i) => ({
      names,
      value: i === 0 ? undefined : createSecureContext(contextOptions(config, material, i)),
    })),
  )
}

function contextOptions(config: ListenerTlsConfig, material: UseMaterial, index: number) {
  const { cert, key } = material.certificates[index]!
  return {
    cert,
    key,
    ...(material.authorities === null ? {} : { ca: material.authorities }),
    minVersion: config.minVersion,
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
    sessionTimeout: sessionSeconds,
    sessionIdContext: sessionContext(config, material),
  }
}

/** A session is not carried to where clients are checked in another way, and ends when the authority is changed. */
function sessionContext({ clientAuth }: ListenerTlsConfig, { authorities }: UseMaterial): string {
  return createHash('sha256').update(`tidegate ${clientAuth} ${authorities}`).digest('hex').slice(0, 32)
}

const ignore = () => {}
