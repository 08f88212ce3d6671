/** Answers that are good for trying a proxy out: random, slow, large, and echoed. Each is bounded. */
import { randomBytes, randomInt, randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'

const slowMsMax = 60_000
const bytesMax = 1024 * 1024 * 1024
const echoBytesMax = 1024 * 1024 * 1024
const chunk = Buffer.alloc(64 * 1024, 'tidegate ')

/** Two clones must never give the same answer here. */
export function answerRandom(response: ServerResponse): void {
  const random = { bytes: randomBytes(32).toString('hex'), uuid: randomUUID(), int: randomInt(2 ** 47) }
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(random))
}

/** `?ms=` milliseconds of silence before the answer. */
export async function answerSlow(url: URL, response: ServerResponse): Promise<void> {
  const ms = number(url, 'ms', slowMsMax)
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, ms)
  response.once('close', () => {
    clearTimeout(timer)
    resolve()
  })
  await promise
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ slept_ms: ms }))
}

/** `?n=` bytes. */
export async function answerBytes(url: URL, response: ServerResponse): Promise<void> {
  const n = number(url, 'n', bytesMax)
  response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': n })
  await pipeline(Readable.from(pieces(n)), response)
}

/** The request's body as the answer's, while it comes. */
export async function answerEcho(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const type = request.headers['content-type'] ?? 'application/octet-stream'
  response.writeHead(200, { 'content-type': type })
  await pipeline(request, bounded, response)
}

function* pieces(n: number): Generator<Buffer> {
  for (let left = n; left > 0; left -= chunk.length)
    yield left < chunk.length ? chunk.subarray(0, left) : chunk
}

async function* bounded(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let bytes = 0
  for await (const piece of source) {
    bytes += piece.length
    if (bytes > echoBytesMax) throw new RangeError(`an echo has at most ${echoBytesMax} bytes`)
    yield piece
  }
}

function number(url: URL, name: string, max: number): number {
  const value = Number(url.searchParams.get(name) ?? 0)
  return Number.isFinite(value) ? Math.min(Math.max(0, Math.trunc(value)), max) : 0
}
