/**
 * Where each new instance goes and what everything that will be made is called. The room is promised until the operation ends.
 * What stands ready in the warm pool is taken first: it leaves the pool in the same transaction in which the journal names it.
 */
import type { Resources } from '../../config/config.ts'
import { TidegateError } from '../../errors.ts'
import { type AllocateData, doneData, type Item, type PlanData, type SnapshotItem } from '../facts.ts'
import { resourceName } from '../names.ts'
import type { Placing } from '../placement/placement.ts'
import { findPlaces } from '../placement/rooms.ts'
import { readyFor } from '../readiness/pool.ts'
import { type Step, shortMs } from '../step.ts'

export const allocate: Step = {
  name: 'allocate',
  timeoutMs: () => shortMs,
  async run({ world, cluster, operation, instance, journal }) {
    const plan = doneData<PlanData>(journal, 'plan')
    return world.promises.inTurn(async () => {
      const ready = readyFor(world, cluster, plan)
      const placing = await findPlaces(world, cluster, { ...plan, instance, add: plan.add - ready })
      const name = (suffix: string) => resourceName(cluster, operation.id, suffix)
      const made = named(placing, name, source => world.members.get(source)?.resources)
      const promised = made.items.map(({ name, node, resources = instance.resources }) => ({
        ...{ name, node, resources },
      }))
      world.promises.keep(operation.id, promised)
      if (ready === 0) return { data: made }
      const golden = plan.sources[0]!.snapshot!
      const { taken, writes } = world.pools.take(cluster, golden, ready)
      if (taken.length < ready) {
        await world.pools.load(world, cluster)
        throw new TidegateError(
          'operation_failed',
          'the warm pool changed while it was taken from; try again',
        )
      }
      const pooled = taken.map(({ name, node }): Item => ({ name, node, snapshot: golden, pooled: true }))
      const names = [...(made.names ?? []), golden, ...taken.map(({ name }) => name)]
      return { data: { ...made, items: [...pooled, ...made.items], names }, writes }
    })
  },
  async revert({ world, cluster, operation }) {
    world.promises.drop(operation.id)
    // What was taken and never named by the journal is in the pool still.
    await world.pools.load(world, cluster)
    return []
  },
}

function named(
  { places, candidates }: Placing,
  name: (suffix: string) => string,
  resourcesOf: (source: string) => Resources | undefined,
): AllocateData {
  const snapshots = new Map<string, SnapshotItem>()
  const items = places.map(({ node, source, score }, index): Item => {
    const item = { name: name(String(index + 1)), node, score }
    if (!source?.instance) return { ...item, snapshot: source?.snapshot ?? null }
    const snapshot = snapshots.get(source.instance) ?? {
      name: name(`s${snapshots.size + 1}`),
      node,
      source: source.instance,
    }
    snapshots.set(source.instance, snapshot)
    const resources = resourcesOf(source.instance)
    return { ...item, snapshot: snapshot.name, ...(resources ? { resources: { ...resources } } : {}) }
  })
  const kept = places.flatMap(({ source }) => source?.snapshot ?? [])
  return { items, snapshots: [...snapshots.values()], names: [...new Set(kept)], candidates }
}
