/**
 * Answers of our own to traffic: the one place where an error becomes bytes. They name what happened and what the client can do, and
 * nothing of the inside: no addresses, no ids, no causes.
 */
import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { Clock } from '../clock.ts'
import { type ErrorCode, errorTable } from '../errors.ts'
import { lingerMs } from './limits.ts'

export interface Rendered {
  readonly status: number
  readonly contentType: string
  readonly body: string
}

/** `reason`: said instead of the general message; it must be fit for clients. */
export function render(code: ErrorCode, accept: string | undefined, reason: string | null): Rendered {
  const status = errorTable[code].status
  const message = reason ?? messages[code] ?? 'Something went wrong in the proxy.'
  if (prefersJson(accept)) {
    const body = `${JSON.stringify({ error: { code, message, details: {} } })}\n`
    return { status, contentType: 'application/json; charset=utf-8', body }
  }
  return { status, contentType: 'text/plain; charset=utf-8', body: `${status} ${code}: ${message}\n` }
}

export interface ReplyOptions {
  readonly reason: string | null
  readonly clock: Clock
  /** Fields to add. */
  readonly headers: readonly (readonly [string, string])[]
}

/**
 * Answers `request` with the error `code`. If its body is not read to the end, the connection closes after it. Returns the bytes of
 * the answer's body.
 */
export function reply(
  request: IncomingMessage,
  response: ServerResponse,
  code: ErrorCode,
  options: ReplyOptions,
): number {
  const { status, contentType, body } = render(code, request.headers.accept, options.reason)
  const unread = !request.complete && hasBody(request)
  const bytes = Buffer.from(body)
  const head = [
    'Content-Type',
    contentType,
    'Content-Length',
    String(bytes.length),
    'Cache-Control',
    'no-store',
  ]
  for (const [name, value] of options.headers) head.push(name, value)
  if (status === 503) head.push('Retry-After', '1')
  if (unread) response.shouldKeepAlive = false
  response.writeHead(status, head)
  const sent = request.method === 'HEAD' ? 0 : bytes.length
  if (!unread) {
    response.end(bytes)
    return sent
  }
  // The answer is whole already; the end of the connection waits, or a reset could overtake it (RFC 9112 §9.6).
  response.write(bytes)
  const end = () => {
    cancel()
    response.end()
  }
  const cancel = options.clock.after(lingerMs, end)
  request.once('end', end)
  response.once('close', cancel)
  request.resume()
  return sent
}

/** Answers on a bare socket, where there is no request to answer to, and closes it. */
export function replyRaw(socket: Socket, code: ErrorCode, reason: string | null, clock: Clock): void {
  if (!socket.writable) {
    socket.destroy()
    return
  }
  const { status, contentType, body } = render(code, undefined, reason)
  const head = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Type: ${contentType}\r\nContent-Length: ${Buffer.byteLength(body)}`
  const again = status === 503 ? 'Retry-After: 1\r\n' : ''
  socket.end(`${head}\r\nCache-Control: no-store\r\n${again}Connection: close\r\n\r\n${body}`)
  const cancel = clock.after(lingerMs, () => socket.destroy())
  socket.once('close', cancel)
}

const messages: Partial<Record<ErrorCode, string>> = {
  bad_request: 'The request could not be understood.',
  request_timeout: 'The request was not sent in time.',
  payload_too_large: 'The request body is too large.',
  rate_limited: 'Too many requests from you. Try again after the time in Retry-After.',
  circuit_open: 'The service is at its limit. Try again shortly.',
  queue_full: 'The service is at its limit, and so is the queue before it. Try again shortly.',
  queue_timeout: 'The service was at its limit for too long. Try again shortly.',
  overloaded: 'The proxy has too much to do. Try again shortly.',
  expectation_failed: 'The expectation in the request cannot be met.',
  headers_too_large: 'The request head is larger than 16 KiB.',
  upgrade_unsupported: 'This method or protocol change is not supported.',
  no_route: 'No service is configured for this host and path.',
  no_backend: 'No backend can take this request now. Try again shortly.',
  upstream_connect_failed: 'The backend could not be reached.',
  upstream_tls_failed: 'The backend could not be reached securely.',
  upstream_connect_timeout: 'The backend did not accept the connection in time.',
  upstream_header_timeout: 'The backend did not answer in time.',
  upstream_idle_timeout: 'The backend stopped reading the request.',
  upstream_reset: 'The backend closed the connection before it answered.',
  upstream_bad_response: 'The backend sent an answer that is not valid HTTP.',
  shutting_down: 'The proxy is shutting down. Try again shortly.',
}

/** Plain text, unless the client says that it takes JSON. */
const prefersJson = (accept: string | undefined) => accept !== undefined && /[/+]json\b/i.test(accept)

/** `complete` alone is not enough: inside the request's own event it is false for every request. */
const hasBody = ({ headers }: IncomingMessage) =>
  headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0'
