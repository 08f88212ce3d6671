/**
 * The body of a request that is copied: kept while it passes, at the pace of whom it is for, and sent when it is whole.
 *
 *   passing ── the last byte ──► whole: told once, with all of it
 *      └── longer than may be kept, given up ──► dropped: what was kept is gone, the body passes on
 */
import { Readable } from 'node:stream'
import type { BodySink, RequestBody } from './client-end.ts'

type Trailers = readonly string[]

/** How much may be kept, and who hears of it. */
export interface TeeOwner {
  readonly limitBytes: number
  /** Room for so many bytes more. False: there is none. */
  take(bytes: number): boolean
  give(bytes: number): void
  whole(body: HeldBody): void
  dropped(): void
}

/** Stands before a body and keeps what passes. It never holds anything up. */
export class Tee implements RequestBody, BodySink {
  readonly length: number
  readonly #body: RequestBody
  readonly #owner: TeeOwner
  #kept: Buffer[] | null = []
  #keptBytes = 0
  #sink: BodySink | null = null

  constructor(body: RequestBody, owner: TeeOwner) {
    this.#body = body
    this.#owner = owner
    this.length = body.length
    if (body.length > owner.limitBytes) this.#drop()
  }

  start(sink: BodySink): void {
    this.#sink = sink
    this.#body.start(this)
  }

  resume(): void {
    this.#body.resume()
  }

  stream(): Readable & { readonly rawTrailers: Trailers } {
    const stream = this.#body.stream()
    // Who asks for it begins to read it at once, so that nothing is lost to these.
    stream.on('data', (bytes: Buffer) => this.#keep(bytes))
    stream.on('end', () => this.#whole(stream.rawTrailers))
    return stream
  }

  write(bytes: Buffer): boolean {
    this.#keep(bytes)
    return this.#sink!.write(bytes)
  }

  end(trailers: Trailers): void {
    this.#sink!.end(trailers)
    this.#whole(trailers)
  }

  /** Its exchange is over; harmless after the end. */
  giveUp(): void {
    if (this.#kept !== null) this.#drop()
  }

  #keep(bytes: Buffer): void {
    if (this.#kept === null) return
    const { limitBytes } = this.#owner
    if (this.#keptBytes + bytes.length > limitBytes || !this.#owner.take(bytes.length)) return this.#drop()
    this.#keptBytes += bytes.length
    this.#kept.push(Buffer.from(bytes))
  }

  #whole(trailers: Trailers): void {
    const kept = this.#kept
    if (kept === null) return
    this.#kept = null
    this.#owner.whole(new HeldBody(kept, this.#keptBytes, this.length, trailers))
  }

  #drop(): void {
    this.#kept = null
    this.#owner.give(this.#keptBytes)
    this.#owner.dropped()
  }
}

/** A whole body that is here. */
export class HeldBody implements RequestBody {
  readonly length: number
  readonly bytes: number
  readonly #chunks: readonly Buffer[]
  readonly #trailers: Trailers
  #sink: BodySink | null = null
  #next = 0
  #ended = false

  /** `length`: as it was announced; -1: it was not. */
  constructor(chunks: readonly Buffer[], bytes: number, length: number, trailers: Trailers) {
    this.#chunks = chunks
    this.bytes = bytes
    this.length = length
    this.#trailers = trailers
  }

  start(sink: BodySink): void {
    this.#sink = sink
    this.resume()
  }

  resume(): void {
    if (this.#sink === null || this.#ended) return
    while (this.#next < this.#chunks.length) {
      const chunk = this.#chunks[this.#next++]!
      if (!this.#sink.write(chunk)) return
    }
    this.#ended = true
    this.#sink.end(this.#trailers)
  }

  stream(): Readable & { readonly rawTrailers: Trailers } {
    return Object.assign(Readable.from(this.#chunks, { objectMode: false }), { rawTrailers: this.#trailers })
  }
}
