/**
 * The switch of a replace: the new ones enter and the old ones close to new clients in one generation, which holds for all threads in
 * one instant. Whoever is bound to an old one stays there until its drain ends.
 *
 *            register: one generation            warm_up, or the checkpoint: well
 *   old open ───────────────────────► new open, old closed ─────────────────────► the old are drained and leave
 *      ▲                                  │ ill, cancelled, interrupted
 *      │   one generation                 ▼
 *      └──────────────────────── old open, new closed ──► the new are drained, leave in one generation, are gone
 *
 * Its undo sees the new ones out like anybody who leaves: they have served. After a restart in between the first table begins where the
 * undo would have come to (`doors.ts`).
 */
import type { Write } from '../../store/store.ts'
import { type AllocateData, doneData, type PlanData, type SwitchIntent } from '../facts.ts'
import { limits } from '../limits.ts'
import { ensureDeregistered, ensureSwitched, servingIds } from '../membership-change.ts'
import type { Step, StepContext } from '../step.ts'
import { fence } from './fence.ts'
import { register } from './register.ts'

const madeIds = ({ journal }: StepContext) =>
  doneData<AllocateData>(journal, 'allocate').items.map(({ name }) => name)
const oldIds = ({ journal }: StepContext) => doneData<PlanData>(journal, 'plan').victims.map(({ id }) => id)

/** The new ones are open and the old ones closed; at once where it is so. */
export const switched = (ctx: StepContext) =>
  ensureSwitched(ctx.world, ctx.cluster, { to: madeIds(ctx), from: oldIds(ctx) })

const switchedBack = (ctx: StepContext) =>
  ensureSwitched(ctx.world, ctx.cluster, { to: oldIds(ctx), from: madeIds(ctx) })

export const switchOver: Step = {
  ...register,
  revertMs: ({ world, cluster, config }) => {
    if (!world.clusters.has(cluster)) return limits.revertMs
    const { waitForConnections, gracePeriodMs } = config.drain
    return limits.revertMs + limits.drainSlackMs + (waitForConnections ? gracePeriodMs : 0)
  },
  intend: (ctx): SwitchIntent => ({ closed: oldIds(ctx) }),
  async run(ctx, intent, signal) {
    return { ...(await register.run(ctx, intent, signal)), publish: () => switched(ctx) }
  },
  async revert(ctx, _intent, signal) {
    const { world, cluster } = ctx
    const { clusters } = world
    const ids = madeIds(ctx)
    if (clusters.has(cluster)) {
      await switchedBack(ctx)
      const policy = clusters.config(cluster).drain
      const leaving = ids.filter(id => servingIds(world, cluster).has(id))
      await Promise.all(leaving.map(id => clusters.drain(cluster, id, policy, signal)))
      await ensureDeregistered(world, cluster, leaving)
      await Promise.all(ids.map(id => clusters.waitGone(cluster, id, limits.goneMs)))
    }
    return ids.flatMap((id): Write[] => [
      { delete: 'instance', id },
      { delete: 'mark', cluster, backend: id },
    ])
  },
}

/** The switch has closed them; after a restart somebody must again. They are opened as they were closed: together, as the new ones close. */
export const stayClosed: Step = {
  ...fence,
  async revert(ctx) {
    await switchedBack(ctx)
    return []
  },
}
