/** A request's body as a stream, for the engines that want one. */
import { Readable } from 'node:stream'
import type { RequestBody } from '../../client-end.ts'

export class BodyStream extends Readable {
  rawTrailers: readonly string[] = []
  readonly #body: RequestBody
  #started = false

  constructor(body: RequestBody) {
    super({ autoDestroy: false })
    this.#body = body
  }

  override _read(): void {
    if (this.#started) return this.#body.resume()
    this.#started = true
    this.#body.start({
      write: bytes => this.push(Buffer.from(bytes)),
      end: trailers => {
        this.rawTrailers = trailers
        this.push(null)
      },
    })
  }
}
