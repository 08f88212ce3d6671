/** A request's head as HTTP/1.1 text. @pure */
import type { OutgoingHttpHeaders } from 'node:http'
import type { Member } from '../../cluster/member.ts'
import { forwardingFields, type Hop } from '../headers.ts'
import type { RequestHead } from './request-head.ts'

/** From fields by name, for a request that came another way than as text. */
export function outboundText(
  method: string,
  target: string,
  fields: OutgoingHttpHeaders,
  member: Member,
): string {
  let text = `${method} ${target} HTTP/1.1\r\n`
  if (fields.host === undefined) text += `Host: ${hostOf(member)}\r\n`
  for (const name in fields) {
    const value = fields[name]
    if (value === undefined) continue
    for (const one of Array.isArray(value) ? value : [value]) text += `${name}: ${one}\r\n`
  }
  return `${text}\r\n`
}

/**
 * From a head that was read as text: what passes of it stays as it came, what decides routing and framing is written anew.
 * `forwarding`: from `ForwardingLines`. Few pieces: each is one more to be joined when the text goes out.
 */
export function relayedText(head: RequestHead, forwarding: string, member: Member): string {
  const host = head.authority === '' ? `Host: ${hostOf(member)}\r\n` : ''
  let text = `${head.line}${host}${forwarding}${head.kept}`
  if (head.webSocket) return `${text}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`
  const last = head.body === 'chunked' && isLastOnConnection(head.method, -1)
  if (head.takesTrailers) text += `TE: trailers\r\nConnection: ${last ? 'close, TE' : 'TE'}\r\n`
  else if (last) text += 'Connection: close\r\n'
  if (head.body === 'length') return `${text}Content-Length: ${head.length}\r\n\r\n`
  if (head.body === 'chunked') return `${text}Transfer-Encoding: chunked\r\n\r\n`
  return head.length === 0 ? `${text}Content-Length: 0\r\n\r\n` : `${text}\r\n`
}

/**
 * Methods that have no body as a rule: there are backends that do not look for one, above all for a chunked one, and would take it
 * for another request (RFC 9110 §9.3.1). Nothing follows it on its connection, so that only its sender could be deceived.
 */
export function isLastOnConnection(method: string, bodyLength: number): boolean {
  if (bodyLength >= 0) return false
  switch (method) {
    case 'GET':
    case 'HEAD':
    case 'DELETE':
    case 'OPTIONS':
    case 'TRACE':
      return true
    default:
      return false
  }
}

/** Host and the forwarding lines of one connection: those of the next request are the same as of the last, most of the time. */
export class ForwardingLines {
  #authority = ''
  #text = ''

  of(head: RequestHead, hop: Hop): string {
    if (head.forwarded || hop.trusted || hop.version === '1.0') return linesOf(head, hop)
    if (this.#text === '' || this.#authority !== hop.authority) {
      this.#authority = hop.authority
      // One flat piece: what is joined of many would be joined anew for every request.
      this.#text = Buffer.from(linesOf(head, hop), 'latin1').toString('latin1')
    }
    return this.#text
  }
}

function linesOf(head: RequestHead, hop: Hop): string {
  const host = hop.authority === '' ? '' : `Host: ${hop.authority}\r\n`
  return host + forwardingText(head, hop)
}

/** The fields about this hop, and under trust about earlier ones, as lines. */
export function forwardingText(head: RequestHead, hop: Hop): string {
  const fields = forwardingFields(head.forwarded ? head.fields() : nothing, hop)
  let text = ''
  for (const name in fields) if (fields[name] !== undefined) text += `${name}: ${fields[name]}\r\n`
  return text
}

const nothing = {}

const hostOf = ({ host, port }: Member) => `${host.includes(':') ? `[${host}]` : host}:${port}`
