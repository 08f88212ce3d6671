/** Certificates for tests, made by openssl when they are needed: an authority in a folder, and whatever it signs. */
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type CertificateFacts, keyOfListener, keyOfUpstream, readPair } from '../../lib/certificates.ts'
import type { ListenerTlsConfig, UpstreamTlsConfig } from '../../lib/config/config.ts'
import type { TlsMaterial, UseMaterial } from '../../lib/proxy/tls/material.ts'

export interface Pair {
  /** File names. */
  readonly cert: string
  readonly key: string
}

export interface PairOptions {
  readonly subject?: string
  /** As `DNS:localhost,IP:127.0.0.1`. */
  readonly names?: string
  readonly days?: number
}

export class Authority {
  readonly #directory: string
  readonly cert: string
  readonly #key: string

  /** `directory`: an empty folder of the test. */
  constructor(directory: string, name = 'ca') {
    this.#directory = directory
    this.cert = join(directory, `${name}.crt`)
    this.#key = join(directory, `${name}.key`)
    openssl(
      'req',
      '-x509',
      ...newKey,
      '-days',
      '30',
      '-subj',
      `/CN=Test authority ${name}`,
      ...constraints,
      ...['-keyout', this.#key, '-out', this.cert],
    )
  }

  get pem(): string {
    return text(this.cert)
  }

  /** Writes `<file>.crt` and `<file>.key`; over the former ones when they are there. */
  issue(file: string, options: PairOptions = {}): Pair {
    const { subject = `/CN=${file}`, names = 'DNS:localhost,IP:127.0.0.1', days = 30 } = options
    const path = (kind: string) => join(this.#directory, `${file}.${kind}`)
    openssl('req', '-new', ...newKey, '-utf8', '-subj', subject, '-keyout', path('key'), '-out', path('csr'))
    writeFileSync(path('ext'), `subjectAltName=${names}\n`)
    const by = ['-CA', this.cert, '-CAkey', this.#key, '-set_serial', String(++serial)]
    openssl(
      'x509',
      '-req',
      '-in',
      path('csr'),
      ...by,
      '-days',
      String(days),
      '-extfile',
      path('ext'),
      '-out',
      path('crt'),
    )
    return { cert: path('crt'), key: path('key') }
  }
}

let serial = 1000
const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
const constraints = [
  '-addext',
  'basicConstraints=critical,CA:TRUE',
  '-addext',
  'keyUsage=critical,keyCertSign,cRLSign',
]

function openssl(...args: readonly string[]): void {
  execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] })
}

export const text = (file: string) => readFileSync(file, 'latin1')

export const listenerTls = (
  certificates: readonly Pair[],
  over: Partial<ListenerTlsConfig> = {},
): ListenerTlsConfig => ({
  certificates,
  alpn: ['h2', 'http/1.1'],
  minVersion: 'TLSv1.2',
  clientAuth: 'none',
  clientCa: null,
  handshakeTimeoutMs: 5_000,
  ...over,
})

export const upstreamTls = (over: Partial<UpstreamTlsConfig> = {}): UpstreamTlsConfig => ({
  ca: null,
  pair: null,
  serverName: null,
  verify: true,
  ...over,
})

/** What the keeper would have read for these. */
export function materialOf(
  listeners: readonly ListenerTlsConfig[],
  upstreams: readonly UpstreamTlsConfig[] = [],
  ticketKeys: Uint8Array = new Uint8Array(48).fill(3),
): TlsMaterial {
  const uses: Record<string, UseMaterial> = {}
  for (const tls of listeners) uses[keyOfListener(tls)] = useOf(tls.certificates, tls.clientCa)
  for (const tls of upstreams) uses[keyOfUpstream(tls)] = useOf(tls.pair ? [tls.pair] : [], tls.ca)
  return { uses, ticketKeys }
}

function useOf(pairs: readonly Pair[], ca: string | null): UseMaterial {
  const certificates = pairs.map(pair => {
    const [cert, key] = [text(pair.cert), text(pair.key)]
    return { cert, key, names: factsOf(cert, key).names }
  })
  return { certificates, authorities: ca === null ? null : text(ca) }
}

function factsOf(cert: string, key: string): CertificateFacts {
  const read = readPair(cert, key)
  if (!read.ok) throw new Error(read.fault.message)
  return read.facts
}
