/**
 * What passes of a head, and what does not: hop-by-hop fields, fields named in Connection, forwarding fields under trust. @pure
 * Framing is not decided here (see `screen.ts`) and nothing is written to a socket.
 */
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http'

/** How the request reached us. Addresses without brackets; IPv4 never in its IPv6 form. */
export interface Hop {
  readonly peer: string
  /** The peer is one of the trusted proxies: what it says of earlier hops is kept. */
  readonly trusted: boolean
  readonly secure: boolean
  /** Our port on this connection. */
  readonly port: number
  /** The protocol of the request as it came, for `Via`. */
  readonly version: HttpVersion
  /** The authority the request was routed by. */
  readonly authority: string
  /** Who the client is by its certificate, for the backend; null: nobody; left out: clients are not asked for one. */
  readonly clientCertificate?: string | null
}

export type HttpVersion = '1.0' | '1.1' | '2.0'

export type Framing = 'none' | 'length' | 'chunked' | 'upgrade'

/** The head for the backend. Names are lower-case; a list-valued field that came in several lines goes in one (RFC 9110 §5.3). */
export function outboundHeaders(
  received: IncomingHttpHeaders,
  hop: Hop,
  framing: Framing,
): OutgoingHttpHeaders {
  const nominated = connectionOptions(received.connection)
  const out = forwardingFields(received, hop)
  for (const name in received) {
    if (name === 'host' || isHopByHop(name) || isForwarding(name)) continue
    if (nominated?.has(name) && !isEssential(name)) continue
    if (name === 'traceparent' || name === 'tracestate') continue
    if (name === 'expect' || isFieldAlias(name)) continue
    out[name] = received[name]
  }
  if (received.te !== undefined && /(?:^|[,\s])trailers(?:$|[,;\s])/i.test(String(received.te)))
    passTrailers(out, framing)
  if (hop.authority !== '') out.host = hop.authority
  if (framing === 'chunked') out['transfer-encoding'] = 'chunked'
  else if (framing === 'upgrade') {
    out.connection = 'Upgrade'
    out.upgrade = 'websocket'
  }
  return out
}

/** A `TE` is between two neighbours and says so (RFC 9110 §10.1.4); an upgrade has no trailers. */
function passTrailers(out: OutgoingHttpHeaders, framing: Framing): void {
  if (framing === 'upgrade') return
  out.te = 'trailers'
  out.connection = 'TE'
}

export interface InboundExtras {
  /** A Set-Cookie value of our own. */
  readonly setCookie: string | null
  /** For X-Tidegate-Backend. */
  readonly backend: string | null
}

/** The head for the client, name and value in turns, as the backend wrote them: order, case and repetition are kept. */
export function inboundHeaders(
  rawHeaders: readonly string[],
  extras: InboundExtras,
  version: HttpVersion = '1.1',
): string[] {
  const nominated = connectionOptions(rawValue(rawHeaders, 'connection'))
  const out: string[] = []
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!
    const key = name.toLowerCase()
    if (isHopByHop(key)) continue
    if (nominated?.has(key) && !isEssential(key)) continue
    if (key.startsWith('x-tidegate-')) continue
    out.push(name, rawHeaders[i + 1]!)
  }
  out.push('Via', `${version} tidegate`)
  if (extras.setCookie !== null) out.push('Set-Cookie', extras.setCookie)
  if (extras.backend !== null) out.push('X-Tidegate-Backend', extras.backend)
  return out
}

/** Trailer fields that may pass: nothing that frames, routes, authenticates or is hop-by-hop (RFC 9110 §6.5.1). */
export function trailerFields(rawTrailers: readonly string[]): [string, string][] {
  const out: [string, string][] = []
  for (let i = 0; i + 1 < rawTrailers.length; i += 2) {
    const key = rawTrailers[i]!.toLowerCase()
    if (isHopByHop(key) || isForwarding(key) || isEssential(key) || isFieldAlias(key)) continue
    out.push([rawTrailers[i]!, rawTrailers[i + 1]!])
  }
  return out
}

/**
 * The client's address: the rightmost hop that is not a trusted proxy. X-Forwarded-For is read where present, Forwarded
 * else. What is not an address ends the walk: nothing beyond it can be believed.
 */
export function clientIp(
  peer: string,
  received: IncomingHttpHeaders,
  trusts: (address: string) => boolean,
  isAddress: (text: string) => boolean,
): string {
  if (!trusts(peer)) return peer
  const hops = forwardedHops(received)
  let client = peer
  for (let i = hops.length - 1; i >= 0; i--) {
    const address = bareAddress(hops[i]!)
    if (!isAddress(address)) return client
    client = address
    if (!trusts(address)) return client
  }
  return client
}

/** Names that a Connection field asks to drop; null if none beyond `close` and `keep-alive`. */
export function connectionOptions(value: string | undefined): ReadonlySet<string> | null {
  if (value === undefined || value === 'keep-alive' || value === 'close') return null
  const names = new Set<string>()
  for (const token of value.split(',')) {
    const name = token.replace(/^[ \t]+|[ \t]+$/g, '').toLowerCase()
    if (name !== '' && name !== 'close' && name !== 'keep-alive') names.add(name)
  }
  return names.size === 0 ? null : names
}

