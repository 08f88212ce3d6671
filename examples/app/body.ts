/** A request's body, whole and bounded. */
import type { IncomingMessage } from 'node:http'

const bodyBytesMax = 64 * 1024

/** Rejects with a RangeError when the body is larger than 64 KiB. */
export async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > bodyBytesMax) throw new RangeError(`a value has at most ${bodyBytesMax} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
