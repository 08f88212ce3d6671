/** What tests of the observation are made with: a log that is kept, records, counters of one thread. */
import type { Clock } from '../../lib/clock.ts'
import type { AccessLogConfig, TracingConfig } from '../../lib/config/config.ts'
import type { Log } from '../../lib/log.ts'
import { Counters } from '../../lib/proxy/observe/counters.ts'
import { ExchangeRecord } from '../../lib/proxy/observe/exchange-record.ts'
import { TurnClock } from '../../lib/proxy/observe/turn-clock.ts'

export interface Said {
  readonly level: string
  readonly facts: Record<string, unknown>
  readonly message: string
}

/** A log whose lines are kept. */
export function keptLog(): { readonly log: Log; readonly said: Said[] } {
  const said: Said[] = []
  const say = (level: string) => (facts: Record<string, unknown>, message: string) =>
    void said.push({ level, facts, message })
  const log = { warn: say('warn'), error: say('error'), info: say('info'), debug: () => {} }
  return { log: log as unknown as Log, said }
}

export const accessLogOf = (path: string, over: Partial<AccessLogConfig> = {}): AccessLogConfig => ({
  path,
  format: 'json',
  sample: 1,
  slowMs: 1_000,
  errors: 'always',
  query: 'keep',
  userAgent: false,
  referer: false,
  ...over,
})

export const noTracing: TracingConfig = { propagate: true, generate: 'auto', sample: 1, otlp: null }

/** What the parts of one thread's observation share. */
export function observing(clock: Clock, random = () => 0.5) {
  const counters = Counters.create(1)
  const { log, said } = keptLog()
  const shared = { clock, turns: new TurnClock(clock), counters: counters.column(0), log, random }
  return { counters, said, shared, baton: counters.logBaton(0) }
}

/** A good exchange of 12.5 ms. */
export const recordOf = (over: Partial<ExchangeRecord> = {}): ExchangeRecord =>
  Object.assign(
    new ExchangeRecord(1_000),
    { headMs: 1_011, endMs: 1_012.5, client: '10.0.0.9', method: 'GET', host: 'shop.example.com' },
    { target: '/', status: 200, cluster: 'web', row: 1, route: '/', backend: 'a', attempts: 1 },
    over,
  )