function isHopByHop(name: string): boolean {
  switch (name) {
    case 'connection':
    case 'keep-alive':
    case 'proxy-connection':
    case 'proxy-authenticate':
    case 'proxy-authorization':
    case 'te':
    case 'trailer':
    case 'transfer-encoding':
    case 'upgrade':
    case 'http2-settings':
      return true
    default:
      return false
  }
}

/** Tells an application that a session was on another backend. Ours alone: a client's is dropped. */
export const failoverHeader = 'tidegate-failover'

/** Fields about earlier hops: written anew, with the former ones inside where the peer is trusted. */
function isForwarding(name: string): boolean {
  switch (name) {
    case 'forwarded':
    case 'via':
    case 'x-real-ip':
    case failoverHeader:
      return true
    default:
      return name.startsWith('x-forwarded-') || name.startsWith('x-tidegate-')
  }
}

/** A Connection field may not take these away: their absence would change who is asked, by whom, or how much. */
export function isEssential(name: string): boolean {
  switch (name) {
    case 'host':
    case 'content-length':
    case 'content-type':
    case 'content-encoding':
    case 'content-range':
    case 'cookie':
    case 'set-cookie':
    case 'authorization':
    case 'www-authenticate':
    case 'cache-control':
    case 'location':
    case 'date':
      return true
    default:
      return name.startsWith('sec-') || isForwarding(name)
  }
}

/**
 * `x_forwarded_for`, `x.real.ip` and the like: to an application behind CGI or its kin every sign but letters and digits is the
 * same, so these would slip past the rules above.
 */
export function isFieldAlias(name: string): boolean {
  if (!oddSign.test(name)) return false
  const dashed = name.replace(oddSigns, '-')
  return isHopByHop(dashed) || isForwarding(dashed) || isEssential(dashed)
}

const oddSign = /[^a-z0-9-]/
const oddSigns = /[^a-z0-9-]/g

export function forwardingFields(received: IncomingHttpHeaders, hop: Hop): OutgoingHttpHeaders {
  const proto = hop.secure ? 'https' : 'http'
  const host = hop.authority === '' ? '' : `;host=${forwardedValue(hop.authority)}`
  const via = `${hop.version} tidegate`
  const out: OutgoingHttpHeaders = {
    host: undefined,
    via: received.via === undefined ? via : `${received.via}, ${via}`,
    forwarded: `for=${forwardedNode(hop.peer)};proto=${proto}${host}`,
    'x-forwarded-for': hop.peer,
    'x-forwarded-host': hop.authority,
    'x-forwarded-proto': proto,
    'x-forwarded-port': String(hop.port),
  }
  // An empty name is none.
  if (hop.authority === '') {
    delete out.host
    delete out['x-forwarded-host']
  }
  if (!hop.trusted) return withCertificate(out, hop)
  const earlier = received['x-forwarded-for']
  if (received.forwarded !== undefined) out.forwarded = `${received.forwarded}, ${out.forwarded}`
  for (const name in received) {
    if (name.startsWith('x-forwarded-') || name === 'x-real-ip') out[name] = received[name]
  }
  out['x-forwarded-for'] = earlier === undefined ? hop.peer : `${earlier}, ${hop.peer}`
  return withCertificate(out, hop)
}

/** Where we ask for certificates ourselves nobody else's word on them stands, not even a trusted proxy's. */
function withCertificate(out: OutgoingHttpHeaders, { clientCertificate }: Hop): OutgoingHttpHeaders {
  if (clientCertificate === undefined) return out
  if (clientCertificate === null) delete out['x-forwarded-client-cert']
  else out['x-forwarded-client-cert'] = clientCertificate
  return out
}

/** RFC 7239 §6: an IPv6 address is bracketed and therefore quoted. */
const forwardedNode = (address: string) => (address.includes(':') ? `"[${address}]"` : address)

/** RFC 7239 §4: a token as it is, anything else quoted. */
const forwardedValue = (value: string) =>
  /^[\w!#$%&'*+.^`|~-]+$/.test(value) ? value : `"${value.replace(/["\\]/g, '\\$&')}"`

function forwardedHops(received: IncomingHttpHeaders): string[] {
  const list = received['x-forwarded-for']
  if (list !== undefined) return (Array.isArray(list) ? list.join(',') : list).split(',')
  const hops: string[] = []
  for (const element of (received.forwarded ?? '').split(',')) {
    const node = /(?:^|;)\s*for=(?:"([^"]*)"|([^;\s"]*))/i.exec(element)
    hops.push(node ? (node[1] ?? node[2] ?? '') : '')
  }
  return hops
}

/** `[2001:db8::1]:4711`, `192.0.2.1:80` and plain addresses, without brackets and port. */
function bareAddress(text: string): string {
  const hop = text.trim()
  if (hop.startsWith('[')) return hop.slice(1, Math.max(1, hop.indexOf(']')))
  const colon = hop.indexOf(':')
  return colon !== -1 && colon === hop.lastIndexOf(':') ? hop.slice(0, colon) : hop
}

function rawValue(rawHeaders: readonly string[], key: string): string | undefined {
  let value: string | undefined
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!
    if (name.length === key.length && name.toLowerCase() === key) {
      value = value === undefined ? rawHeaders[i + 1]! : `${value},${rawHeaders[i + 1]}`
    }
  }
  return value
}
