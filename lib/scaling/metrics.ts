/** The facts an operation is planned on: what the nodes hold and what the backends carry, taken at one moment. */
import type { BackendView } from '../cluster/backend.ts'
import type { Held } from '../hypervisor/driver.ts'
import type { InstanceRecord } from '../store/store.ts'
import type { InstanceFacts, MetricsData } from './facts.ts'
import { realityOf } from './recovery/reality.ts'
import { takePicture } from './restore.ts'
import type { World } from './world.ts'

export async function collectMetrics(world: World, cluster: string): Promise<MetricsData> {
  const held = await world.reality.inspectAll()
  return {
    instances: instancesOf(world, cluster, held),
    unreachable_nodes: [...held].filter(([, answer]) => answer === null).map(([node]) => node),
    picture: await takePicture(world, cluster, held),
  }
}

/** The cluster's members, by one look at the nodes. */
export function instancesOf(
  world: World,
  cluster: string,
  held: ReadonlyMap<string, Held | null>,
): readonly InstanceFacts[] {
  const backends = new Map(world.clusters.backends(cluster).map(backend => [backend.id, backend]))
  return world.members.of(cluster).map(record => factsOf(world, record, backends.get(record.id), held))
}

function factsOf(
  world: World,
  record: InstanceRecord,
  backend: BackendView | undefined,
  held: ReadonlyMap<string, Held | null>,
): InstanceFacts {
  const instance = realityOf(held, record.node, record.id)
  const known = typeof instance === 'object'
  return {
    id: record.id,
    node: record.node,
    state: backend?.state ?? 'absent',
    healthy: backend !== undefined && passes(backend),
    degraded: backend?.health.status === 'degraded',
    silent: backend?.health.silent ?? false,
    reality: known ? instance.state : instance,
    in_flight: backend?.in_flight ?? 0,
    tunnels: backend?.tunnels ?? 0,
    sessions: backend?.sessions ?? null,
    resident_bytes: known ? instance.residentBytes : null,
    origin: record.origin,
    created_at_ms: record.createdAtMs,
    ...placeOf(world, record, held),
  }
}

function placeOf(
  { reality, nodeMarks }: World,
  record: InstanceRecord,
  held: ReadonlyMap<string, Held | null>,
) {
  const { id, node } = record
  const snapshots = held.get(node)?.snapshots ?? []
  return {
    zone: reality.zoneOf(node),
    hourly: reality.hourlyOf(node),
    protected: record.protected ?? false,
    saving: snapshots.some(({ source, complete }) => source === id && !complete),
    node_closed: nodeMarks.closed(node) !== null,
  }
}

/** `ready` with no check yet is one that was verified when it was registered. In a panic the ill are `ready` too. */
function passes({ health, state }: BackendView): boolean {
  if (health.status === 'unknown') return state === 'ready'
  return health.status !== 'unhealthy'
}
