/**
 * The body of the request that is on a client connection: where it ends, and whom its bytes go to. Nothing of it is taken from the
 * socket before somebody wants it.
 *
 *   none      waiting ── start ──► flowing ── last byte ──► whole
 *                                     └── not a body ─────► faulty
 */
import type { Socket } from 'node:net'
import type { BodySink, RequestBody } from '../../client-end.ts'
import { ChunkedReader, type ChunkSink } from '../../http1/chunked.ts'
import type { RequestHead } from '../../http1/request-head.ts'
import { BodyStream } from './body-stream.ts'

/** The connection, as its body sees it. */
export interface BodyOwner {
  /** What came before anybody wanted it, taken out. */
  takeRest(): Buffer | null
  /** The last byte was read; `left` belongs to later requests. */
  bodyRead(left: Buffer | null): void
  bodyFault(reason: string): void
  /** The client has ended before its body did. */
  bodyCut(): void
}

export class ConnectionBody implements RequestBody, ChunkSink {
  complete = true
  /** Of the body that were read, without their framing. */
  bytes = 0
  length = -1
  readonly #socket: Socket
  readonly #owner: BodyOwner
  #remaining = 0
  #chunked = false
  #chunks: ChunkedReader | null = null
  #sink: BodySink | null = null

  constructor(socket: Socket, owner: BodyOwner) {
    this.#socket = socket
    this.#owner = owner
  }

  get wanted(): boolean {
    return this.#sink !== null
  }

  begin(head: RequestHead): void {
    this.#sink = null
    this.bytes = 0
    this.complete = head.body === 'none'
    this.length = head.body === 'length' ? head.length : -1
    this.#remaining = head.length
    this.#chunked = head.body === 'chunked'
    if (!this.#chunked) return
    this.#chunks ??= new ChunkedReader()
    this.#chunks.reset()
  }

  start(sink: BodySink): void {
    this.#sink = sink
    const rest = this.#owner.takeRest()
    if (rest !== null) this.feed(rest)
    this.resume()
  }

  resume(): void {
    if (this.complete) return
    if (this.#socket.readableEnded) this.#owner.bodyCut()
    else this.#socket.resume()
  }

  stream(): BodyStream {
    return new BodyStream(this)
  }

  feed(bytes: Buffer): void {
    if (this.#chunked) return this.#feedChunks(bytes)
    const end = Math.min(bytes.length, this.#remaining)
    this.#remaining -= end
    this.onBody(end === bytes.length ? bytes : bytes.subarray(0, end))
    if (this.#remaining === 0) this.#end(bytes, end, [])
  }

  onBody(bytes: Buffer): void {
    this.bytes += bytes.length
    if (!this.#sink!.write(bytes)) this.#socket.pause()
  }

  #feedChunks(bytes: Buffer): void {
    const chunks = this.#chunks!
    const end = chunks.feed(bytes, 0, this)
    if (chunks.state === 'fault') this.#owner.bodyFault(chunks.fault)
    else if (chunks.state === 'done') this.#end(bytes, end, chunks.trailers ?? [])
  }

  #end(bytes: Buffer, end: number, trailers: readonly string[]): void {
    if (this.complete) return
    this.complete = true
    this.#owner.bodyRead(end < bytes.length ? bytes.subarray(end) : null)
    this.#sink!.end(trailers)
  }
}
