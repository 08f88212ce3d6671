/** The keys of `clusters[].health` and `clusters[].outlier`: who is checked how, and when traffic itself speaks against one. @pure */
import { refuse, show, strict, z } from '../schema.ts'
import type { Unit } from '../units.ts'
import type { HealthConfig, OutlierConfig, StatusRange } from './config.ts'
import { authority, duration, grpcService, ratio, read, requestPath, whole } from './fields.ts'

const minuteMs = 60_000
const hourMs = 3_600_000
const rangesMax = 50

/** `204`, or `"200-399"`. */
const statusRange = () =>
  read((value): Unit<StatusRange> => {
    const text = typeof value === 'number' ? String(value) : value
    const match = typeof text === 'string' ? /^(\d{3})(?:-(\d{3}))?$/.exec(text) : null
    const from = Number(match?.[1])
    const to = Number(match?.[2] ?? match?.[1])
    if (from >= 200 && to <= 599 && from <= to) return { ok: true, value: { from, to } }
    return {
      ok: false,
      message: `${show(value)} is not a status or a range of them`,
      fix: 'as 204 or "200-399", from 200 to 599',
    }
  })

export const statuses = () => z.array(statusRange()).max(rangesMax)

/** Of every kind of check. */
const rhythm = {
  interval: duration(50, hourMs).prefault('2s'),
  timeout: duration(10, 10 * minuteMs).prefault('1s'),
  healthy_threshold: whole(1, 100, 'healthy_threshold').prefault(2),
  unhealthy_threshold: whole(1, 100, 'unhealthy_threshold').prefault(3),
  slow_ratio: ratio(0, 1).prefault(0.5),
  degraded_threshold: whole(0, 100, 'degraded_threshold').prefault(50),
  panic_threshold: whole(0, 100, 'panic_threshold').prefault(0),
}

const http = strict({
  type: z.literal('http'),
  path: requestPath().prefault('/'),
  host: authority().optional(),
  expect_status: statuses().min(1).prefault(['200-399']),
  degraded_status: statuses().prefault([]),
  draining_status: statuses().prefault([]),
  ...rhythm,
})
const tcp = strict({ type: z.literal('tcp'), ...rhythm })
const grpc = strict({
  type: z.literal('grpc'),
  service: grpcService().prefault(''),
  host: authority().optional(),
  ...rhythm,
})

/** Without `type` the keys are those of `http`. */
export const health = z
  .preprocess(
    value =>
      typeof value === 'object' && value !== null && !Array.isArray(value) && !('type' in value)
        ? { type: 'http', ...value }
        : value,
    z.discriminatedUnion('type', [http, tcp, grpc]),
  )
  .transform((value): HealthConfig => {
    const asked = value.type === 'http' ? value : null
    return {
      type: value.type,
      path: asked?.path ?? '/',
      host: value.type === 'tcp' ? null : (value.host ?? null),
      service: value.type === 'grpc' ? value.service : '',
      expectStatus: asked?.expect_status ?? [],
      degradedStatus: asked?.degraded_status ?? [],
      drainingStatus: asked?.draining_status ?? [],
      intervalMs: value.interval,
      timeoutMs: value.timeout,
      healthyThreshold: value.healthy_threshold,
      unhealthyThreshold: value.unhealthy_threshold,
      slowRatio: value.slow_ratio,
      degradedThreshold: value.degraded_threshold,
      panicThreshold: value.panic_threshold,
    }
  })

export const outlier = strict({
  consecutive_failures: whole(0, 1000, 'consecutive_failures').prefault(5),
  failure_ratio: ratio(0, 1).prefault(0.5),
  min_requests: whole(1, 1_000_000, 'min_requests').prefault(20),
  interval: duration(50, hourMs).prefault('10s'),
  base_ejection: duration(50, 24 * hourMs).prefault('30s'),
  max_ejection: duration(50, 24 * hourMs).prefault('5m'),
  max_ejected: ratio(0, 1).prefault(0.3),
}).transform((value, ctx): OutlierConfig => {
  if (value.max_ejection < value.base_ejection)
    refuse(
      ctx,
      'max_ejection is shorter than base_ejection',
      'make max_ejection at least as long as base_ejection',
      ['max_ejection'],
    )
  if (value.consecutive_failures === 0 && value.failure_ratio === 0)
    refuse(ctx, 'nothing would ever be ejected', 'leave `outlier` out, or set one of the two above 0', [
      'consecutive_failures',
    ])
  return {
    consecutiveFailures: value.consecutive_failures,
    failureRatio: value.failure_ratio,
    minRequests: value.min_requests,
    intervalMs: value.interval,
    baseEjectionMs: value.base_ejection,
    maxEjectionMs: value.max_ejection,
    maxEjected: value.max_ejected,
  }
})
