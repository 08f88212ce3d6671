/** Removes the files of those who left. */
import { type Claim, leavingBy } from '../facts.ts'
import { limits } from '../limits.ts'
import type { Step } from '../step.ts'
import { destroyAll } from '../teardown.ts'

export const destroy: Step = {
  name: 'destroy',
  timeoutMs: () => limits.revertMs,
  intend({ journal }): Claim {
    return { names: leavingBy(journal).map(victim => victim.id) }
  },
  async run({ world, journal }) {
    const leaving = leavingBy(journal).map(({ id, node }) => ({ name: id, node }))
    const destroyed = await destroyAll(world, leaving)
    return { data: { destroyed } }
  },
}
