/** Those who leave take no new clients from now on. Nothing is moved: whoever is bound to them stays until the drain's end. */
import { type Claim, doneData, type PlanData } from '../facts.ts'
import { servingIds } from '../membership-change.ts'
import { type Step, shortMs } from '../step.ts'

export const fence: Step = {
  name: 'fence',
  timeoutMs: () => shortMs,
  intend({ journal }): Claim {
    return { names: doneData<PlanData>(journal, 'plan').victims.map(victim => victim.id) }
  },
  async run({ world, cluster }, intent) {
    const { names } = intent as Claim
    const serving = servingIds(world, cluster)
    for (const name of names)
      if (serving.has(name)) world.clusters.fence(cluster, name, 'leaving the cluster')
    return { data: { fenced: names } }
  },
  async revert({ world, cluster }, intent) {
    const serving = servingIds(world, cluster)
    for (const name of (intent as Claim).names) if (serving.has(name)) world.clusters.unfence(cluster, name)
    return []
  },
}
