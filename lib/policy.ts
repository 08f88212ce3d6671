/**
 * The bounds of a scaling policy and what is impossible in one, the same for the configuration file and the admin API. @pure
 * Names are the wire's.
 */
import type { ScalingPolicy } from './config/config.ts'

/** A policy on the wire and in the store. */
export interface PolicyView {
  readonly min_instances: number
  readonly max_instances: number
  readonly target_cpu_utilization: number
  readonly scale_in_cooldown_seconds: number
  readonly scale_out_cooldown_seconds: number
  readonly disruption_budget: number
  readonly rolling_pause_seconds: number
  readonly rolling_max_failure_ratio: number
  readonly scale_in_cancel_in_flight: number
  readonly protect: 'none' | 'original'
}

export type PolicyKey = keyof PolicyView

interface Bound {
  readonly min: number
  readonly max: number
  /** Only whole numbers. */
  readonly whole: boolean
}

export const policyBounds = {
  /** 0 only in a cluster that scales to zero. */
  min_instances: { min: 0, max: 100, whole: true },
  max_instances: { min: 1, max: 100, whole: true },
  target_cpu_utilization: { min: 0.05, max: 1, whole: false },
  scale_in_cooldown_seconds: { min: 0, max: 86_400, whole: true },
  scale_out_cooldown_seconds: { min: 0, max: 86_400, whole: true },
  /** Instances of a cluster that a node drain or a rolling replacement takes away at once. */
  disruption_budget: { min: 1, max: 100, whole: true },
  /** How long a batch of a rolling replace serves before it is judged, and the share of its exchanges that may fail. */
  rolling_pause_seconds: { min: 0, max: 86_400, whole: true },
  rolling_max_failure_ratio: { min: 0, max: 1, whole: false },
  /** Exchanges under way per remaining instance at which a scale-in is given up; 0: it never is. */
  scale_in_cancel_in_flight: { min: 0, max: 1_000_000, whole: true },
} as const satisfies Record<Exclude<PolicyKey, 'protect'>, Bound>

export const policyDefaults = {
  disruption_budget: 1,
  rolling_pause_seconds: 30,
  rolling_max_failure_ratio: 0.05,
  scale_in_cancel_in_flight: 32,
  protect: 'none',
} as const

export const protections = ['none', 'original'] as const

export interface PolicyFault {
  readonly field: string
  readonly message: string
  readonly fix: string
}

/** Everything that is impossible in it, each with its field and the fix. `toZero`: requests can wait for an instance. */
export function policyFaults(policy: PolicyView, toZero: boolean): readonly PolicyFault[] {
  const faults: PolicyFault[] = []
  for (const [field, { min, max, whole }] of Object.entries(policyBounds)) {
    const value = policy[field as keyof typeof policyBounds]
    if (value >= min && value <= max && (!whole || Number.isInteger(value))) continue
    const fix = `a ${whole ? 'whole ' : ''}number from ${min} to ${max}`
    faults.push({ field, message: `\`${value}\` is out of bounds`, fix })
  }
  if (policy.min_instances === 0 && !toZero)
    faults.push({
      field: 'min_instances',
      message: 'min_instances 0 leaves nobody to answer',
      fix: 'at least 1, or `scaling.scale_to_zero` in the configuration file',
    })
  if (policy.min_instances > policy.max_instances && faults.length === 0)
    faults.push({
      field: 'min_instances',
      message: `min_instances ${policy.min_instances} is more than max_instances ${policy.max_instances}`,
      fix: 'min_instances must not be above max_instances',
    })
  return faults
}

export const policyView = (policy: ScalingPolicy): PolicyView => ({
  min_instances: policy.minInstances,
  max_instances: policy.maxInstances,
  target_cpu_utilization: policy.targetCpuUtilization,
  scale_in_cooldown_seconds: policy.scaleInCooldownSeconds,
  scale_out_cooldown_seconds: policy.scaleOutCooldownSeconds,
  disruption_budget: policy.disruptionBudget ?? policyDefaults.disruption_budget,
  rolling_pause_seconds: policy.rollingPauseSeconds ?? policyDefaults.rolling_pause_seconds,
  rolling_max_failure_ratio: policy.rollingMaxFailureRatio ?? policyDefaults.rolling_max_failure_ratio,
  scale_in_cancel_in_flight: policy.scaleInCancelInFlight ?? policyDefaults.scale_in_cancel_in_flight,
  protect: policy.protect ?? policyDefaults.protect,
})

export const policyOfView = (view: PolicyView): ScalingPolicy => ({
  minInstances: view.min_instances,
  maxInstances: view.max_instances,
  targetCpuUtilization: view.target_cpu_utilization,
  scaleInCooldownSeconds: view.scale_in_cooldown_seconds,
  scaleOutCooldownSeconds: view.scale_out_cooldown_seconds,
  disruptionBudget: view.disruption_budget,
  rollingPauseSeconds: view.rolling_pause_seconds,
  rollingMaxFailureRatio: view.rolling_max_failure_ratio,
  scaleInCancelInFlight: view.scale_in_cancel_in_flight,
  protect: view.protect,
})

/** What differs, as `max_instances 10 → 4`. */
export function policyChanges(before: PolicyView, after: PolicyView): readonly string[] {
  const keys = Object.keys(before) as PolicyKey[]
  return keys.filter(key => before[key] !== after[key]).map(key => `${key} ${before[key]} → ${after[key]}`)
}
