/** How many are made, from what, and who leaves. */
import { doneData, type MetricsData } from '../facts.ts'
import { type MembershipRequest, planOf } from '../plan.ts'
import { goldenFor, goldenInputs } from '../readiness/golden.ts'
import { type Step, shortMs } from '../step.ts'

export const plan: Step = {
  name: 'plan',
  timeoutMs: () => shortMs,
  async run({ world, cluster, config, instance, request, journal }) {
    const { instances } = doneData<MetricsData>(journal, 'collect_metrics')
    const { cloneFrom } = instance
    const golden = await goldenFor(world, config, instance, request)
    const situation = { cluster, policy: config.scaling, cloneFrom, instances, golden }
    const planned = planOf(request as MembershipRequest, situation)
    return { data: planned.add === 0 ? planned : { ...planned, version: await goldenInputs(instance) } }
  },
}
