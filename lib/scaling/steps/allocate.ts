/**
 * Where each new instance goes and what everything that will be made is called. The room is promised until the operation ends.
 * What stands ready in the warm pool is taken first: it leaves the pool in the same transaction in which the journal names it.
 */
import type { Resources } from '../../config/config.ts'
import { TidegateError } from '../../errors.ts'
import {
  type AllocateData,
  doneData,
  grownIn,
  type Item,
  type PlanData,
  type SnapshotItem,
} from '../facts.ts'
import { resourceName } from '../names.ts'
import type { Placing } from '../placement/placement.ts'
import { findPlaces } from '../placement/rooms.ts'
import { readyFor } from '../readiness/pool.ts'
import { cpusOf } from '../sizing/growing.ts'
import { growthPromised } from '../sizing/resizing.ts'
import { type Step, shortMs } from '../step.ts'

export const allocate: Step = {
  name: 'allocate',
  timeoutMs: () => shortMs,
  async run({ world, cluster, operation, instance, journal }) {
    const plan = doneData<PlanData>(journal, 'plan')
    const grown = grownIn(journal)
    const growing = growthPromised(plan)
    return world.promises.inTurn(async () => {
      // What was promised to those who are to be made is theirs to be placed in.
      world.promises.keep(operation.id, growing)
      const ready = readyFor(world, cluster, plan)
      const placing = await findPlaces(world, cluster, { ...plan, instance, add: plan.add - ready, grown })
      const name = (suffix: string) => resourceName(cluster, operation.id, suffix)
      const sizeOf = (source: string) => grown.get(source) ?? world.members.get(source)?.resources
      const made = named(placing, name, sizeOf)
      mustBeEnough(plan, [
        ...made.items.map(({ resources = instance.resources }) => resources),
        ...Array.from({ length: ready }, () => instance.resources),
      ])
      const promised = made.items.map(({ name, node, resources = instance.resources }) => ({
        ...{ name, node, resources },
      }))
      world.promises.keep(operation.id, [...growing, ...promised])
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
  async revert({ world, cluster, operation, journal }) {
    const growing = growthPromised(doneData<PlanData>(journal, 'plan'))
    if (growing.length > 0) world.promises.keep(operation.id, growing)
    else world.promises.drop(operation.id)
    // What was taken and never named by the journal is in the pool still.
    await world.pools.load(world, cluster)
    return []
  },
}

/** Of CPUs: clones have their sources' sizes, and others may be cloned than were planned with. */
function mustBeEnough({ cpus, grow = [] }: PlanData, made: readonly Resources[]): void {
  if (!cpus) return
  const grew = cpusOf(grow.map(({ to }) => to)) - cpusOf(grow.map(({ from }) => from))
  const reached = cpus.from + grew + cpusOf(made)
  if (reached >= cpus.target) return
  throw new TidegateError(
    'no_capacity',
    `Insufficient room for scale-up to ${cpus.target} CPUs: with those that there is room for now there would be ${reached}`,
    { details: { target_cpus: cpus.target, reachable_cpus: reached } },
  )
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
