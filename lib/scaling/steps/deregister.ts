/**
 * Those who leave stop being members, all in one generation. For scale_in this is the point of no return. Whoever was to leave for one that does
 * not serve any more stays, and that one leaves.
 */

import { TidegateError } from '../../errors.ts'
import { cooldownBy } from '../cooldown.ts'
import { type Claim, doneData, type PlanData, type Shortfall } from '../facts.ts'
import { ensureDeregistered } from '../membership-change.ts'
import { mustNotBeProtected } from '../placement/protection.ts'
import { removalOf } from '../recovery/losses.ts'
import { wantedBy } from '../recovery/wanted.ts'
import { type Step, type StepContext, shortMs } from '../step.ts'
import { type Failed, failedNewcomers, toldOf } from './newcomers.ts'

export const deregister: Step = {
  name: 'deregister',
  timeoutMs: () => shortMs,
  intend({ journal }): Claim {
    return { names: doneData<PlanData>(journal, 'plan').victims.map(victim => victim.id) }
  },
  async run(ctx, intent, signal) {
    const { world, cluster, operation } = ctx
    const { names: leaving } = intent as Claim
    if (operation.type === 'scale_in') {
      mustNotBeProtected(world, leaving)
      await mustLeaveEnough(ctx, leaving)
    }
    const failed = operation.type === 'replace' ? await failedNewcomers(ctx, true, signal) : []
    const told = failed.length > 0 ? shortfallOf(failed) : null
    // A batch can be taken back as a whole still.
    if (told !== null && 'trial' in ctx.request)
      throw new TidegateError(told.code, told.message, { details: told.details })
    const kept = failed.map(({ old }) => old)
    for (const id of kept) world.clusters.unfence(cluster, id)
    const names = [
      ...leaving.filter(id => !kept.includes(id)),
      ...failed.flatMap(({ newcomer, known }) => (known ? newcomer : [])),
    ]
    return {
      data: { removed: names, ...(told ? { kept, shortfall: told } : {}) },
      writes: [...removalOf(world, cluster, names), ...wantedBy(ctx), ...cooldownBy(ctx)],
      publish: () => ensureDeregistered(world, cluster, names),
    }
  },
}

const shortfallOf = (failed: readonly Failed[]): Shortfall => ({
  code: failed.some(({ why }) => why === 'died') ? 'instance_died' : 'instance_unhealthy',
  message: toldOf(failed),
  details: { instances: failed.map(({ newcomer }) => newcomer), kept: failed.map(({ old }) => old) },
})

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
