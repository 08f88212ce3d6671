/**
 * Decides for each exchange which trace it belongs to, whether its spans are exported, and what backends are told.
 *
 *   client's context valid, and `propagate`  ─► the same trace: passed on untouched, or with our spans in it where it is recorded
 *   otherwise, and `generate`                ─► a trace that begins here
 *   otherwise                                ─► none
 *
 * A client's `sampled` flag is believed of trusted peers only: of others our own share decides, so that nobody outside can make us
 * record everything.
 */
import type { TracingConfig } from '../../config/config.ts'
import { ExchangeTrace } from './exchange-trace.ts'
import { parseTraceparent, parseTracestate, randomFlag, sampledFlag } from './trace-context.ts'
import { TraceIds } from './trace-ids.ts'

export interface TraceFields {
  /** As HTTP joins repeated ones: by commas. Undefined: absent. */
  readonly traceparent: string | undefined
  readonly tracestate: string | undefined
}

export class Tracer {
  readonly #config: TracingConfig
  readonly #random: () => number
  readonly #ids = new TraceIds()
  readonly #newSpanId = () => this.#ids.span()
  readonly #generates: boolean

  constructor(config: TracingConfig, random: () => number) {
    this.#config = config
    this.#random = random
    this.#generates = config.generate === 'always' || (config.generate === 'auto' && config.otlp !== null)
  }

  /** Null: no trace; the backend gets neither field. */
  begin(fields: TraceFields, trusted: boolean): ExchangeTrace | null {
    if (fields.traceparent !== undefined && this.#config.propagate) {
      const trace = this.#joined(fields.traceparent, fields.tracestate, trusted)
      if (trace !== null) return trace
    }
    return this.#generates ? this.#begun() : null
  }

  #joined(traceparent: string, tracestate: string | undefined, trusted: boolean): ExchangeTrace | null {
    const parent = parseTraceparent(traceparent)
    if (parent === null) return null
    const sampled = trusted ? (parent.flags & sampledFlag) !== 0 : this.#chosen()
    const recording = this.#config.otlp !== null && sampled
    return new ExchangeTrace(
      {
        traceId: parent.traceId,
        parentId: parent.parentId,
        // Who takes no part needs no span of its own.
        spanId: recording ? this.#ids.span() : parent.parentId,
        flags: recording ? parent.flags | sampledFlag : parent.flags,
        tracestate: tracestate === undefined ? null : parseTracestate(tracestate),
        recording,
        passed: recording ? null : traceparent.trim(),
      },
      this.#newSpanId,
    )
  }

  #begun(): ExchangeTrace {
    const sampled = this.#chosen()
    return new ExchangeTrace(
      {
        traceId: this.#ids.trace(),
        parentId: null,
        spanId: this.#ids.span(),
        flags: randomFlag | (sampled ? sampledFlag : 0),
        tracestate: null,
        recording: this.#config.otlp !== null && sampled,
        passed: null,
      },
      this.#newSpanId,
    )
  }

  #chosen(): boolean {
    const { sample } = this.#config
    return sample >= 1 || (sample > 0 && this.#random() < sample)
  }
}
