/**
 * Registration that can be taken back, for a replace: its new instances may turn out to be ill, or not to prove themselves on trial. Those that
 * have served already are seen out like anybody who leaves, in reverse: fenced, drained by the cluster's settings, out of the table in one
 * generation, out of the store.
 */
import type { Write } from '../../store/store.ts'
import { type AllocateData, doneData } from '../facts.ts'
import { limits } from '../limits.ts'
import { ensureDeregistered, servingIds } from '../membership-change.ts'
import type { Step } from '../step.ts'
import { register } from './register.ts'

export const registerOnTrial: Step = {
  ...register,
  revertMs: ({ world, cluster, config }) => {
    if (!world.clusters.has(cluster)) return limits.revertMs
    const { waitForConnections, gracePeriodMs } = config.drain
    return limits.revertMs + limits.drainSlackMs + (waitForConnections ? gracePeriodMs : 0)
  },
  async revert({ world, cluster, journal }, _intent, signal) {
    const { clusters } = world
    const ids = doneData<AllocateData>(journal, 'allocate').items.map(({ name }) => name)
    if (clusters.has(cluster)) {
      const policy = clusters.config(cluster).drain
      const leaving = ids.filter(id => servingIds(world, cluster).has(id))
      for (const id of leaving) clusters.fence(cluster, id, 'taken back')
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
