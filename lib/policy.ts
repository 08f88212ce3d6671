/**
 * The bounds of a scaling policy and what is impossible in one, the same for the configuration file and the admin API. @pure
 * Names are the wire's.
 */
import type { DriverKind, Resources, ScalingPolicy } from './config/config.ts'

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
  readonly resize_first_cpus: number
  readonly resize_first_memory_mib: number
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
  /** Asked for CPUs, instances grow to so many each before others are made; 0: others are made. */
  resize_first_cpus: { min: 0, max: 1_024, whole: true },
  /** What one has of memory at that many CPUs; 0: it stays. */
  resize_first_memory_mib: { min: 0, max: 16_777_216, whole: true },
} as const satisfies Record<Exclude<PolicyKey, 'protect'>, Bound>

export const policyDefaults = {
  disruption_budget: 1,
  rolling_pause_seconds: 30,
  rolling_max_failure_ratio: 0.05,
  scale_in_cancel_in_flight: 32,
  resize_first_cpus: 0,
  resize_first_memory_mib: 0,
  protect: 'none',
} as const

export const protections = ['none', 'original'] as const

export interface PolicyFault {
  readonly field: string
  readonly message: string
  readonly fix: string
}

/** What of a running instance each driver can change, of what grows. */
export const growsBy = {
  process: [],
  qemu: ['cpus', 'memory'],
  cloud_hypervisor: ['cpus', 'memory'],
  firecracker: ['memory'],
} as const satisfies Record<DriverKind, readonly ('cpus' | 'memory')[]>

const MiB = 2 ** 20

/** What of growing first is impossible. `instance` null: nothing can be made, and so nothing grows. */
export function resizeFirstFaults(
  { resize_first_cpus: cpus, resize_first_memory_mib: memory }: ResizeFirst,
  instance: Grown | null,
): readonly PolicyFault[] {
  if (cpus === 0 && memory === 0) return []
  if (cpus === 0) {
    const message = `resize_first_memory_mib ${memory} says nothing without resize_first_cpus`
    return [{ field: 'resize_first_memory_mib', message, fix: 'set resize_first_cpus too, or leave it 0' }]
  }
  if (instance === null) {
    const message = 'the cluster has no `instance` section, so nothing can grow'
    return [{ field: 'resize_first_cpus', message, fix: 'add `instance`, or leave it 0' }]
  }
  const { driver, resources } = instance
  const can: readonly string[] = growsBy[driver]
  const able = driversThat('cpus')
  if (!can.includes('cpus')) {
    const message = `driver \`${driver}\` cannot give a running instance more CPUs`
    return [{ field: 'resize_first_cpus', message, fix: `leave it 0, or use one of ${able}` }]
  }
  const faults: PolicyFault[] = []
  if (cpus < resources.cpus)
    faults.push({
      field: 'resize_first_cpus',
      message: `resize_first_cpus ${cpus} is less than the ${resources.cpus} of \`instance.resources\``,
      fix: `at least ${Math.ceil(resources.cpus)}, or 0`,
    })
  if (memory !== 0 && memory * MiB < resources.memoryBytes)
    faults.push({
      field: 'resize_first_memory_mib',
      message: `resize_first_memory_mib ${memory} is less than the ${resources.memoryBytes / MiB} of \`instance.resources\``,
      fix: `at least ${Math.ceil(resources.memoryBytes / MiB)}, or 0`,
    })
  return faults
}

type ResizeFirst = Pick<PolicyView, 'resize_first_cpus' | 'resize_first_memory_mib'>
/** What new instances are made from. */
export interface Grown {
  readonly driver: DriverKind
  readonly resources: Pick<Resources, 'cpus' | 'memoryBytes'>
}

const driversThat = (what: string): string =>
  Object.entries<readonly string[]>(growsBy)
    .flatMap(([driver, can]) => (can.includes(what) ? [`\`${driver}\``] : []))
    .join(', ')

/**
 * Everything that is impossible in it, each with its field and the fix. `toZero`: requests can wait for an instance; `instance`: what new
 * ones are made from.
 */
export function policyFaults(
  policy: PolicyView,
  toZero: boolean,
  instance: Grown | null = null,
): readonly PolicyFault[] {
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
  if (faults.length === 0) faults.push(...resizeFirstFaults(policy, instance))
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
  resize_first_cpus: policy.resizeFirstCpus ?? policyDefaults.resize_first_cpus,
  resize_first_memory_mib: policy.resizeFirstMemoryMib ?? policyDefaults.resize_first_memory_mib,
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
  resizeFirstCpus: view.resize_first_cpus,
  resizeFirstMemoryMib: view.resize_first_memory_mib,
  protect: view.protect,
})

/** What differs, as `max_instances 10 → 4`. */
export function policyChanges(before: PolicyView, after: PolicyView): readonly string[] {
  const keys = Object.keys(before) as PolicyKey[]
  return keys.filter(key => before[key] !== after[key]).map(key => `${key} ${before[key]} → ${after[key]}`)
}
