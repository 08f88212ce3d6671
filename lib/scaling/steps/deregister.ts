/** Those who leave stop being members, all in one generation. For scale_in this is the point of no return. */

import { type Claim, doneData, type PlanData } from '../facts.ts'
import { removalOf } from '../losses.ts'
import { ensureDeregistered } from '../membership-change.ts'
import { mustNotBeProtected } from '../protection.ts'
import { type Step, shortMs } from '../step.ts'

export const deregister: Step = {
  name: 'deregister',
  timeoutMs: () => shortMs,
  intend({ journal }): Claim {
    return { names: doneData<PlanData>(journal, 'plan').victims.map(victim => victim.id) }
  },
  async run({ world, cluster, operation }, intent) {
    const { names } = intent as Claim
    if (operation.type === 'scale_in') mustNotBeProtected(world, names)
    return {
      data: { removed: names },
      writes: removalOf(world, cluster, names),
      publish: () => ensureDeregistered(world, cluster, names),
    }
  },
}
