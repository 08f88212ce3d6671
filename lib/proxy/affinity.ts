/**
 * Affinity on the wire: what of a request names its session, and the header that gives it one. The only importing file of
 * `cookie`. Which member that leads to is `pick.ts`.
 */
import type { IncomingHttpHeaders } from 'node:http'
import { parseCookie, stringifySetCookie } from 'cookie'
import type { AffinityConfig, HashParameter } from '../config/config.ts'
import { clientKey } from './client-key.ts'

export interface PickRequest {
  readonly clientIp: string
  /** The raw target, with its query. */
  readonly path: string
  readonly headers: IncomingHttpHeaders
  /** The client came over TLS. */
  readonly secure: boolean
  /** Wall clock. */
  readonly nowMs: number
}

/** How far into a Cookie header is looked, and how many cookies of the wanted name are taken from it. */
const cookieHeaderCharsMax = 16_384
const sameNameMax = 4
/** How many query parameters are looked at. */
const parametersMax = 256

/**
 * The values of the cookies called `name`, in order. A client may send several of one name (of another path or domain,
 * RFC 6265 §5.4), and only one of them may be ours. Only those pairs are given to the parser: a long header costs a scan.
 */
export function readCookies(headers: IncomingHttpHeaders, name: string): readonly string[] {
  const header = headers.cookie
  if (header === undefined) return none
  const mark = `${name}=`
  let values: string[] | null = null
  for (
    let at = header.indexOf(mark);
    at >= 0 && at < cookieHeaderCharsMax;
    at = header.indexOf(mark, at + 1)
  ) {
    if (!beginsPair(header, at)) continue
    const semicolon = header.indexOf(';', at)
    const end = semicolon < 0 ? header.length : semicolon
    const value = plainValue(header, at + mark.length, end) ?? parseCookie(header.slice(at, end))[name]
    if (value === undefined) continue
    values ??= []
    values.push(value)
    if (values.length === sameNameMax) break
  }
  return values ?? none
}

const none: readonly string[] = []

/** A value as ours are, with nothing to decode and nothing around it: the parser would give the same at many times the cost. */
function plainValue(header: string, from: number, end: number): string | null {
  if (from >= end || header.charCodeAt(from) <= space || header.charCodeAt(end - 1) <= space) return null
  const value = header.slice(from, end)
  return value.includes('%') ? null : value
}

const space = 0x20

/** The `Set-Cookie` header that pins the client: for the whole host, out of reach of scripts (RFC 6265 §4.1.2). */
export function sessionCookieHeader(
  name: string,
  value: string,
  ttlSeconds: number,
  secure: boolean,
): string {
  return stringifySetCookie({
    name,
    value,
    maxAge: ttlSeconds,
    path: '/',
    httpOnly: true,
    sameSite: 'lax',
    secure,
  })
}

/** The key that consistent hashing follows; null when the request does not carry it, or the method uses none. */
export function hashKey(affinity: AffinityConfig, request: PickRequest): string | null {
  switch (affinity.method) {
    case 'client_ip':
      return clientKey(request.clientIp)
    case 'consistent_hashing':
      return parameterValue(affinity.parameter, request)
    case 'none':
    case 'cookie':
      return null
  }
}

function parameterValue(parameter: HashParameter, request: PickRequest): string | null {
  switch (parameter.from) {
    case 'header': {
      const value = request.headers[parameter.name]
      return (Array.isArray(value) ? value.join(', ') : value) || null
    }
    case 'cookie':
      return readCookies(request.headers, parameter.name)[0] || null
    case 'query':
      return queryValue(request.path, parameter.name) || null
    case 'path': {
      const question = request.path.indexOf('?')
      return question < 0 ? request.path : request.path.slice(0, question)
    }
  }
}

/** The first value of that name, decoded as a form would be (`a%62` and `ab` are one tenant). */
function queryValue(target: string, name: string): string | null {
  const question = target.indexOf('?')
  if (question < 0) return null
  const end = target.indexOf('#', question)
  const parts = target.slice(question + 1, end < 0 ? undefined : end).split('&', parametersMax)
  for (const part of parts) {
    const equals = part.indexOf('=')
    const key = equals < 0 ? part : part.slice(0, equals)
    if (decoded(key) === name) return equals < 0 ? '' : decoded(part.slice(equals + 1))
  }
  return null
}

function decoded(text: string): string {
  if (!text.includes('%') && !text.includes('+')) return text
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    return text
  }
}

/** Whether a cookie pair begins here: at the header's start, or after a semicolon and blanks. */
function beginsPair(header: string, at: number): boolean {
  let before = at - 1
  while (before >= 0 && (header[before] === ' ' || header[before] === '\t')) before--
  return before < 0 || header[before] === ';'
}
