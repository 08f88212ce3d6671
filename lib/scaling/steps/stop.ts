/** Ends the removed instances, each only after every thread has a table without it and nothing is in flight on it. */
import { leavingBy } from '../facts.ts'
import { limits } from '../limits.ts'
import { ensureDeregistered } from '../membership-change.ts'
import { parallel } from '../parallel.ts'
import type { Step } from '../step.ts'
import { policyOf } from './drain.ts'

export const stop: Step = {
  name: 'stop',
  timeoutMs: ({ journal }) =>
    (limits.goneMs + limits.stopGraceMs + limits.settleMs) *
    Math.max(1, Math.ceil(leavingBy(journal).length / limits.parallelMax)),
  async run(ctx, _intent, signal) {
    const { world, cluster, journal, request } = ctx
    const victims = leavingBy(journal)
    await ensureDeregistered(
      world,
      cluster,
      victims.map(victim => victim.id),
    )
    const known = world.clusters.has(cluster)
    const drained = known && policyOf(request, ctx.config.drain) !== null
    const stopped = await parallel(victims, limits.parallelMax, signal, async ({ id, node }) => {
      const proof = known ? await world.clusters.waitGone(cluster, id, drained ? limits.goneMs : 0) : null
      const held = await world.reality.find(node, id)
      if (held && held.owner.installation === world.installation)
        await world.reality.driver(node).stop(id, limits.stopGraceMs)
      return { id, left: proof ? proof.in_flight + proof.tunnels : 0 }
    })
    return { data: { stopped } }
  },
}
