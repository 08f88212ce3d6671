/**
 * Reads the head of an HTTP/2 request and refuses what could become another request in HTTP/1.1 (RFC 9113 §8.3, §10.3; RFC 8441). @pure
 * nghttp2 has refused malformed names and values, pseudo-header fields out of place and lengths that lie; what it lets through
 * and two readers could take in two ways ends here.
 */
import type { IncomingHttpHeaders } from 'node:http'
import { requestHeadBytesMax } from '../limits.ts'
import { type Screened, screenTarget } from '../screen.ts'

export interface H2Facts {
  /** As node gives them, pseudo-header fields among them. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  /** Name, value, name, value … as received. */
  readonly rawHeaders: readonly string[]
  /** The head was the whole request. */
  readonly ended: boolean
}

export interface H2Request {
  readonly fault: null
  readonly method: string
  readonly line: Screened
  /** Without pseudo-header fields; `host` is the authority. */
  readonly fields: IncomingHttpHeaders
  /** The Content-Length, bytes; -1: none. */
  readonly length: number
  readonly expectsContinue: boolean
  /** Extended CONNECT for a WebSocket. */
  readonly upgrade: boolean
}

export interface H2Refusal {
  readonly fault: string
  readonly code: 'bad_request' | 'headers_too_large' | 'expectation_failed' | 'upgrade_unsupported'
}

export function readH2Request(facts: H2Facts): H2Request | H2Refusal {
  const wrong = fieldFault(facts.rawHeaders)
  if (wrong !== null) return wrong
  const { headers } = facts
  const method = text(headers[':method'])
  const upgrade = method === 'CONNECT' && headers[':protocol'] === 'websocket'
  if (method === 'CONNECT' && !upgrade)
    return refuse('CONNECT is supported for WebSockets only.', 'upgrade_unsupported')
  if (!upgrade && headers[':protocol'] !== undefined) return refuse('A :protocol without CONNECT.')
  if (!/^https?$/.test(text(headers[':scheme']))) return refuse('A :scheme other than http and https.')
  const authority = headers[':authority']
  const host = headers.host
  if (authority !== undefined && host !== undefined && !sameAuthority(text(authority), text(host)))
    return refuse('The Host field and :authority differ.')
  const name = text(authority ?? host)
  if (name === '') return refuse('Neither :authority nor a Host field.')
  const target = text(headers[':path'])
  // Only HTTP/1.1 may send a whole URL there.
  if (!target.startsWith('/') && !(target === '*' && method === 'OPTIONS'))
    return refuse('A :path that is not a path.')
  const line = screenTarget(target, name, method)
  if (line.fault !== null) return refuse(line.fault)
  const length = lengthOf(headers['content-length'])
  if (length === null) return refuse('Content-Length is not a number.')
  const expect = headers.expect
  if (expect !== undefined && text(expect).toLowerCase() !== '100-continue')
    return refuse('An expectation other than 100-continue.', 'expectation_failed')
  return {
    fault: null,
    // What it is called where there is no extended CONNECT (RFC 8441 §5).
    method: upgrade ? 'GET' : method,
    line: { ...line, body: upgrade || facts.ended ? 'none' : length < 0 ? 'chunked' : 'length' },
    fields: plainFields(headers, name),
    length,
    expectsContinue: expect !== undefined && !facts.ended,
    upgrade,
  }
}

/** What is counted of a name and a value beside their characters: `: ` and the end of the line. */
const fieldOverhead = 4

function fieldFault(rawHeaders: readonly string[]): H2Refusal | null {
  let bytes = 0
  let hosts = 0
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!
    const value = rawHeaders[i + 1]!
    bytes += name.length + value.length + fieldOverhead
    if (name === 'host' && ++hosts > 1) return refuse('More than one Host field.')
    if (isConnectionSpecific(name) || (name === 'te' && value.toLowerCase() !== 'trailers'))
      return refuse('A field that has no place in HTTP/2.')
    if (unsayable.test(name) || unsayable.test(value)) return refuse('A field with a control character.')
  }
  return bytes > requestHeadBytesMax ? refuse('The request head is too large.', 'headers_too_large') : null
}

/** RFC 9113 §8.2.2. nghttp2 refuses them too; here they would be read as framing. */
function isConnectionSpecific(name: string): boolean {
  switch (name) {
    case 'connection':
    case 'keep-alive':
    case 'proxy-connection':
    case 'transfer-encoding':
    case 'upgrade':
    case 'http2-settings':
      return true
    default:
      return false
  }
}

const unsayable = /[\0-\x08\x0a-\x1f\x7f]/

/** Case apart: two spellings of one name are one name, with a port and without are two. */
function sameAuthority(authority: string, host: string): boolean {
  return authority.toLowerCase() === host.toLowerCase()
}

function lengthOf(value: string | string[] | undefined): number | null {
  if (value === undefined) return -1
  return typeof value === 'string' && /^\d{1,15}$/.test(value) ? Number(value) : null
}

function plainFields(headers: H2Facts['headers'], authority: string): IncomingHttpHeaders {
  const fields: Record<string, string | string[] | undefined> = Object.create(null)
  for (const name in headers) if (!name.startsWith(':')) fields[name] = headers[name]
  fields.host = authority
  return fields as IncomingHttpHeaders
}

const text = (value: string | string[] | undefined): string => (typeof value === 'string' ? value : '')

const refuse = (fault: string, code: H2Refusal['code'] = 'bad_request'): H2Refusal => ({ fault, code })
