/** What is impossible in a policy, with the field and the fix. */
import t from 'tap'
import { systemClock } from '../../lib/clock.ts'
import { type DriverKind, driverKinds } from '../../lib/config/config.ts'
import { createDriver } from '../../lib/hypervisor/registry.ts'
import { silentLog } from '../../lib/log.ts'
import {
  growsBy,
  type PolicyView,
  policyChanges,
  policyFaults,
  policyOfView,
  policyView,
} from '../../lib/policy.ts'
import { aPolicy as fine } from '../support/fake-control.ts'

t.test('impossible policies name the field and the fix', async t => {
  const faults = (over: Partial<PolicyView>) =>
    policyFaults({ ...fine, ...over }, false).map(({ field }) => field)
  t.strictSame(faults({}), [])
  t.strictSame(faults({ min_instances: 11 }), ['min_instances'])
  t.strictSame(faults({ min_instances: 0 }), ['min_instances'])
  t.strictSame(faults({ max_instances: 101 }), ['max_instances'])
  t.strictSame(faults({ max_instances: 2.5 }), ['max_instances'])
  t.strictSame(faults({ scale_in_cooldown_seconds: -1, scale_out_cooldown_seconds: Number.NaN }), [
    'scale_in_cooldown_seconds',
    'scale_out_cooldown_seconds',
  ])
  t.strictSame(faults({ target_cpu_utilization: 0 }), ['target_cpu_utilization'])
  t.match(policyFaults({ ...fine, min_instances: 11 }, false), [{ fix: /must not be above max_instances/ }])
})

t.test('growing first needs a size to grow from and a driver that can', async t => {
  const MiB = 2 ** 20
  const made = (driver: DriverKind) => ({ driver, resources: { cpus: 2, memoryBytes: 512 * MiB } })
  const found = (cpus: number, memory: number, instance: ReturnType<typeof made> | null = made('qemu')) =>
    policyFaults({ ...fine, resize_first_cpus: cpus, resize_first_memory_mib: memory }, false, instance)
  for (const [cpus, memory] of [
    [0, 0],
    [2, 0],
    [4, 512],
    [1_024, 4_096],
  ] as const)
    t.strictSame(found(cpus, memory), [], `${cpus} CPUs, ${memory} MiB`)
  t.match(found(1, 0), [
    { field: 'resize_first_cpus', message: /1 is less than the 2 of/, fix: 'at least 2, or 0' },
  ])
  t.match(found(4, 511), [
    { field: 'resize_first_memory_mib', message: /511 is less than the 512 of/, fix: 'at least 512, or 0' },
  ])
  t.match(found(0, 1_024), [{ field: 'resize_first_memory_mib', fix: /^set resize_first_cpus too/ }])
  for (const driver of ['process', 'firecracker'] as const)
    t.match(found(4, 0, made(driver)), [
      { field: 'resize_first_cpus', message: /cannot give a running instance more CPUs/, fix: /`qemu`/ },
    ])
  t.match(found(4, 0, null), [{ field: 'resize_first_cpus', fix: /add `instance`/ }])
  t.match(found(1_025, 0), [{ field: 'resize_first_cpus', message: /out of bounds/ }])
})

t.test('what grows by a policy is what the drivers can', async t => {
  for (const driver of driverKinds) {
    const capacity = { cpus: 1, memoryBytes: 0, diskBytes: 0 }
    const node = { id: 'n1', driver, zone: 'a', capacity, price: null, directory: t.testdir(), options: {} }
    const { can } = createDriver(node as never, { clock: systemClock, log: silentLog })
    const grows: readonly string[] = growsBy[driver]
    t.strictSame(
      can.resize.filter(what => what !== 'disk'),
      grows,
      driver,
    )
  }
})

t.test('a policy and its view are the same thing in two spellings', async t => {
  t.strictSame(policyView(policyOfView(fine)), fine)
  const { disruptionBudget: _, scaleInCancelInFlight: __, protect: ___, ...old } = policyOfView(fine)
  t.strictSame(policyView(old), fine, 'what a former version did not know has its default')
  t.strictSame(policyChanges(fine, { ...fine, max_instances: 4 }), ['max_instances 10 → 4'])
})
