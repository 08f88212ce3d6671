/** The keys of `clusters[].scaling`: between which bounds a cluster grows and shrinks, and what stands ready for it. @pure */
import { policyBounds, policyDefaults, policyOfView, protections } from '../policy.ts'
import { refuse, strict, z } from '../schema.ts'
import type {
  ScalingPolicy,
  SnapshotLimits,
  StandbyClonesConfig,
  StandbyConfig,
  WakeConfig,
} from './config.ts'
import { cronFault } from './cron.ts'
import { choice, duration, ratio, size, whole } from './fields.ts'

const minuteMs = 60_000
const dayMs = 86_400_000
const TiB = 1024 ** 4

const bounded = (
  key: Exclude<keyof typeof policyBounds, 'target_cpu_utilization' | 'rolling_max_failure_ratio'>,
) => whole(policyBounds[key].min, policyBounds[key].max, key)
const { target_cpu_utilization: cpu, rolling_max_failure_ratio: failures } = policyBounds

const scaleToZero = strict({
  idle_after: duration(1_000, 30 * dayMs).prefault('5m'),
  max_waiting: whole(1, 10_000, 'max_waiting').prefault(100),
  wait_timeout: duration(100, 10 * minuteMs).prefault('30s'),
}).transform(
  (value): WakeConfig => ({
    idleAfterMs: value.idle_after,
    maxWaiting: value.max_waiting,
    waitTimeoutMs: value.wait_timeout,
  }),
)

const warmPool = strict({
  size: whole(1, 50, 'size'),
  state: choice(['paused', 'ready']).prefault('paused'),
})

const standby = strict({
  count: whole(1, 3, 'count').prefault(1),
  refresh: z
    .string()
    .transform((text, ctx) => {
      const fault = cronFault(text)
      if (fault === null) return text.trim()
      return refuse(
        ctx,
        `\`${text}\` is no time table: it ${fault}`,
        'write it as `*/5 * * * *` (every five minutes)',
      )
    })
    .prefault('*/5 * * * *'),
  max_waiting: whole(1, 10_000, 'max_waiting').prefault(100),
  wait_timeout: duration(100, 10 * minuteMs).prefault('10s'),
}).transform(
  (value): StandbyClonesConfig => ({
    count: value.count,
    refresh: value.refresh,
    wait: {
      idleAfterMs: Number.POSITIVE_INFINITY,
      maxWaiting: value.max_waiting,
      waitTimeoutMs: value.wait_timeout,
      afterFailure: true,
    },
  }),
)

/** The policy can be set through the API too; what stands ready cannot. */
export const scaling = strict({
  min_instances: bounded('min_instances').optional(),
  max_instances: bounded('max_instances').prefault(10),
  target_cpu_utilization: ratio(cpu.min, cpu.max).prefault(0.6),
  scale_in_cooldown_seconds: bounded('scale_in_cooldown_seconds').prefault(300),
  scale_out_cooldown_seconds: bounded('scale_out_cooldown_seconds').prefault(60),
  disruption_budget: bounded('disruption_budget').prefault(policyDefaults.disruption_budget),
  rolling_pause_seconds: bounded('rolling_pause_seconds').prefault(policyDefaults.rolling_pause_seconds),
  rolling_max_failure_ratio: ratio(failures.min, failures.max).prefault(
    policyDefaults.rolling_max_failure_ratio,
  ),
  scale_in_cancel_in_flight: bounded('scale_in_cancel_in_flight').prefault(
    policyDefaults.scale_in_cancel_in_flight,
  ),
  resize_first_cpus: bounded('resize_first_cpus').prefault(policyDefaults.resize_first_cpus),
  resize_first_memory_mib: bounded('resize_first_memory_mib').prefault(
    policyDefaults.resize_first_memory_mib,
  ),
  protect: choice(protections).prefault(policyDefaults.protect),
  scale_to_zero: scaleToZero.optional(),
  warm_pool: warmPool.optional(),
  standby: standby.optional(),
}).transform(
  ({
    scale_to_zero: zero,
    warm_pool,
    standby: clones,
    min_instances,
    ...policy
  }): { readonly policy: ScalingPolicy; readonly standby: StandbyConfig } => ({
    policy: policyOfView({ ...policy, min_instances: min_instances ?? (zero ? 0 : 1) }),
    standby: { scaleToZero: zero ?? null, warmPool: warm_pool ?? null, clones: clones ?? null },
  }),
)

export const snapshotLimits = strict({
  max_bytes: size(1, 1024 * TiB).optional(),
  max_count: whole(1, 10_000, 'max_count').optional(),
  max_age: duration(minuteMs, 365 * dayMs).optional(),
}).transform(
  (value): SnapshotLimits => ({
    maxBytes: value.max_bytes ?? null,
    maxCount: value.max_count ?? null,
    maxAgeMs: value.max_age ?? null,
  }),
)
