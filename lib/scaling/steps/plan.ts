/** How many are made, from what, and who leaves. */
import { doneData, type MetricsData } from '../facts.ts'
import { goldenSource, keepsGolden } from '../golden.ts'
import { type MembershipRequest, planOf } from '../plan.ts'
import { type Step, shortMs } from '../step.ts'

export const plan: Step = {
  name: 'plan',
  timeoutMs: () => shortMs,
  async run({ world, cluster, config, instance, request, journal }) {
    const { instances } = doneData<MetricsData>(journal, 'collect_metrics')
    const { cloneFrom } = instance
    const golden = keepsGolden(config) ? await goldenSource(world, cluster) : null
    return {
      data: planOf(request as MembershipRequest, {
        cluster,
        policy: config.scaling,
        cloneFrom,
        instances,
        golden,
      }),
    }
  },
}
