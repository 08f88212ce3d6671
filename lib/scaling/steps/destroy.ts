/** Removes the files of those who left. */
import { type Claim, doneData, type PlanData } from '../facts.ts'
import { limits } from '../limits.ts'
import type { Step } from '../step.ts'
import { destroyAll } from '../teardown.ts'

export const destroy: Step = {
  name: 'destroy',
  timeoutMs: () => limits.revertMs,
  intend({ journal }): Claim {
    return { names: doneData<PlanData>(journal, 'plan').victims.map(victim => victim.id) }
  },
  async run({ world, journal }) {
    const { victims } = doneData<PlanData>(journal, 'plan')
    const destroyed = await destroyAll(
      world,
      victims.map(({ id, node }) => ({ name: id, node })),
    )
    return { data: { destroyed } }
  },
}
