/**
 * Reads the request line and the fields that decide routing and framing, and refuses what two parsers could read in two
 * ways, even where the HTTP parser let it through (RFC 9112 §3.2, §6.3, §11.2). It changes nothing: the target that was
 * routed is, byte for byte, the target that the backend gets. @pure
 */
import type { IncomingHttpHeaders } from 'node:http'
import { requestFieldsMax } from './limits.ts'

export interface RequestFacts {
  readonly method?: string | undefined
  readonly url?: string | undefined
  readonly httpVersionMinor: number
  readonly headers: IncomingHttpHeaders
  /** Name, value, name, value … as received. */
  readonly rawHeaders: readonly string[]
}

export interface Screened {
  readonly fault: null
  /** The authority as sent, for the Host field; empty if the client (HTTP/1.0) named none. */
  readonly authority: string
  /** Lower case, without port and brackets' port. */
  readonly hostname: string
  /** Origin-form, or `*`. */
  readonly target: string
  /** The target up to its query. */
  readonly path: string
  readonly body: 'none' | 'length' | 'chunked'
}

export interface Refusal {
  /** For people; says what was wrong, repeats nothing of the request. */
  readonly fault: string
}

export function screen(request: RequestFacts): Screened | Refusal {
  const framing = screenFraming(request)
  if (framing.fault !== null) return framing
  const line = screenTarget(request.url ?? '', request.headers.host ?? '', request.method ?? '')
  return line.fault === null ? { ...line, body: framing.body } : line
}

/** The request line's target and the Host field: where the request goes, and as what. */
export function screenTarget(
  requestTarget: string,
  host: string,
  method: string,
): Omit<Screened, 'body'> | Refusal {
  let authority = host
  let target = requestTarget
  if (target.charCodeAt(0) !== slash) {
    if (target === '*' && method === 'OPTIONS') {
      // The server as a whole: routed by host alone.
    } else {
      const absolute = splitAbsolute(target)
      if (absolute === null) return refuse('The request target is neither a path nor an http URL.')
      // It gives way, but must be valid all the same (RFC 9112 §3.2).
      if (host !== '' && !authorityPattern.test(host)) return refuse('The Host is not valid.')
      authority = absolute.authority
      target = absolute.target
      // The server as a whole, asked for by its URL (RFC 9112 §3.2.4).
      if (method === 'OPTIONS' && absolute.bare) target = '*'
    }
  }
  for (let i = 0; i < target.length; i++) {
    if (forbiddenInTarget[target.charCodeAt(i)] !== 0)
      return refuse('The request target contains a space, a control character or a fragment.')
  }
  if (authority !== lastHost.authority) {
    if (authority !== '' && !authorityPattern.test(authority)) return refuse('The Host is not valid.')
    lastHost = { authority, hostname: hostnameOf(authority) }
  }
  const query = target.indexOf('?')
  const path = query === -1 ? target : target.slice(0, query)
  if (mayHaveDots(path) && dotSegment.test(path))
    return refuse('The path contains a "." or ".." segment; send it resolved.')
  return { fault: null, authority: lastHost.authority, hostname: lastHost.hostname, target, path }
}

/** A memo: most requests name the same host as the one before. */
let lastHost = { authority: '', hostname: '' }

const mayHaveDots = (path: string) => path.includes('.') || path.includes('%2')

/** The name in an authority: lower case, no port; an IPv6 literal keeps its brackets. */
export function hostnameOf(authority: string): string {
  const end = authority.charCodeAt(0) === bracket ? authority.indexOf(']') + 1 : authority.indexOf(':')
  return (end <= 0 ? authority : authority.slice(0, end)).toLowerCase()
}

const slash = 0x2f
const bracket = 0x5b
/** 1: a control character, a space, a fragment, or a byte that is not ASCII (RFC 3986 §2). */
const forbiddenInTarget = new Uint8Array(256)
forbiddenInTarget.fill(1, 0, 0x21)
forbiddenInTarget.fill(1, 0x7f)
forbiddenInTarget[0x23] = 1
/**
 * Plain or percent-encoded, also where a backend would take `\\` or `;` for the end of a segment. A route matches the path as it
 * came; a backend that resolves such a segment would see another one. Clients resolve them before they send (RFC 3986 §5.2.4).
 */
const dotSegment = /[/\\](?:\.|%2e){1,2}(?:[/\\;]|$)/i
/** RFC 3986 §3.2 without userinfo: IP literal or registered name, then a port of at most five digits. */
const authorityPattern =
  /^(?:\[[0-9a-fA-F:.]{2,45}\]|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+)(?::\d{0,5})?$/

type Framing = { readonly fault: null; readonly body: Screened['body'] } | Refusal

function screenFraming(request: RequestFacts): Framing {
  const { rawHeaders } = request
  let hosts = 0
  let lengths = 0
  let encodings = 0
  if (rawHeaders.length > 2 * requestFieldsMax) return refuse(`More than ${requestFieldsMax} fields.`)
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!
    if (name.length === 4 && name.toLowerCase() === 'host') hosts++
    else if (name.length === 14 && name.toLowerCase() === 'content-length') lengths++
    else if (name.length === 17 && name.toLowerCase() === 'transfer-encoding') encodings++
  }
  if (hosts > 1) return refuse('More than one Host field.')
  if (hosts === 0 && request.httpVersionMinor >= 1) return refuse('The Host field is missing.')
  if (lengths > 1) return refuse('More than one Content-Length field.')
  if (encodings === 0) {
    if (lengths === 0) return { fault: null, body: 'none' }
    const length = request.headers['content-length']
    if (!/^\d{1,15}$/.test(length ?? '')) return refuse('Content-Length is not a number.')
    return { fault: null, body: Number(length) === 0 ? 'none' : 'length' }
  }
  if (lengths > 0) return refuse('Both Content-Length and Transfer-Encoding.')
  if (request.httpVersionMinor === 0) return refuse('Transfer-Encoding in an HTTP/1.0 request.')
  if (encodings > 1 || request.headers['transfer-encoding']?.toLowerCase() !== 'chunked') {
    return refuse('A Transfer-Encoding other than chunked.')
  }
  return { fault: null, body: 'chunked' }
}

/** `http://authority/path?query` in two; null if it is not one. The Host field gives way to it (RFC 9112 §3.2.2). */
function splitAbsolute(url: string): { authority: string; target: string; bare: boolean } | null {
  const scheme = /^https?:\/\//i.exec(url)
  if (!scheme) return null
  const rest = url.slice(scheme[0].length)
  const end = rest.search(/[/?]/)
  const authority = end === -1 ? rest : rest.slice(0, end)
  if (authority === '' || !authorityPattern.test(authority)) return null
  const tail = end === -1 ? '/' : rest.slice(end)
  return { authority, target: tail.startsWith('?') ? `/${tail}` : tail, bare: end === -1 }
}

const refuse = (fault: string): Refusal => ({ fault })
