/**
 * How many instances a cluster was last brought to on purpose. Kept in the store, and written in the transaction in which the new
 * membership is: so a death, which is nobody's purpose, leaves it as it was, and the repair makes up for it.
 */
import type { InstanceRecord, Write } from '../../store/store.ts'
import { doneData, type PlanData } from '../facts.ts'
import { KeptValues } from '../kept-values.ts'
import { limits } from '../limits.ts'
import type { StepContext } from '../step.ts'
import type { World } from '../world.ts'

/** By cluster; undefined: nothing has changed how many there are since this is kept. */
export const wantedCounts = () => new KeptValues<number>('wanted:')

/** How many the cluster is brought back to: as many as were wanted, within the policy of now. */
export function wantedNow({ clusters, members, wanted }: World, cluster: string): number {
  const { instance, scaling } = clusters.config(cluster)
  if (!instance) return 0
  const max = Math.min(scaling.maxInstances, limits.instancesMax)
  return Math.max(scaling.minInstances, Math.min(wanted.get(cluster) ?? members.of(cluster).length, max))
}

/**
 * What goes with the membership that an operation has come to. A replacement is for somebody who is wanted already. So is what a
 * repair makes, which may be less than is wanted where there is no room, and more where the minimum has been raised; and what is made for
 * more CPUs, which are no word on how many.
 */
export function wantedBy({ world, cluster, request, journal }: StepContext): readonly Write[] {
  if (request.type !== 'scale_out' && request.type !== 'scale_in') return []
  const before = world.wanted.get(cluster)
  const atLeast = (count: number) => Math.max(before ?? 0, count)
  const wanted =
    'target_cpus' in request
      ? atLeast(doneData<PlanData>(journal, 'plan').to)
      : request.repair
        ? atLeast(request.target_count)
        : request.target_count
  return wanted === before ? [] : [world.wanted.write(cluster, wanted)]
}

/** What goes with a death. Of a store in which nothing was kept: who is there was wanted. */
export function wantedBeforeDeath(
  world: World,
  cluster: string,
  there: readonly InstanceRecord[],
): readonly Write[] {
  return world.wanted.get(cluster) === undefined ? [world.wanted.write(cluster, there.length)] : []
}
