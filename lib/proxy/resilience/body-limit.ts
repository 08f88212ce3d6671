/**
 * How long a request body may be (`limits.request_body`). Of one that says its length it is known at once; one that comes in chunks is
 * counted as it passes, and nothing of it passes any more from the piece on that makes it too long.
 */
import { type Readable, Transform } from 'node:stream'
import type { BodySink, ClientEnd, RequestBody } from '../client-end.ts'

/** `bytes`: of the body so far, or as announced. Without a limit (0) nothing is too long. */
export function bodyTooLong(limitBytes: number, bytes: number): boolean {
  return limitBytes > 0 && bytes > limitBytes
}

/** What is sent of this client's body; null: there is none. One that says its length has been held against the limit before. */
export function bodyWithin(
  client: ClientEnd,
  limitBytes: number,
  exchange: { clientFault(code: 'payload_too_large', reason: null): void },
): RequestBody | null {
  const { body, upgrade } = client
  if (upgrade || body === null) return null
  if (limitBytes === 0 || body.length >= 0) return body
  return new LimitedBody(body, limitBytes, () => exchange.clientFault('payload_too_large', null))
}

/** A body of unknown length under a limit. `tooLong` is called once; what comes afterwards is dropped. */
export class LimitedBody implements RequestBody, BodySink {
  readonly length = -1
  readonly #body: RequestBody
  readonly #limitBytes: number
  readonly #tooLong: () => void
  #sink: BodySink | null = null
  #bytes = 0
  #over = false

  constructor(body: RequestBody, limitBytes: number, tooLong: () => void) {
    this.#body = body
    this.#limitBytes = limitBytes
    this.#tooLong = tooLong
  }

  start(sink: BodySink): void {
    this.#sink = sink
    this.#body.start(this)
  }

  resume(): void {
    this.#body.resume()
  }

  stream(): Readable & { readonly rawTrailers: readonly string[] } {
    const source = this.#body.stream()
    const counted = new Transform({
      transform: (bytes: Buffer, _encoding, done) => done(null, this.#passes(bytes) ? bytes : undefined),
    })
    // Trailers are there when the source has ended, and what is read here ends later.
    Object.defineProperty(counted, 'rawTrailers', { get: () => source.rawTrailers })
    // Without an error: who reads it hears of a client that left from elsewhere, and listens for none here.
    source.on('error', () => counted.destroy())
    source.once('close', () => source.readableEnded || counted.destroy())
    return source.pipe(counted) as Transform & { readonly rawTrailers: readonly string[] }
  }

  write(bytes: Buffer): boolean {
    return this.#passes(bytes) ? this.#sink!.write(bytes) : true
  }

  end(trailers: readonly string[]): void {
    if (!this.#over) this.#sink!.end(trailers)
  }

  #passes(bytes: Buffer): boolean {
    if (this.#over) return false
    this.#bytes += bytes.length
    if (!bodyTooLong(this.#limitBytes, this.#bytes)) return true
    this.#over = true
    this.#tooLong()
    return false
  }
}
