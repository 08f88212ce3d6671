/**
 * What a certificate says and whether it can be used: names, dates, its key; and which certificate files a configuration names.
 * Texts in, facts or faults in people's words out. @pure
 * It reads no file (`certificate-files.ts` does) and trusts nobody: whether a *peer's* certificate is believed is decided by TLS.
 */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import type { Config, ListenerTlsConfig, PairConfig, UpstreamTlsConfig } from './config/config.ts'

/** One place of the configuration that names certificate files, for one side of TLS. */
export interface TlsUse {
  /** Names the files, wherever in the configuration they stand. */
  readonly key: string
  /** `['listeners', 0, 'tls']` */
  readonly path: readonly (string | number)[]
  /** In their order; the place of each file within `path`. */
  readonly pairs: readonly { readonly cert: TlsFile; readonly key: TlsFile }[]
  readonly authorities: TlsFile | null
}

export interface TlsFile {
  readonly file: string
  readonly path: readonly (string | number)[]
}

export interface TlsFault {
  /** Of the configuration. */
  readonly path: readonly (string | number)[]
  /** Names the file. */
  readonly message: string
  readonly fix: string
}

export interface CertificateInUse {
  /** `listeners[0].tls` */
  readonly use: string
  readonly names: readonly string[]
  readonly endsAtMs: number
  /** SHA-256, hex. */
  readonly fingerprint: string
  readonly file: string
  /** When what is in use was read. */
  readonly loadedAtMs: number
}

/** What a file holds, or why it cannot be read. */
export type FileText = { readonly text: string } | { readonly message: string; readonly fix: string }

export function usesOf(config: Pick<Config, 'listeners' | 'clusters'>): TlsUse[] {
  const uses: TlsUse[] = []
  config.listeners.forEach(({ tls }, i) => {
    if (!tls) return
    const path = ['listeners', i, 'tls']
    const pairs = tls.certificates.map(({ cert, key }, c) => ({
      cert: { file: cert, path: [...path, 'certificates', c, 'cert'] },
      key: { file: key, path: [...path, 'certificates', c, 'key'] },
    }))
    const authorities = tls.clientCa === null ? null : { file: tls.clientCa, path: [...path, 'client_ca'] }
    uses.push({ key: keyOfListener(tls), path, pairs, authorities })
  })
  config.clusters.forEach(({ tls }, i) => {
    if (!tls) return
    const path = ['clusters', i, 'tls']
    const pair = tls.pair && {
      cert: { file: tls.pair.cert, path: [...path, 'cert'] },
      key: { file: tls.pair.key, path: [...path, 'key'] },
    }
    const authorities = tls.ca === null ? null : { file: tls.ca, path: [...path, 'ca'] }
    uses.push({ key: keyOfUpstream(tls), path, pairs: pair ? [pair] : [], authorities })
  })
  return uses
}

export const keyOfListener = (tls: ListenerTlsConfig) => keyOf(tls.certificates, tls.clientCa)
export const keyOfUpstream = (tls: UpstreamTlsConfig) => keyOf(tls.pair ? [tls.pair] : [], tls.ca)

const keyOf = (pairs: readonly PairConfig[], authorities: string | null) =>
  JSON.stringify([pairs.map(({ cert, key }) => [cert, key]), authorities])

export const filesOf = ({ pairs, authorities }: TlsUse): string[] => [
  ...pairs.flatMap(({ cert, key }) => [cert.file, key.file]),
  ...(authorities ? [authorities.file] : []),
]

export interface CheckedUse {
  readonly faults: readonly TlsFault[]
  /** One for each pair, if there are no faults. */
  readonly certificates: readonly CertificateFacts[]
}

/** `read`: the text of a file of `filesOf(use)`. */
export function checkUse(use: TlsUse, read: (file: string) => FileText): CheckedUse {
  const faults: TlsFault[] = []
  const certificates: CertificateFacts[] = []
  const text = ({ file, path }: TlsFile): string | null => {
    const found = read(file)
    if ('text' in found) return found.text
    faults.push({ path, message: found.message, fix: found.fix })
    return null
  }
  for (const { cert, key } of use.pairs) {
    const texts = [text(cert), text(key)] as const
    if (texts[0] === null || texts[1] === null) continue
    const pair = readPair(texts[0], texts[1])
    if (pair.ok) certificates.push(pair.facts)
    else {
      const { file, path } = pair.fault.file === 'cert' ? cert : key
      faults.push({ path, message: `${file}: ${pair.fault.message}`, fix: pair.fault.fix })
    }
  }
  const authorities = use.authorities && text(use.authorities)
  const wrong = authorities === null ? null : authoritiesFault(authorities)
  if (wrong) {
    const { file, path } = use.authorities!
    faults.push({ path, message: `${file}: ${wrong.message}`, fix: wrong.fix })
  }
  return { faults, certificates }
}

