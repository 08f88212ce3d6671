/** The keys `clusters[].retries`, `.hedge`, `.limits`, `.rate_limit` and `overload`: what is tried again, held back or refused. @pure */
import { refuse, show, strict, z } from '../schema.ts'
import { parseSize, type Unit } from '../units.ts'
import type {
  HedgeConfig,
  LimitsConfig,
  OverloadConfig,
  RateLimitConfig,
  ResilienceConfig,
  RetriesConfig,
  RetryCondition,
  TimeoutsConfig,
} from './config.ts'
import { choice, duration, ratio, read, sizeOrNone, whole } from './fields.ts'

const minuteMs = 60_000
const hourMs = 3_600_000
const MiB = 1024 ** 2
const TiB = 1024 ** 4
const countMax = 1_000_000
/** A client's whole burst comes back within this time: how far ahead the shared table can count (`proxy/resilience/rate-table`). */
const burstSecondsMax = 600
const conditions = ['connect', 'reused', 'reset', 502, 503, 504] as const

/** YAML reads `502` as a number; in quotes it means the same. */
const condition = () =>
  read((value): Unit<RetryCondition> => {
    const known = conditions.find(word => String(word) === String(value))
    if (known !== undefined) return { ok: true, value: known }
    return { ok: false, message: `${show(value)} is not known here`, fix: `one of ${conditions.join(', ')}` }
  })

export const retries = strict({
  attempts: whole(0, 10, 'attempts').prefault(2),
  on: z.array(condition()).max(conditions.length).prefault(['connect', 'reused']),
  methods: choice(['safe', 'idempotent']).prefault('safe'),
  per_try_timeout: duration(10, hourMs).optional(),
  budget_ratio: ratio(0, 1).prefault(0.2),
  budget_min_per_second: whole(0, 10_000, 'budget_min_per_second').prefault(3),
}).transform(
  (value): RetriesConfig => ({
    attempts: value.attempts,
    on: value.on,
    methods: value.methods,
    perTryTimeoutMs: value.per_try_timeout ?? null,
    budgetRatio: value.budget_ratio,
    budgetMinPerSecond: value.budget_min_per_second,
  }),
)

export const hedge = strict({
  after: duration(1, minuteMs),
  max_percent: ratio(0.1, 100).prefault(10),
}).transform((value): HedgeConfig => ({ afterMs: value.after, maxPercent: value.max_percent }))

export const limits = strict({
  requests: whole(0, countMax, 'requests').prefault(0),
  requests_per_member: whole(0, countMax, 'requests_per_member').prefault(0),
  connections: whole(0, countMax, 'connections').prefault(0),
  pending: whole(0, countMax, 'pending').prefault(1000),
  queue_timeout: duration(10, 10 * minuteMs).prefault('5s'),
  request_body: sizeOrNone(TiB).prefault(0),
}).transform((value, ctx): LimitsConfig => {
  const { requests, requests_per_member: perMember } = value
  if (requests > 0 && perMember > requests)
    refuse(
      ctx,
      `requests_per_member ${perMember} is more than the ${requests} of the whole cluster`,
      'at most as many as `requests`',
      ['requests_per_member'],
    )
  return {
    requests,
    requestsPerMember: perMember,
    connections: value.connections,
    pending: value.pending,
    queueTimeoutMs: value.queue_timeout,
    requestBodyBytes: value.request_body,
  }
})

/** `client_ip`, or `header:x-api-key`. */
const clientName = () =>
  read((value): Unit<string | null> => {
    if (value === 'client_ip') return { ok: true, value: null }
    const name =
      typeof value === 'string' ? /^header:([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64})$/.exec(value)?.[1] : undefined
    if (name !== undefined) return { ok: true, value: name.toLowerCase() }
    return {
      ok: false,
      message: `${show(value)} does not say what a client is`,
      fix: 'one of client_ip, "header:NAME"',
    }
  })

export const rateLimit = strict({
  requests_per_second: ratio(0.01, countMax),
  burst: whole(1, countMax, 'burst').optional(),
  key: clientName().prefault('client_ip'),
  clients_max: whole(1_000, 10_000_000, 'clients_max').prefault(100_000),
}).transform((value, ctx): RateLimitConfig => {
  const rate = value.requests_per_second
  const burst = value.burst ?? Math.max(1, Math.ceil(rate))
  if (burst > rate * burstSecondsMax && value.burst !== undefined && burst > 1)
    refuse(
      ctx,
      `a burst of ${burst} takes longer than ${burstSecondsMax / 60} minutes to come back at ${rate} per second`,
      `at most ${Math.max(1, Math.floor(rate * burstSecondsMax))}`,
      ['burst'],
    )
  return { requestsPerSecond: rate, burst, header: value.key, clientsMax: value.clients_max }
})

const memoryMin = 16 * MiB

/** `auto`: half of the machine, since instances may run beside us. */
const memory = (auto: () => number) =>
  read((value): Unit<number> => {
    if (value === 'auto') return { ok: true, value: auto() }
    const parsed = parseSize(value)
    if (!parsed.ok) return { ok: false, message: parsed.message, fix: `\`auto\`, or ${parsed.fix}` }
    if (parsed.value >= memoryMin) return parsed
    return { ok: false, message: `${show(value)} is too small`, fix: '`auto`, or at least 16MiB' }
  })

export const overloadFor = ({ memoryBytes }: { readonly memoryBytes: number }) =>
  strict({
    max_memory: memory(() => Math.max(memoryMin, Math.floor(memoryBytes / 2))).prefault('auto'),
    max_event_loop_delay: duration(10, minuteMs).prefault('200ms'),
    max_connections: whole(1, 10_000_000, 'max_connections').prefault(50_000),
  }).transform(
    (value): OverloadConfig => ({
      maxMemoryBytes: value.max_memory,
      maxEventLoopDelayMs: value.max_event_loop_delay,
      maxConnections: value.max_connections,
    }),
  )

interface Parts {
  readonly retries: RetriesConfig
  readonly hedge?: HedgeConfig | undefined
  readonly limits: LimitsConfig
  readonly rate_limit?: RateLimitConfig | undefined
}

/** The four keys of a cluster as one value, held against its timeouts. */
export function resilienceOf(
  parts: Parts,
  timeouts: TimeoutsConfig,
  ctx: z.core.$RefinementCtx,
): ResilienceConfig {
  const { perTryTimeoutMs } = parts.retries
  const { headerMs } = timeouts
  const late = (what: string, path: string[]) =>
    refuse(
      ctx,
      `${what} would never come: \`timeouts.header\` is ${headerMs}ms`,
      `less than ${headerMs}ms`,
      path,
    )
  if (perTryTimeoutMs !== null && perTryTimeoutMs >= headerMs)
    late('the end of a try', ['retries', 'per_try_timeout'])
  if (parts.hedge && parts.hedge.afterMs >= headerMs) late('the second request', ['hedge', 'after'])
  const { retries, limits } = parts
  return { retries, hedge: parts.hedge ?? null, limits, rateLimit: parts.rate_limit ?? null }
}
