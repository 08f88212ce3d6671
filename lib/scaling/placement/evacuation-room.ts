/**
 * Whether what is on a node has room elsewhere, all of it together, before anything is changed. It is the newcomers that need it, and not
 * those who leave: a clone has its source's size, and what boots has the template's of now.
 */
import { TidegateError } from '../../errors.ts'
import type { InstanceRecord } from '../../store/store.ts'
import type { Source } from '../facts.ts'
import type { World } from '../world.ts'
import { type NodeRoom, place } from './placement.ts'
import { resourcesOf, roomsOn, sizesOf } from './rooms.ts'

/** Throws `hypervisor_unreachable` when the node cannot be asked, or `no_capacity` with the numbers. */
export async function mustHaveRoomElsewhere(
  world: World,
  node: string,
  members: readonly InstanceRecord[],
): Promise<void> {
  await world.reality.inspect(node)
  const rooms = new Map<string, NodeRoom>()
  const clusters = []
  for (const cluster of new Set(members.map(record => record.cluster))) {
    const leaving = members.filter(record => record.cluster === cluster)
    const found = await placedElsewhere(world, node, leaving, rooms)
    clusters.push({ cluster_id: cluster, needed: leaving.length, found })
  }
  const needed = members.length
  const found = clusters.reduce((sum, one) => sum + one.found, 0)
  if (found === needed) return
  throw new TidegateError(
    'no_capacity',
    `Insufficient nodes to drain node \`${node}\`: need ${needed}, found ${found} with capacity elsewhere; add a node, or scale in first`,
    { details: { node, needed, found, clusters } },
  )
}

/** How many of one cluster's instances find a place. What they take is taken from `rooms` for those who come after them. */
async function placedElsewhere(
  world: World,
  node: string,
  leaving: readonly InstanceRecord[],
  rooms: Map<string, NodeRoom>,
): Promise<number> {
  const [{ cluster }] = leaving as [InstanceRecord]
  const kind = world.reality.driver(node).kind
  const others = world.reality.nodesOf(kind).filter(({ id }) => id !== node)
  for (const room of (await roomsOn(world, others, cluster)).rooms)
    if (!rooms.has(room.id)) rooms.set(room.id, room)
  const sources = sourcesElsewhere(world, node, cluster)
  const sizes = sizesOf(world, sources)
  let found = 0
  for (const { id } of leaving) {
    const template = world.clusters.has(cluster) ? world.clusters.config(cluster).instance : null
    const size = template?.resources ?? resourcesOf(world, id, cluster)
    if (!size) continue
    const [chosen] = place({ count: 1, need: size, sizes, sources }, [...rooms.values()]).places
    if (!chosen) continue
    found++
    const need = sizes.get(chosen.source?.instance ?? '') ?? size
    const { free, ...room } = rooms.get(chosen.node)!
    const left = {
      cpus: free.cpus - need.cpus,
      memoryBytes: free.memoryBytes - need.memoryBytes,
      diskBytes: free.diskBytes - need.diskBytes,
    }
    rooms.set(chosen.node, { ...room, free: left })
  }
  return found
}

/** Whom the newcomers may be clones of: a clone is made on its source's node, so nobody who leaves. */
function sourcesElsewhere(world: World, node: string, cluster: string): readonly Source[] {
  if (!world.clusters.has(cluster) || world.clusters.config(cluster).instance?.cloneFrom !== 'live') return []
  return world.members
    .of(cluster)
    .filter(record => record.node !== node)
    .map(({ id, node }) => ({ node, instance: id, snapshot: null }))
}
