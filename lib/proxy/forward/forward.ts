/**
 * The seam between an exchange and what carries it to a backend. An engine knows one member, one request and its deadlines; it
 * chooses nobody, retries nothing and writes no head: those are the exchange's.
 */
import type { Duplex } from 'node:stream'
import type { Clock } from '../../clock.ts'
import type { Member } from '../../cluster/member.ts'
import type { TimeoutsConfig } from '../../config/config.ts'
import type { AnswerBody, AnswerHead, ClientEnd, OutboundHead, RequestBody } from '../client-end.ts'
import type { Failure } from '../retry.ts'
import type { RouteCluster } from '../route-table.ts'
import type { TlsHolder } from '../tls/holder.ts'
import { createH2 } from './h2/h2.ts'
import { createHttpProxy3 } from './http-proxy-3.ts'
import { createRelay } from './relay/relay.ts'

export interface ForwardRequest {
  readonly member: Member
  readonly method: string
  /** Sent byte for byte. */
  readonly target: string
  readonly head: OutboundHead
  /** Not read before the connection stands, so that a failed connect leaves it whole. Null: no body. */
  readonly body: RequestBody | null
  readonly timeouts: TimeoutsConfig
  /** True: not on a pooled connection. */
  readonly fresh: boolean
}

/**
 * What comes of a request, in this order:
 *
 *   bodyWanted? ─► information* ─► response ─► done
 *         └──────────────┴────────────┴──────► failed      (upgrade: switched instead of response and done)
 *
 * After `done`, `failed`, `switched` or an `abort()` nothing more is called.
 */
export interface ForwardEvents {
  /** The connection stands and the body is about to be read. */
  bodyWanted(): void
  /** 102, 103 and other interim answers but 100 and 101. */
  information(head: AnswerHead): void
  /** The head of the answer. Returns where its body goes; the engine writes there with back-pressure and does not end it. */
  response(head: AnswerHead): AnswerBody
  done(rawTrailers: readonly string[]): void
  /** 101: from the return of this call on, the tunnel that was given to `upgrade` is connected. */
  switched(head: AnswerHead): void
  failed(failure: Failure): void
}

export interface ForwardCall {
  /** It waits for a connection, or for one to be made. */
  readonly connecting: boolean
  /** Gives up: the backend connection is destroyed. Harmless when it is over. */
  abort(): void
}

/** A backend's connection that became a tunnel, for an engine that moves its bytes itself. */
export interface BackendEnd {
  /** The bytes are the giver's again after the call. False: full; `TunnelEnd.backendRoom` follows. */
  write(bytes: Uint8Array): boolean
  end(): void
  resume(): void
}

/** Client's end of an upgrade: a Duplex with those methods of a socket that engines set, and a way past the streams. */
export interface TunnelEnd extends Duplex {
  /** Before `switched`: what the client sends goes there, and no longer to who reads this stream. */
  join(backend: BackendEnd): void
  /** The bytes are the giver's again after the call. False: the client is full; the backend is resumed when there is room. */
  fromBackend(bytes: Buffer): boolean
  backendRoom(): void
  backendEnded(): void
  setTimeout(ms: number): unknown
  setNoDelay(on: boolean): unknown
  setKeepAlive(on: boolean, delayMs: number): unknown
  destroySoon(): void
}

export interface Forward {
  readonly name: string
  send(request: ForwardRequest, events: ForwardEvents): ForwardCall
  upgrade(request: ForwardRequest, client: TunnelEnd, events: ForwardEvents): ForwardCall
  /** Drops the idle pooled connections of a member that left; those in use end with their exchange. */
  forget(member: Member): void
  close(): void
}

export interface ForwardDeps {
  readonly clock: Clock
  /** Needed where members are spoken to over TLS. */
  readonly tls?: TlsHolder
}

export type CreateForward = (deps: ForwardDeps) => Forward

/** For HTTP/1.1, which there are two of. */
export type EngineName = 'relay' | 'http-proxy-3'

const engines = {
  relay: createRelay,
  'http-proxy-3': createHttpProxy3,
  h2: createH2,
} as const satisfies Record<EngineName | 'h2', CreateForward>

/** The engines of one event loop, each made when it is first needed. */
export class Forwards {
  readonly #deps: ForwardDeps
  readonly #engines = new Map<string, Forward>()

  constructor(deps: ForwardDeps) {
    this.#deps = deps
  }

  /** What carries this client's requests to this cluster. */
  of(client: ClientEnd, cluster: RouteCluster): Forward {
    return this.engine(cluster.protocol === 'h2' ? 'h2' : client.engine)
  }

  engine(name: EngineName | 'h2'): Forward {
    let engine = this.#engines.get(name)
    if (engine === undefined) {
      engine = engines[name](this.#deps)
      this.#engines.set(name, engine)
    }
    return engine
  }

  forget(member: Member): void {
    for (const engine of this.#engines.values()) engine.forget(member)
  }

  close(): void {
    for (const engine of this.#engines.values()) engine.close()
  }
}
