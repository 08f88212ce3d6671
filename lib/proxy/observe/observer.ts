/**
 * What one thread tells of its traffic: counters, access log, spans. An exchange asks it for a record, fills it, and hands it back
 * when it is over; what is made of it is decided here.
 *
 * Nothing here throws into traffic, waits, or grows without bound.
 */
import type { Clock } from '../../clock.ts'
import type { AccessLogConfig, TracingConfig } from '../../config/config.ts'
import type { Log } from '../../log.ts'
import { AccessLog } from './access-log.ts'
import type { Baton } from './baton.ts'
import type { Rows } from './counter-rows.ts'
import { type CounterColumn, Counters, type CountersBuffer } from './counters.ts'
import { ExchangeRecord } from './exchange-record.ts'
import type { ExchangeTrace } from './exchange-trace.ts'
import { SpanExporter, type SpanExporterDeps } from './span-exporter.ts'
import { startVitals } from './thread-vitals.ts'
import { type TraceFields, Tracer } from './tracer.ts'
import { TurnClock } from './turn-clock.ts'

/** What a reload may change. Plain data: it is posted to threads. */
export interface ObserveSettings {
  readonly accessLog: AccessLogConfig | null
  readonly tracing: TracingConfig
}

/** What a thread is told when something of it has changed. */
export interface ObserveUpdate extends ObserveSettings {
  readonly rows: Rows
}

/** Given to a thread at its birth. */
export interface ObserveInit extends ObserveUpdate {
  readonly counters: CountersBuffer
  /** Names this process in spans. */
  readonly instanceId: string
}

export interface ObserverDeps {
  readonly thread: number
  readonly clock: Clock
  readonly log: Log
  /** 0 to 1. */
  readonly random: () => number
}

type SharedDeps = Omit<SpanExporterDeps, 'instanceId'>

export class Observer {
  readonly turns: TurnClock
  readonly counters: CounterColumn
  readonly #shared: SharedDeps
  readonly #baton: Baton
  readonly #instanceId: string
  readonly #stopVitals: () => void
  #settings: ObserveSettings
  #tracer: Tracer
  #accessLog: AccessLog | null
  #exporter: SpanExporter | null
  #rows: Rows

  constructor(init: ObserveInit, deps: ObserverDeps) {
    const { clock, log, random, thread } = deps
    const all = new Counters(init.counters)
    this.counters = all.column(thread)
    this.turns = new TurnClock(clock)
    this.#shared = { clock, turns: this.turns, counters: this.counters, log, random }
    this.#baton = all.logBaton(thread)
    this.#instanceId = `${init.instanceId}-${thread}`
    this.#rows = init.rows
    this.#settings = { accessLog: init.accessLog, tracing: init.tracing }
    this.#tracer = new Tracer(init.tracing, random)
    this.#accessLog = this.#openLog()
    this.#exporter = this.#openExporter()
    this.#stopVitals = startVitals(this.counters, clock)
  }

  /** For an exchange whose head has just been read. */
  begin(): ExchangeRecord {
    return new ExchangeRecord(this.turns.now())
  }

  /** Whether anybody would read them: looking for a field costs time. */
  get wantsUserAgent(): boolean {
    return this.#settings.accessLog?.userAgent === true || this.#exporter !== null
  }

  get wantsReferer(): boolean {
    return this.#settings.accessLog?.referer === true
  }

  /** The cluster's row in the counters; 0 for one that is not known (yet). */
  row(cluster: string): number {
    return this.#rows.get(cluster) ?? 0
  }

  /** `trusted`: the peer is a trusted proxy. Null: the backend gets neither field. */
  trace(fields: TraceFields, trusted: boolean): ExchangeTrace | null {
    return this.#tracer.begin(fields, trusted)
  }

  /** The exchange, or the tunnel that it became, is over; nothing may be changed in its record any more. */
  over(record: ExchangeRecord): void {
    if (record.endMs === 0) record.endMs = this.turns.now()
    const { counters } = this
    const { row, startMs } = record
    counters.over(row, record.status, record.ending, record.error, record.endMs - startMs)
    if (record.headMs !== 0) counters.head(row, record.headMs - startMs)
    if (record.attempts > 0) counters.add(row, 'attempts', record.attempts)
    if (record.attempts > 1) {
      counters.add(row, 'retries', record.attempts - 1 - record.hedges)
      counters.add(row, 'hedges', record.hedges)
    }
    if (record.bytesIn > 0) counters.add(row, 'bytesIn', record.bytesIn)
    if (record.bytesOut > 0) counters.add(row, 'bytesOut', record.bytesOut)
    this.#accessLog?.record(record)
    const { trace } = record
    if (this.#exporter !== null && trace?.recording) this.#exporter.record(record, trace)
  }

  /** What stayed as it was goes on, with its files opened anew; what changed is begun again, and what it held is written first. */
  configure(update: ObserveUpdate): void {
    const { rows, ...settings } = update
    const before = this.#settings
    this.#rows = rows
    this.#settings = settings
    if (same(before.accessLog, settings.accessLog)) this.#accessLog?.reopen()
    else {
      void this.#accessLog?.close()
      this.#accessLog = this.#openLog()
    }
    if (same(before.tracing, settings.tracing)) this.#exporter?.reopen()
    else {
      void this.#exporter?.close()
      this.#exporter = this.#openExporter()
      this.#tracer = new Tracer(settings.tracing, this.#shared.random)
    }
  }

  /** Writes and sends what is left: two seconds at most. */
  async close(): Promise<void> {
    this.#stopVitals()
    await Promise.all([this.#accessLog?.close(), this.#exporter?.close()])
  }

  #openLog(): AccessLog | null {
    const { accessLog } = this.#settings
    return accessLog === null ? null : new AccessLog(accessLog, { ...this.#shared, baton: this.#baton })
  }

  #openExporter(): SpanExporter | null {
    const { otlp } = this.#settings.tracing
    return otlp === null ? null : new SpanExporter(otlp, { ...this.#shared, instanceId: this.#instanceId })
  }
}

/** Plain data only. */
const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b)
