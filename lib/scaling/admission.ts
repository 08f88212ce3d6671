/** Letting an operation in: what can be known to fail is refused before it exists. */
import type { ClusterConfig } from '../config/config.ts'
import { TidegateError } from '../errors.ts'
import type { Json, OperationRecord } from '../store/store.ts'
import { instancesOf } from './metrics.ts'
import { operationId } from './names.ts'
import type { OperationRequest, OperationView } from './operation.ts'
import { findPlaces } from './placement/rooms.ts'
import { planOf } from './plan.ts'
import { goldenFor } from './readiness/golden.ts'
import { readyFor } from './readiness/pool.ts'
import { templateFor } from './rolling/templates.ts'
import { planCapacity } from './sizing/capacity.ts'
import { planResize } from './sizing/resizing.ts'
import type { World } from './world.ts'

/** Throws what `refuseUnfinished` and `preflight` throw: the first waits for the store, and meanwhile the second for the nodes. */
export async function mustBePossible(
  world: World,
  cluster: string,
  request: OperationRequest,
  { standsStill, beside }: { readonly standsStill: (id: string) => boolean; readonly beside: boolean },
): Promise<void> {
  const looking = preflight(world, cluster, request)
  // Where both refuse, what the store says comes first.
  looking.catch(() => {})
  await refuseUnfinished(world, cluster, standsStill, beside)
  await looking
}

/** The steps look again: things change. Throws what `planOf` and `findPlaces` throw. */
async function preflight(world: World, cluster: string, request: OperationRequest): Promise<void> {
  // `planRolling` has looked, and each of its parts is looked at.
  if (request.type === 'rolling_replace') return
  // Its clones stand by: there is nothing to be found for them.
  if (request.type === 'failover') return
  if (request.type === 'resize') {
    await planResize(world, cluster, request.instance_id, request.resources)
    return
  }
  const held = await world.reality.inspectAll()
  const instances = instancesOf(world, cluster, held)
  const config = world.clusters.config(cluster)
  const { scaling: policy } = config
  const instance = templateFor(world, config, request)
  const cloneFrom = instance?.cloneFrom ?? 'live'
  const golden = instance ? await goldenFor(world, config, instance, request) : null
  if ('target_cpus' in request) {
    const target = request.target_cpus
    if (instance) await planCapacity(world, { cluster, target, instance, instances, golden, held })
    return
  }
  const plan = planOf(request, { cluster, policy, cloneFrom, instances, golden })
  const add = plan.add - readyFor(world, cluster, plan)
  await findPlaces(world, cluster, { ...plan, add, held, ...(instance ? { instance } : {}) })
}

/** Throws `not_scalable`. */
export function mustScale({ id, instance }: ClusterConfig): void {
  if (instance) return
  throw new TidegateError(
    'not_scalable',
    `cluster \`${id}\` has static backends only; give it an \`instance\` section to scale it`,
  )
}

export function notCancellable({ id, status }: OperationView): TidegateError {
  return new TidegateError(
    'operation_not_cancellable',
    `operation ${id} cannot be cancelled any more: it is ${status === 'running' ? 'waiting for the store' : status}`,
    { details: { operation_id: id, status } },
  )
}

export function notStuck({ id, status }: OperationView): TidegateError {
  return new TidegateError(
    'operation_not_stuck',
    `operation ${id} is ${status}, not stuck: there is nothing to acknowledge`,
    { details: { operation_id: id, status } },
  )
}

/** One operation a cluster at a time. `running` null: one is just being admitted. */
export function refusedBy(cluster: string, running: string | null): TidegateError {
  return new TidegateError(
    'operation_running',
    running === null
      ? `an operation is just beginning in cluster \`${cluster}\`; try again when it has ended`
      : `operation ${running} is running in cluster \`${cluster}\`; wait for it or cancel it`,
    { details: { operation_id: running, cluster_id: cluster } },
  )
}

/**
 * One that the store stopped is in nobody's hands until the next reconcile. It is the cluster's operation all the same. `beside`: a
 * rolling replace does not count.
 */
async function refuseUnfinished(
  world: World,
  cluster: string,
  standsStill: (id: string) => boolean,
  beside: boolean,
): Promise<void> {
  const unfinished = await world.store.operations({ cluster, unfinished: true })
  const waiting = unfinished.find(
    ({ id, type }) => !standsStill(id) && !(beside && type === 'rolling_replace'),
  )
  if (!waiting) return
  throw new TidegateError(
    'operation_running',
    `operation ${waiting.id} in cluster \`${cluster}\` has not ended; it goes on within seconds`,
    { details: { operation_id: waiting.id, cluster_id: cluster } },
  )
}

/** Not in the store yet: it goes there with its first entry. */
export function newOperation(
  { clock, random }: World,
  cluster: string,
  request: OperationRequest,
  actor: string,
): OperationRecord {
  const { type, ...asked } = request
  const createdAtMs = clock.now()
  const id = operationId(createdAtMs, random(5))
  return {
    ...{ id, cluster, type, request: asked as Json, actor, createdAtMs },
    ...{ endedAtMs: null, outcome: null },
  }
}
