/** Heads between HTTP/1.1's form and HTTP/2's: what a backend is asked, and what it answers (RFC 9113 §8). */
import { STATUS_CODES } from 'node:http'
import type { OutgoingHttpHeaders } from 'node:http2'
import type { Member } from '../../../cluster/member.ts'
import type { AnswerHead } from '../../client-end.ts'
import type { ForwardRequest } from '../forward.ts'

/** The fields of a request, with its pseudo-header fields first. */
export function requestFields(request: ForwardRequest): OutgoingHttpHeaders {
  const { member, method, target, head } = request
  const fields = head.fields()
  const out: OutgoingHttpHeaders = {
    ':method': method,
    ':scheme': schemeOf(member),
    ':authority': String(fields.host ?? authorityOf(member)),
    ':path': target,
  }
  for (const name in fields) if (!staysBehind(name)) out[name] = fields[name]
  return out
}

/** A WebSocket handshake as an extended CONNECT (RFC 8441 §5): the stream is the handshake, and proves itself. */
export function webSocketFields(request: ForwardRequest): OutgoingHttpHeaders {
  const out = { ...requestFields(request), ':method': 'CONNECT', ':protocol': 'websocket' }
  return Object.fromEntries(
    Object.entries(out).filter(([name]) => name !== 'sec-websocket-key' && name !== 'content-length'),
  )
}

const schemeOf = ({ tls }: Member) => (tls === null ? 'http' : 'https')

const authorityOf = ({ host, port }: Member) => `${host.includes(':') ? `[${host}]` : host}:${port}`

/** Fields of an HTTP/1.1 connection (RFC 9113 §8.2.2); `host` is the authority. */
function staysBehind(name: string): boolean {
  switch (name) {
    case 'host':
    case 'connection':
    case 'keep-alive':
    case 'proxy-connection':
    case 'transfer-encoding':
    case 'upgrade':
      return true
    default:
      return false
  }
}

/** `ended`: the head is the whole answer. */
export function answerHead(status: number, rawHeaders: readonly string[], ended: boolean): AnswerHead {
  return {
    status,
    message: STATUS_CODES[status] ?? '',
    version: '2.0',
    ended,
    fields: () => plainFields(rawHeaders),
  }
}

/** Name and value in turns, without pseudo-header fields. */
export function plainFields(rawHeaders: readonly string[]): string[] {
  const out: string[] = []
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!
    if (!name.startsWith(':')) out.push(name, rawHeaders[i + 1]!)
  }
  return out
}
