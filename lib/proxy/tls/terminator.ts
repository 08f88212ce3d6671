/**
 * The server side of TLS of one listener: takes an accepted socket, gives the one that speaks clear text, or nothing. It never listens:
 * a PROXY header may have to be read first, and all protocols of a listener share its one port.
 *
 *   accept ──► handshake ──► secured
 *                  └── failed, or too slow: the connection is closed, counted, and the log says why: the first at once, others
 *                      with how many they were, once in a while
 *
 * New certificates are used by connections that come after them. Those under way keep what they began with.
 */
import { constants, createHash } from 'node:crypto'
import type { Socket } from 'node:net'
import { createSecureContext, createServer, type SecureContext, type Server, type TLSSocket } from 'node:tls'
import type { Clock } from '../../clock.ts'
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

export interface TerminatorDeps {
  readonly log: Log
  readonly clock: Clock
  /** Called for each handshake that did not end well. */
  readonly failed: () => void
}

/** Anybody can fail as often as they like: the log hears of it this often. */
const failureLogMs = 10_000

class FailureLog {
  readonly #log: Log
  readonly #clock: Clock
  #count = 0
  #toldAt = Number.NEGATIVE_INFINITY

  constructor(log: Log, clock: Clock) {
    this.#log = log
    this.#clock = clock
  }

  note(peer: string, code: string): void {
    this.#log.debug({ peer, code }, 'a TLS handshake failed')
    this.#count++
    const nowMs = this.#clock.monotonic()
    if (nowMs - this.#toldAt < failureLogMs) return
    this.#log.info({ failed: this.#count, peer, code }, 'TLS handshakes failed; this is the last of them')
    this.#toldAt = nowMs
    this.#count = 0
  }
}

interface Pending {
  readonly socket: Socket
  readonly secured: (socket: TLSSocket) => void
}

/** Throws what OpenSSL says of material that it cannot use. */
export function createTlsTerminator(
  config: ListenerTlsConfig,
  { material, ticketKeys }: ListenerMaterial,
  { log, clock, failed }: TerminatorDeps,
): TlsTerminator {
  const failures = new FailureLog(log, clock)
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
    failed()
    failures.note(socket.remoteAddress ?? '', error.code ?? error.message)
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
