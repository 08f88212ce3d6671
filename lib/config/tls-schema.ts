/** TLS on both sides, and what else a listener may be told: the keys of `listeners[]` and of `clusters[].tls`. @pure */
import { refuse, show, strict, z } from '../schema.ts'
import { isIpv4, isIpv6, type Unit } from '../units.ts'
import type { Alpn, ListenerConfig, ListenerTlsConfig, UpstreamTlsConfig } from './config.ts'
import { address, choice, duration, filePath, read } from './fields.ts'

type Absolute = (path: string) => string

/** More would be a mistake: one certificate may hold many names. */
const certificatesMax = 100

const alpn = z
  .array(choice<Alpn>(['h2', 'http/1.1']))
  .min(1)
  .max(2)
  .transform((value, ctx) =>
    new Set(value).size === value.length
      ? value
      : refuse(ctx, 'a protocol is listed twice', 'name each once, the preferred one first'),
  )

const listenerTls = (absolute: Absolute) =>
  strict({
    certificates: z
      .array(strict({ cert: filePath(), key: filePath() }))
      .min(1)
      .max(certificatesMax),
    alpn: alpn.prefault(['h2', 'http/1.1']),
    min_version: choice(['TLSv1.2', 'TLSv1.3']).prefault('TLSv1.2'),
    client_auth: choice(['none', 'request', 'require']).prefault('none'),
    client_ca: filePath().optional(),
    handshake_timeout: duration(100, 120_000).prefault('10s'),
  }).transform((value, ctx): ListenerTlsConfig => {
    const asks = value.client_auth !== 'none'
    if (asks && value.client_ca === undefined)
      refuse(
        ctx,
        `\`client_auth: ${value.client_auth}\` has no authority to check clients by`,
        'add `client_ca`',
        ['client_auth'],
      )
    if (!asks && value.client_ca !== undefined)
      refuse(
        ctx,
        'clients are not asked for a certificate',
        'add `client_auth: require`, or remove `client_ca`',
        ['client_ca'],
      )
    return {
      certificates: value.certificates.map(({ cert, key }) => ({ cert: absolute(cert), key: absolute(key) })),
      alpn: value.alpn,
      minVersion: value.min_version,
      clientAuth: value.client_auth,
      clientCa: value.client_ca === undefined ? null : absolute(value.client_ca),
      handshakeTimeoutMs: value.handshake_timeout,
    }
  })

export const listenerFor = (absolute: Absolute) =>
  strict({
    address: address(0),
    engine: choice(['relay', 'http-proxy-3']).prefault('relay'),
    protocol: choice(['http1', 'h2c']).prefault('http1'),
    proxy_protocol: choice(['off', 'require']).prefault('off'),
    tls: listenerTls(absolute).optional(),
  }).transform((value, ctx): ListenerConfig => {
    if (value.tls && value.protocol === 'h2c')
      refuse(
        ctx,
        '`h2c` is HTTP/2 without TLS',
        'remove `protocol`: with TLS, `tls.alpn` says which protocols are spoken',
        ['protocol'],
      )
    return {
      ...value.address,
      engine: value.engine,
      protocol: value.protocol,
      proxyProtocol: value.proxy_protocol,
      tls: value.tls ?? null,
    }
  })

/** A name to ask a backend for: SNI carries names only, never addresses (RFC 6066 §3). */
const serverName = () =>
  read((value): Unit<string> => {
    const name = typeof value === 'string' ? value.toLowerCase() : ''
    const isName = /^(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*$/.test(name) && name.length <= 253
    if (isName && !isIpv4(name) && !isIpv6(name)) return { ok: true, value: name }
    return {
      ok: false,
      message: `${show(value)} is not a server name`,
      fix: 'a name in the certificate of the backends, as "app.internal"',
    }
  })

/** Paths are made absolute by `parse.ts`. */
export const upstreamTls = strict({
  ca: filePath().optional(),
  cert: filePath().optional(),
  key: filePath().optional(),
  server_name: serverName().optional(),
  verify: z.boolean().default(true),
}).transform((value, ctx): UpstreamTlsConfig => {
  if ((value.cert === undefined) !== (value.key === undefined)) {
    const missing = value.cert === undefined ? 'cert' : 'key'
    refuse(ctx, 'a certificate and its key belong together', `add \`${missing}\``)
  }
  if (!value.verify && value.ca !== undefined)
    refuse(
      ctx,
      'with `verify: false` nobody is checked by this authority',
      'remove `verify: false`, or remove `ca`',
      ['verify'],
    )
  return {
    ca: value.ca ?? null,
    pair: value.cert !== undefined && value.key !== undefined ? { cert: value.cert, key: value.key } : null,
    serverName: value.server_name ?? null,
    verify: value.verify,
  }
})

export function absoluteTls(tls: UpstreamTlsConfig | null, absolute: Absolute): UpstreamTlsConfig | null {
  if (tls === null) return null
  const pair = tls.pair && { cert: absolute(tls.pair.cert), key: absolute(tls.pair.key) }
  return { ...tls, ca: tls.ca === null ? null : absolute(tls.ca), pair }
}
