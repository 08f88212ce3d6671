/**
 * The client's end of one exchange, whatever protocol it speaks: what it asked, and the ways to answer it. @pure
 * An exchange decides; an end carries out. `forward/relay/client.ts` is the one on a bare socket, `node-client.ts` the one on what
 * `node:http` and `node:http2` give.
 */
import type { OutgoingHttpHeaders } from 'node:http'
import type { Readable, Writable } from 'node:stream'
import type { Member } from '../cluster/member.ts'
import type { ErrorCode } from '../errors.ts'
import type { Hop, HttpVersion, InboundExtras } from './headers.ts'
import type { Refusal, Screened } from './screen.ts'
import type { Tunnel } from './tunnel.ts'

/** The request's head on its way to a backend, in the form that an engine wants. */
export interface OutboundHead {
  /** Lower-case names. */
  fields(): OutgoingHttpHeaders
  /** The whole head as HTTP/1.1 text, with its blank line. */
  text(member: Member): string
}

/**
 * Takes bytes, which are the giver's again after the call; says whether it wants more now. Who was told no waits for `resume` of its
 * own side.
 */
export interface BodySink {
  write(bytes: Buffer): boolean
  /** `trailers`: name and value in turns. */
  end(trailers: readonly string[]): void
}

/** A request's body. One of the two ways to read it is taken, once. */
export interface RequestBody {
  /** Bytes; -1: not known before its end. */
  readonly length: number
  /** Pushes what has come and what comes into the sink. */
  start(sink: BodySink): void
  /** The sink has room again. */
  resume(): void
  /** The same for those who want a stream. */
  stream(): Readable & { readonly rawTrailers: readonly string[] }
}

/** An answer's head as a backend wrote it, without its framing. */
export interface AnswerHead {
  readonly status: number
  readonly message: string
  /** What the backend speaks, for `Via`. Left out: HTTP/1.1. */
  readonly version?: HttpVersion
  /** True: the head is the whole answer, said so by its protocol (HTTP/2). */
  readonly ended?: boolean
  /** Name and value in turns. */
  fields(): readonly string[]
}

/** Where an answer's body goes. One of the two ways is taken. */
export interface AnswerBody {
  /** The bytes are the caller's again after the call. False: wait for `onRoom`. */
  write(bytes: Buffer): boolean
  /** No more bytes now: what was held back to go out with others goes. */
  flush(): void
  /** Called each time there is room again. */
  onRoom(listener: () => void): void
  stream(): Writable
}

export interface ClientEnd {
  /** What carries its requests to backends that speak HTTP/1.1. */
  readonly engine: 'relay' | 'http-proxy-3'
  readonly protocol: 'HTTP/1.0' | 'HTTP/1.1' | 'HTTP/2'
  readonly secure: boolean
  /** As `TLSv1.3`; null: plain text. */
  readonly tlsVersion: string | null
  /** Of the bodies of this request and its answer: read, and given to be sent. */
  readonly bytesIn: number
  readonly bytesOut: number
  /** The address that the connection came from, or that a trusted PROXY header named; plain. */
  readonly peer: string
  readonly localPort: number

  readonly method: string
  readonly line: Screened | Refusal
  /** A header field by its lower-case name. */
  field(name: string): string | undefined
  readonly body: RequestBody | null
  /** The request has been read to its last byte. */
  readonly bodyComplete: boolean
  /** It was cut, because it did not read the end of its answer in time. */
  readonly tooSlow: boolean
  /** It wants a WebSocket. */
  readonly upgrade: boolean
  outbound(hop: Hop): OutboundHead

  /** The client waits for it before it sends its body; harmless otherwise. */
  sendContinue(): void
  sendInformation(head: AnswerHead): void
  /** The head of the answer has gone out, or nobody is left to read it. */
  readonly answered: boolean
  /** `close`: the connection carries no other exchange after this one. Throws on what cannot be said to a client. */
  sendHead(head: AnswerHead, extras: InboundExtras, close: boolean): AnswerBody
  finish(trailers: readonly string[]): void
  /** An answer of our own, instead of any other. `fields`: added to it. */
  refuse(
    code: ErrorCode,
    reason: string | null,
    close: boolean,
    fields: readonly (readonly [string, string])[],
  ): void
  /** The answer cannot be completed: the client must see that it is not whole. */
  break(): void
  /** A tunnel for the client's connection; it touches nothing until it is opened. */
  tunnel(member: Member, idleMs: number): Tunnel
  /** Sends the 101 (or what stands for it) and hands the connection over. */
  switch(tunnel: Tunnel, head: AnswerHead, extras: InboundExtras): void
}
