/** The room there is for a cluster's instances, and the error when it is not enough. */
import { TidegateError } from '../errors.ts'
import type { Source } from './facts.ts'
import { type NodeRoom, type Place, place, roomOf } from './placement.ts'
import type { World } from './world.ts'

/** Places for `count` new instances. Throws `no_capacity`, or `hypervisor_unreachable` when no node could be asked. */
export async function findPlaces(
  world: World,
  cluster: string,
  count: number,
  sources: readonly Source[],
): Promise<readonly Place[]> {
  const { instance } = world.clusters.config(cluster)
  if (!instance || count === 0) return []
  const nodes = world.reality.nodesOf(instance.driver)
  const rooms: NodeRoom[] = []
  const unreachable: string[] = []
  for (const node of nodes) {
    const held = await world.reality.inspect(node.id).catch(() => null)
    if (!held) unreachable.push(node.id)
    else rooms.push(roomOf(node, held, world.promises.on(node.id), id => resourcesOf(world, id)))
  }
  if (rooms.length === 0 && unreachable.length > 0)
    throw new TidegateError('hypervisor_unreachable', `no node can be asked: ${unreachable.join(', ')}`)
  const places = place(count, instance.resources, rooms, sources)
  if (places.length === count) return places
  throw new TidegateError(
    'no_capacity',
    `need ${count}, found ${places.length} with capacity${nodes.length === 0 ? ` (no node has driver ${instance.driver})` : ''}`,
    { details: { needed: count, found: places.length, unreachable_nodes: unreachable } },
  )
}

function resourcesOf(world: World, cluster: string) {
  return world.clusters.has(cluster) ? (world.clusters.config(cluster).instance?.resources ?? null) : null
}
