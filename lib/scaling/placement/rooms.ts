/** The room there is for a cluster's instances, and the error when it is not enough. */
import type { InstanceConfig, NodeConfig, Resources } from '../../config/config.ts'
import { TidegateError } from '../../errors.ts'
import type { Held } from '../../hypervisor/driver.ts'
import type { PlanData } from '../facts.ts'
import type { World } from '../world.ts'
import { freeOn, type NodeRoom, type Placing, place } from './placement.ts'

export type Wish = Pick<PlanData, 'add' | 'sources' | 'victims'> & {
  /** What they are made from; left out: the template of now. */
  readonly instance?: InstanceConfig
  /** What the nodes hold, for whoever has just looked; left out: they are asked. */
  readonly held?: ReadonlyMap<string, Held | null>
  /** Of sources that grew in this operation: their clones have it too. */
  readonly grown?: ReadonlyMap<string, Resources>
}

const nothing: Placing = { places: [], candidates: [] }

/** Places for the new instances of a plan. Throws `no_capacity`, or `hypervisor_unreachable` when no node could be asked. */
export async function findPlaces(
  world: World,
  cluster: string,
  { add, sources, victims, ...wish }: Wish,
): Promise<Placing> {
  const instance = wish.instance ?? world.clusters.config(cluster).instance
  if (!instance || add === 0) return nothing
  const nodes = world.reality.nodesOf(instance.driver)
  const { rooms, unreachable } = await roomsOn(world, nodes, cluster, wish.held)
  if (rooms.length === 0 && unreachable.length > 0)
    throw new TidegateError('hypervisor_unreachable', `no node can be asked: ${unreachable.join(', ')}`)
  const memories = victims.length > 0 ? { memories: victims.map(({ id }) => id) } : {}
  const wanted = {
    count: add,
    need: instance.resources,
    sizes: sizesOf(world, sources, wish.grown),
    sources,
    ...memories,
  }
  const placing = place(wanted, rooms)
  const found = placing.places.length
  if (found === add) return placing
  const why = nodes.length === 0 ? ` (no node has driver ${instance.driver})` : ''
  throw new TidegateError(
    'no_capacity',
    `Insufficient nodes for scale-up: need ${add}, found ${found} with capacity${why}`,
    { details: { needed: add, found, unreachable_nodes: unreachable, candidates: placing.candidates } },
  )
}

/** A clone has its source's size, which is not its cluster's where the source was resized. */
export function sizesOf(
  { members }: Pick<World, 'members'>,
  sources: Wish['sources'],
  grown: ReadonlyMap<string, Resources> = new Map(),
): ReadonlyMap<string, Resources> {
  return new Map(
    sources.flatMap(({ instance }) => {
      const own = instance === null ? undefined : (grown.get(instance) ?? members.get(instance)?.resources)
      return own ? [[instance!, own] as const] : []
    }),
  )
}

/** What the nodes that can be asked have free, for instances of this cluster. */
export async function roomsOn(
  world: World,
  nodes: readonly NodeConfig[],
  cluster: string,
  looked?: ReadonlyMap<string, Held | null>,
): Promise<{ readonly rooms: readonly NodeRoom[]; readonly unreachable: readonly string[] }> {
  const ask = (id: string) => world.reality.inspect(id).catch(() => null)
  const asked = await Promise.all(
    nodes.map(async node => ({ node, held: looked ? (looked.get(node.id) ?? null) : await ask(node.id) })),
  )
  return {
    rooms: asked.flatMap(({ node, held }) => (held ? [roomOf(world, node, held, cluster)] : [])),
    unreachable: asked.filter(({ held }) => held === null).map(({ node }) => node.id),
  }
}

function roomOf(world: World, node: NodeConfig, held: Held, cluster: string): NodeRoom {
  const { id, zone, capacity, price } = node
  return {
    ...{ id, zone, capacity },
    free: freeOf(world, node, held),
    load: loadOn(world, id),
    instances: world.members.of(cluster).filter(record => record.node === id).length,
    hourly: price?.hourly ?? 0,
    closed: world.nodeMarks.closed(id),
  }
}

/** What is free on the node, each instance counted at its full size. */
export function freeOf(world: World, { id, capacity }: NodeConfig, held: Held): Resources {
  return freeOn(capacity, held, world.promises.on(id), (name, cluster) => resourcesOf(world, name, cluster))
}

/** Exchanges and tunnels on the node's members. */
export function loadOn(world: World, node: string): number {
  let load = 0
  for (const record of world.members.all())
    if (record.node === node) load += world.clusters.left(record.cluster, record.id)
  return load
}

/**
 * Its own, also of one that stands by; or what the template says that it was made from, for a reload since has changed nothing about it; or
 * its cluster's. Null where nobody knows the cluster.
 */
export function resourcesOf(world: World, name: string, cluster: string): Resources | null {
  const own = world.members.get(name)?.resources ?? world.pools.sizeOf(cluster, name)
  if (own) return own
  const version = world.templates.versionOf(cluster, name)
  const made = version === null ? null : world.templates.get(cluster, version)
  if (made) return made.resources
  return world.clusters.has(cluster) ? (world.clusters.config(cluster).instance?.resources ?? null) : null
}
