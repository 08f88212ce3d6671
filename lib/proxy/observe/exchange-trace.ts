/**
 * The trace that one exchange belongs to: what the client said of it or what we made up, and the attempts of the exchange as
 * spans of it. It is made by `Tracer.begin` and read when the exchange is over.
 */
import type { ErrorCode } from '../../errors.ts'
import { formatTraceparent, sampledFlag } from './trace-context.ts'

/** One sending to a backend: a client span, where spans are recorded. */
export interface AttemptSpan {
  /** What the backend gets as `traceparent`. */
  readonly traceparent: string
  readonly spanId: string
  readonly backend: string
  readonly host: string
  readonly port: number
  readonly secure: boolean
  readonly startMs: number
  /** Filled in by who sends it: when it is over (0: when the exchange is), with what. */
  endMs: number
  status: number
  error: ErrorCode | null
}

/** A member will do. */
export interface AttemptTarget {
  readonly id: string
  readonly host: string
  readonly port: number
  /** TLS. */
  readonly secure?: boolean
}

export interface ExchangeTraceInit {
  readonly traceId: string
  /** The client's span; null: the trace begins here. */
  readonly parentId: string | null
  /** Ours. */
  readonly spanId: string
  readonly flags: number
  /** Passed on as it came; null: none, or not valid. */
  readonly tracestate: string | null
  /** Spans of it are exported. */
  readonly recording: boolean
  /** Passed on unchanged where we take no part in the trace; null: a new one for each attempt. */
  readonly passed: string | null
}

export class ExchangeTrace {
  readonly traceId: string
  readonly parentId: string | null
  readonly spanId: string
  readonly flags: number
  readonly tracestate: string | null
  readonly recording: boolean
  readonly attempts: AttemptSpan[] = []
  readonly #passed: string | null
  readonly #newSpanId: () => string

  constructor(init: ExchangeTraceInit, newSpanId: () => string) {
    this.traceId = init.traceId
    this.parentId = init.parentId
    this.spanId = init.spanId
    this.flags = init.flags
    this.tracestate = init.tracestate
    this.recording = init.recording
    this.#passed = init.passed
    this.#newSpanId = newSpanId
  }

  get sampled(): boolean {
    return (this.flags & sampledFlag) !== 0
  }

  /** The exchange is sent to a backend: what it gets as `traceparent` is in the answer. */
  attempt(to: AttemptTarget, nowMs: number): AttemptSpan {
    const spanId = this.recording ? this.#newSpanId() : this.spanId
    const attempt: AttemptSpan = {
      traceparent: this.#passed ?? formatTraceparent(this.traceId, spanId, this.flags),
      spanId,
      backend: to.id,
      host: to.host,
      port: to.port,
      secure: to.secure ?? false,
      startMs: nowMs,
      endMs: 0,
      status: 0,
      error: null,
    }
    // Only attempts that will be told are kept.
    if (this.recording) this.attempts.push(attempt)
    return attempt
  }
}
