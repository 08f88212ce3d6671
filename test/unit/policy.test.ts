/** What is impossible in a policy, with the field and the fix. */
import t from 'tap'
import { type PolicyView, policyChanges, policyFaults, policyOfView, policyView } from '../../lib/policy.ts'
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

t.test('a policy and its view are the same thing in two spellings', async t => {
  t.strictSame(policyView(policyOfView(fine)), fine)
  const { disruptionBudget: _, scaleInCancelInFlight: __, protect: ___, ...old } = policyOfView(fine)
  t.strictSame(policyView(old), fine, 'what a former version did not know has its default')
  t.strictSame(policyChanges(fine, { ...fine, max_instances: 4 }), ['max_instances 10 → 4'])
})
