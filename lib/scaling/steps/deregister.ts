/** Those who leave stop being members, all in one generation. For scale_in this is the point of no return. */

import { TidegateError } from '../../errors.ts'
import { cooldownBy } from '../cooldown.ts'
import { type Claim, doneData, type PlanData } from '../facts.ts'
import { ensureDeregistered } from '../membership-change.ts'
import { mustNotBeProtected } from '../placement/protection.ts'
import { removalOf } from '../recovery/losses.ts'
import { wantedBy } from '../recovery/wanted.ts'
import { type Step, type StepContext, shortMs } from '../step.ts'

export const deregister: Step = {
  name: 'deregister',
  timeoutMs: () => shortMs,
  intend({ journal }): Claim {
    return { names: doneData<PlanData>(journal, 'plan').victims.map(victim => victim.id) }
  },
  async run(ctx, intent) {
    const { world, cluster, operation } = ctx
    const { names } = intent as Claim
    if (operation.type === 'scale_in') {
      mustNotBeProtected(world, names)
      await mustLeaveEnough(ctx, names)
    }
    return {
      data: { removed: names },
      writes: [...removalOf(world, cluster, names), ...wantedBy(ctx), ...cooldownBy(ctx)],
      publish: () => ensureDeregistered(world, cluster, names),
    }
  },
}

/**
 * Others may have died since the victims were chosen: those who were to leave are needed then. The store is asked, because it may know more
 * than the memory beside it: a write that failed can have been taken.
 */
async function mustLeaveEnough(
  { world, cluster, operation }: StepContext,
  leaving: readonly string[],
): Promise<void> {
  const { target_count: target } = operation.request as { readonly target_count: number }
  const { instances } = await world.store.membership()
  const left = instances.filter(one => one.cluster === cluster && !leaving.includes(one.id)).length
  if (left >= target) return
  throw new TidegateError(
    'operation_failed',
    `without ${leaving.join(', ')} cluster \`${cluster}\` would have ${left} instances, and ${target} were asked for: others have died meanwhile, so nobody leaves`,
    { details: { instances: leaving, left, target_count: target } },
  )
}
