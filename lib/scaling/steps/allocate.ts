/** Where each new instance goes and what everything that will be made is called. The room is promised until the operation ends. */
import { type AllocateData, doneData, type Item, type PlanData, type SnapshotItem } from '../facts.ts'
import { resourceName } from '../names.ts'
import type { Placing } from '../placement.ts'
import { findPlaces } from '../rooms.ts'
import { type Step, shortMs } from '../step.ts'

export const allocate: Step = {
  name: 'allocate',
  timeoutMs: () => shortMs,
  async run({ world, cluster, operation, instance, journal }) {
    const plan = doneData<PlanData>(journal, 'plan')
    return world.promises.inTurn(async () => {
      const placing = await findPlaces(world, cluster, plan)
      const data = named(placing, (suffix: string) => resourceName(cluster, operation.id, suffix))
      const promised = data.items.map(({ name, node }) => ({ name, node, resources: instance.resources }))
      world.promises.keep(operation.id, promised)
      return { data }
    })
  },
  async revert({ world, operation }) {
    world.promises.drop(operation.id)
    return []
  },
}

function named({ places, candidates }: Placing, name: (suffix: string) => string): AllocateData {
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
    return { ...item, snapshot: snapshot.name }
  })
  const kept = places.flatMap(({ source }) => source?.snapshot ?? [])
  return { items, snapshots: [...snapshots.values()], names: [...new Set(kept)], candidates }
}
