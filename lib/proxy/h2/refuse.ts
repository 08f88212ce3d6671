/** Answers of our own on an HTTP/2 stream, and its end by us. */
import { constants, type ServerHttp2Stream } from 'node:http2'
import type { ErrorCode } from '../../errors.ts'
import { render } from '../reply.ts'

export interface RefusalOptions {
  readonly reason: string | null
  readonly accept: string | undefined
  /** The answer is to a HEAD request. */
  readonly toHead: boolean
  /** Added to its head. */
  readonly fields: readonly (readonly [string, string])[]
}

/**
 * Sends head and body, and returns the bytes of the body; `endStream` is the caller's. Harmless when nobody is there any more.
 */
export function writeRefusal(stream: ServerHttp2Stream, code: ErrorCode, options: RefusalOptions): number {
  const { status, contentType, body } = render(code, options.accept, options.reason)
  const head = [':status', String(status), 'content-type', contentType]
  head.push('content-length', String(Buffer.byteLength(body)), 'cache-control', 'no-store')
  for (const [name, value] of options.fields) head.push(name.toLowerCase(), value)
  if (status === 503) head.push('retry-after', '1')
  stream.respond(head, { endStream: options.toHead })
  if (options.toHead) return 0
  stream.write(body)
  return Buffer.byteLength(body)
}

const ourResets = new WeakSet<ServerHttp2Stream>()

/** Breaks the stream off; the client is not counted as the one who did. */
export function resetStream(stream: ServerHttp2Stream, code: number): void {
  ourResets.add(stream)
  stream.close(code)
}

export const isOurReset = (stream: ServerHttp2Stream): boolean => ourResets.has(stream)

/** What is left of a request is not wanted any more, once its answer is whole (RFC 9113 §8.1): after the frame that ends it. */
export function dropRest(stream: ServerHttp2Stream): void {
  // Not in this turn: node sends that frame in the next one.
  setImmediate(() => {
    if (!stream.readableEnded) resetStream(stream, constants.NGHTTP2_NO_ERROR)
  })
}
