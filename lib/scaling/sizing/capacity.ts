/**
 * So many CPUs instead of so many instances: what is asked for against what is there, who grows and how many are made. Whoever is there
 * grows first where the policy prefers that; by how much is in `growing.ts`.
 */
import type { InstanceConfig, Resources } from '../../config/config.ts'
import { TidegateError } from '../../errors.ts'
import type { Held } from '../../hypervisor/driver.ts'
import type { InstanceFacts, PlanData, Source } from '../facts.ts'
import { limits } from '../limits.ts'
import type { OperationRequest } from '../operation.ts'
import { resourcesOf, roomsOn, sizesOf } from '../placement/rooms.ts'
import { checkBounds, sourcing } from '../plan.ts'
import { readyFor } from '../readiness/pool.ts'
import type { World } from '../world.ts'
import { cpusOf, type Grower, type GrowthBound, growthBound, growthFor, newcomersFor } from './growing.ts'

/** The CPUs of all its members together. */
export const cpusIn = (world: World, cluster: string): number =>
  cpusOf(world.members.of(cluster).map(({ id }) => sizeOf(world, cluster, id)))

/** Whether what is asked for is within the policy's bounds, whatever there is room for. Throws `target_out_of_bounds`. */
export function checkTarget(world: World, cluster: string, request: OperationRequest): void {
  const { scaling: policy, instance } = world.clusters.config(cluster)
  if ('target_count' in request) return checkBounds(request, { cluster, policy })
  if (!('target_cpus' in request)) return
  const { target_cpus: target } = request
  const max = Math.min(policy.maxInstances, limits.instancesMax)
  const sizes = world.members.of(cluster).map(({ id }) => sizeOf(world, cluster, id).cpus)
  const largest = Math.max(growthBound(policy).cpus, instance?.resources.cpus ?? 0, ...sizes)
  if (Number.isInteger(target) && target >= 1 && target <= max * largest) return
  throw new TidegateError(
    'target_out_of_bounds',
    `target_cpus ${target} is outside 1 … ${max * largest} of cluster \`${cluster}\`: ${max} instances of ${largest} CPUs are the most it may have; ask for fewer, or change scaling.max_instances or scaling.resize_first_cpus`,
    { details: { target_cpus: target, max_cpus: max * largest, max_instances: max, largest_cpus: largest } },
  )
}

export interface CapacitySituation {
  readonly cluster: string
  readonly target: number
  readonly instance: InstanceConfig
  readonly instances: readonly InstanceFacts[]
  readonly golden: Source | null
  /** What the nodes hold, for whoever has just looked; left out: they are asked. */
  readonly held?: ReadonlyMap<string, Held | null>
}

/** A plan, and the room that those need who are to be made. */
export interface CapacityPlan {
  readonly plan: PlanData
  readonly promised: readonly { readonly node: string; readonly resources: Resources }[]
}

/** Throws `invalid_request`, `target_out_of_bounds`, `no_capacity`, `no_clone_source` or `hypervisor_unreachable`, with nothing changed. */
export async function planCapacity(world: World, situation: CapacitySituation): Promise<CapacityPlan> {
  const { cluster, target, instance, instances } = situation
  const { scaling: policy } = world.clusters.config(cluster)
  const from = instances.length
  const bound = growthBound(policy)
  const members = instances.map(facts => growerOf(world, cluster, facts, bound))
  const before = cpusOf(members.map(({ resources }) => resources))
  if (before >= target)
    throw new TidegateError('invalid_request', `cluster \`${cluster}\` has ${before} CPUs already`, {
      details: { cpus: before, target_cpus: target },
    })
  const nodes = world.reality.nodesOf(instance.driver)
  const { rooms, unreachable } = await roomsOn(world, nodes, cluster, situation.held)
  if (rooms.length === 0 && unreachable.length > 0)
    throw new TidegateError('hypervisor_unreachable', `no node can be asked: ${unreachable.join(', ')}`)
  const growth = growthFor({ target, members, bound, template: instance.resources, rooms })
  const { grow } = growth
  const said = grow.length === 0 ? '' : `${grow.length} of ${from} grow`
  const cpus = (to: number) => ({ from: before, to, target })
  if (growth.cpus >= target) {
    const none = { from, to: from, add: 0, mode: 'none', sources: [], victims: [] }
    return { plan: { ...none, cpus: cpus(growth.cpus), grow, reason: said }, promised: [] }
  }
  const max = Math.min(policy.maxInstances, limits.instancesMax)
  const count = Math.max(0, max - from)
  const origin = sourcing({ ...situation, policy, cloneFrom: instance.cloneFrom }, [])
  const grown = new Map(grow.map(({ id, to }): [string, Resources] => [id, to]))
  const { promised, add, ...made } = newcomersFor({
    ...{ lacking: growth.cpus < target ? target - growth.cpus : 0, count, rooms: growth.rooms },
    ...{ need: instance.resources, sizes: sizesOf(world, origin.sources, grown), sources: origin.sources },
    ready: readyFor(world, cluster, { ...origin, add: count }),
  })
  const to = growth.cpus + made.cpus
  if (to < target)
    throw tooLittle({
      cluster,
      target,
      reached: to,
      before,
      max,
      unreachable,
      full: add < count || growth.tight,
    })
  const reason = said === '' ? origin.reason : `${said}, the rest ${origin.reason}`
  const counts = { from, to: from + add, add, victims: [] }
  return { plan: { ...origin, ...counts, cpus: cpus(to), grow, reason }, promised }
}

interface TooLittle {
  readonly cluster: string
  readonly target: number
  readonly before: number
  readonly reached: number
  readonly max: number
  readonly unreachable: readonly string[]
  /** It is the nodes that have no room; else the policy allows no more. */
  readonly full: boolean
}

function tooLittle({ cluster, target, before, reached, max, unreachable, full }: TooLittle): TidegateError {
  const details = { cpus: before, target_cpus: target, reachable_cpus: reached, max_instances: max }
  if (full)
    return new TidegateError(
      'no_capacity',
      `Insufficient room for scale-up to ${target} CPUs: cluster \`${cluster}\` has ${before}, and the nodes have room for ${reached} in all`,
      {
        details: {
          needed: target - before,
          found: reached - before,
          unreachable_nodes: unreachable,
          ...details,
        },
      },
    )
  return new TidegateError(
    'target_out_of_bounds',
    `target_cpus ${target} is more than cluster \`${cluster}\` can come to: ${reached} with ${max} instances; ask for fewer, or change scaling.max_instances or scaling.resize_first_cpus`,
    { details },
  )
}

function growerOf(
  world: World,
  cluster: string,
  { id, node, reality, healthy, saving = false, node_closed = false }: InstanceFacts,
  bound: GrowthBound,
): Grower {
  const able = reality === 'running' && healthy && !saving && !node_closed
  const what = bound.memoryBytes === null ? (['cpus'] as const) : (['cpus', 'memory'] as const)
  const can = able && what.every(one => world.reality.driver(node).can.resize.includes(one))
  return { id, node, resources: sizeOf(world, cluster, id), able: can }
}

function sizeOf(world: World, cluster: string, id: string): Resources {
  return resourcesOf(world, id, cluster) ?? { cpus: 0, memoryBytes: 0, diskBytes: 0 }
}
