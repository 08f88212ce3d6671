/**
 * What is known of one exchange (or tunnel): a flat object that it fills on its way, read once when it is over. @pure
 * Everything that reads it (counters, access log, spans) is behind `Observer.over`, so an exchange knows none of them.
 */
import type { ErrorCode } from '../../errors.ts'
import type { Ending } from './ending.ts'
import type { ExchangeTrace } from './exchange-trace.ts'

export type Protocol = 'HTTP/1.0' | 'HTTP/1.1' | 'HTTP/2'

export class ExchangeRecord {
  /** When the request's head was complete. Times are `TurnClock.now()`. */
  startMs: number
  /** When the backend's final head was here; 0: none came. */
  headMs = 0
  /** When its last byte was written to the client, or it broke. */
  endMs = 0
  /** The client's address as routing took it: the peer, or what a trusted proxy says. */
  client = ''
  method = ''
  /** The authority of the request as it was routed, with its port if it had one. */
  host = ''
  /** As it came: path and query. */
  target = ''
  protocol: Protocol = 'HTTP/1.1'
  /** `TLSv1.2`, `TLSv1.3`; null: plain. */
  tls: string | null = null
  userAgent: string | null = null
  referer: string | null = null
  /** What the client was answered; 0: nothing. */
  status = 0
  /** Of the bodies that passed, without framing. Of a tunnel: after the 101. */
  bytesIn = 0
  bytesOut = 0
  /** Null: it was refused before it was routed. */
  cluster: string | null = null
  /** The cluster's row in the counters; 0: none. */
  row = 0
  /** The path prefix of the route that matched. */
  route: string | null = null
  /** The backend that answered, or else the last it was sent to. */
  backend: string | null = null
  /** How often it was sent to a backend, those below included. */
  attempts = 0
  /** Of the attempts: sent beside one that had not failed. */
  hedges = 0
  error: ErrorCode | null = null
  ending: Ending = '--'
  trace: ExchangeTrace | null = null

  constructor(startMs: number) {
    this.startMs = startMs
  }
}
