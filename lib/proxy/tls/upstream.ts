/**
 * The client side of TLS towards the backends of one cluster: connections, and the sessions that spare later ones a full
 * handshake. Verification is on unless the configuration says otherwise.
 */
import { isIP, type OnReadOpts } from 'node:net'
import {
  type ConnectionOptions,
  connect,
  createSecureContext,
  type SecureContext,
  type TLSSocket,
} from 'node:tls'
import type { Alpn, UpstreamTlsConfig } from '../../config/config.ts'
import type { UseMaterial } from './material.ts'

/** One session each is kept of so many backends. */
const sessionsMax = 1_024

export interface UpstreamTarget {
  readonly host: string
  readonly port: number
}

/** Reads into one buffer instead of a new one for each read (`tls.connect`); its type does not name it. */
export interface Reading {
  readonly onread?: OnReadOpts
}

export class UpstreamTls {
  readonly #config: UpstreamTlsConfig
  readonly #context: SecureContext
  /** The newest session by address and port, the oldest entry first. */
  readonly #sessions = new Map<string, Buffer>()

  /** Throws what OpenSSL says of material that it cannot use. */
  constructor(config: UpstreamTlsConfig, material: UseMaterial) {
    const [pair] = material.certificates
    this.#config = config
    this.#context = createSecureContext({
      ...(material.authorities === null ? {} : { ca: material.authorities }),
      ...(pair ? { cert: pair.cert, key: pair.key } : {}),
      minVersion: 'TLSv1.2',
    })
  }

  /** It may be written to after its `secureConnect`: then the backend is who it should be. `alpn`: the protocol offered to it. */
  connect(target: UpstreamTarget, alpn: Alpn, reading: Reading = {}): TLSSocket {
    const { host, port } = target
    const key = `${host} ${port}`
    const { serverName } = this.#config
    const session = this.#sessions.get(key)
    const options: ConnectionOptions & Reading = {
      ...this.probeOptions(),
      ...reading,
      host,
      port,
      // An address is never asked for (RFC 6066 §3); it is looked for in the certificate all the same.
      servername: serverName ?? (isIP(host) === 0 ? host : ''),
      ALPNProtocols: [alpn],
      ...(session === undefined ? {} : { session }),
    }
    const socket = connect(options)
    socket.setNoDelay(true)
    socket.on('session', fresh => this.#keep(key, fresh))
    return socket
  }

  /** For whoever connects himself and adds the address: health checks. */
  probeOptions(): ConnectionOptions {
    const { serverName, verify } = this.#config
    return {
      secureContext: this.#context,
      rejectUnauthorized: verify,
      ...(serverName === null ? {} : { servername: serverName }),
    }
  }

  #keep(key: string, session: Buffer): void {
    this.#sessions.delete(key)
    if (this.#sessions.size >= sessionsMax) this.#sessions.delete(this.#sessions.keys().next().value!)
    this.#sessions.set(key, session)
  }
}

/** The backend was reached and TLS with it failed: its certificate, or ours, or no common version. */
export function isTlsFailure(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException | null | undefined)?.code ?? ''
  return /^(ERR_(SSL|TLS)_|CERT_|CRL_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|INVALID_(CA|PURPOSE)|HOSTNAME_|PATH_|EPROTO)/.test(
    code,
  )
}