export interface CertificateFacts {
  /** DNS names, lower case, in the certificate's order; `*.example.com` as it stands. Without any: its common name. */
  readonly names: readonly string[]
  readonly startsAtMs: number
  readonly endsAtMs: number
  /** SHA-256 of the certificate, lower-case hex. */
  readonly fingerprint: string
}

export interface CertificateFault {
  /** Which of the two files is to be mended. */
  readonly file: 'cert' | 'key'
  readonly message: string
  readonly fix: string
}

export type PairResult =
  | { readonly ok: true; readonly facts: CertificateFacts }
  | { readonly ok: false; readonly fault: CertificateFault }

/** A certificate with the chain behind it, and its private key, both PEM. */
export function readPair(certPem: string, keyPem: string): PairResult {
  const chain = readChain(certPem)
  if (!chain.ok) return refused('cert', chain.message, chain.fix)
  const [leaf] = chain.certificates
  const key = readKey(keyPem)
  if ('message' in key) return refused('key', key.message, key.fix)
  if (!leaf!.checkPrivateKey(key))
    return refused(
      'key',
      'the key does not belong to the certificate',
      "name the key that the certificate was made for; the first certificate in the file must be the server's own",
    )
  return { ok: true, facts: factsOf(leaf!) }
}

/** The authorities in a file, for the verification of peers: at least one. Null: they can be used. */
export function authoritiesFault(pem: string): { readonly message: string; readonly fix: string } | null {
  const chain = readChain(pem)
  return chain.ok ? null : { message: chain.message, fix: chain.fix }
}

/** For people, or null: a certificate that clients will not accept now. */
export function dateWarning(facts: CertificateFacts, nowMs: number): string | null {
  const day = (ms: number) => new Date(ms).toISOString().slice(0, 10)
  if (facts.endsAtMs <= nowMs) return `expired on ${day(facts.endsAtMs)}`
  if (facts.startsAtMs > nowMs) return `not valid before ${day(facts.startsAtMs)}`
  if (facts.endsAtMs - nowMs < endingSoonMs) return `expires on ${day(facts.endsAtMs)}`
  return null
}

const endingSoonMs = 14 * 24 * 3_600_000

type Chain =
  | { readonly ok: true; readonly certificates: readonly X509Certificate[] }
  | { readonly ok: false; readonly message: string; readonly fix: string }

const blocks =
  /-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----[\s\S]*?-----END (?:TRUSTED |X509 )?CERTIFICATE-----/g
/** A chain is three or four long, a bundle of all public authorities below two hundred. */
const certificatesMax = 1_000

function readChain(pem: string): Chain {
  const found = pem.match(blocks) ?? []
  if (found.length === 0) {
    const fix = 'a PEM file with `-----BEGIN CERTIFICATE-----`'
    return { ok: false, message: 'there is no certificate in it', fix }
  }
  if (found.length > certificatesMax)
    return { ok: false, message: `more than ${certificatesMax} certificates`, fix: 'leave only those needed' }
  try {
    return { ok: true, certificates: found.map(block => new X509Certificate(block)) }
  } catch {
    return { ok: false, message: 'a certificate in it cannot be read', fix: 'write the file anew' }
  }
}

function readKey(pem: string): KeyObject | { readonly message: string; readonly fix: string } {
  try {
    return createPrivateKey(pem)
  } catch {
    if (/^-----BEGIN ENCRYPTED |^Proc-Type: 4,ENCRYPTED/m.test(pem))
      return {
        message: 'the key is encrypted',
        fix: 'store it without a passphrase, readable by this user only',
      }
    return { message: 'there is no private key in it', fix: 'a PEM file with `-----BEGIN PRIVATE KEY-----`' }
  }
}

function factsOf(certificate: X509Certificate): CertificateFacts {
  const names = dnsNames(certificate.subjectAltName)
  const common = /(?:^|\n)CN=([^\n]+)/.exec(certificate.subject)?.[1]
  return {
    names: certificate.subjectAltName === undefined && common ? [common.toLowerCase()] : names,
    startsAtMs: Date.parse(certificate.validFrom),
    endsAtMs: Date.parse(certificate.validTo),
    fingerprint: certificate.fingerprint256.replaceAll(':', '').toLowerCase(),
  }
}

/** `DNS:a.example, IP Address:192.0.2.1`; a name with odd characters is quoted and no name that a client can ask for. */
function dnsNames(alternatives: string | undefined): string[] {
  const names: string[] = []
  for (const [, name] of (alternatives ?? '').matchAll(/(?:^|, )DNS:([^",\s]+)(?=, |$)/g))
    names.push(name!.toLowerCase())
  return names
}

const refused = (file: 'cert' | 'key', message: string, fix: string): PairResult => ({
  ok: false,
  fault: { file, message, fix },
})
