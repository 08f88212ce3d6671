/**
 * The two changes of membership, each one generation. They are idempotent: a step that follows one repeats it when its
 * publish failed or when Tidegate was restarted in between, so that the table says what the store says.
 */
import type { InstanceRecord } from '../store/store.ts'
import { newBackend, type World } from './world.ts'

/** All of these serve afterwards. */
export async function ensureRegistered(
  world: World,
  cluster: string,
  records: readonly InstanceRecord[],
): Promise<void> {
  const serving = servingIds(world, cluster)
  const add = records
    .filter(record => !serving.has(record.id))
    .map(record =>
      newBackend(record, { verified: true, mark: null, zone: world.reality.zoneOf(record.node) }),
    )
  if (add.length > 0) await world.clusters.change(cluster, { add })
}

/** None of these serves afterwards. */
export async function ensureDeregistered(
  world: World,
  cluster: string,
  ids: readonly string[],
): Promise<void> {
  const serving = servingIds(world, cluster)
  const remove = ids.filter(id => serving.has(id))
  if (remove.length > 0) await world.clusters.change(cluster, { remove, lost: world.losses.of(cluster) })
}

/** Of these the former take new clients afterwards and the latter do not, from one instant on: one generation. Members only. */
export async function ensureSwitched(
  world: World,
  cluster: string,
  { to, from }: { readonly to: readonly string[]; readonly from: readonly string[] },
): Promise<void> {
  const { clusters } = world
  const add = to
    .filter(id => clusters.fenced(cluster, id) === null)
    .flatMap(id => world.members.get(id) ?? [])
    .map(record =>
      newBackend(record, { verified: true, mark: null, zone: world.reality.zoneOf(record.node) }),
    )
  const open = to.filter(id => clusters.fenced(cluster, id) === true)
  const close = from.filter(id => clusters.fenced(cluster, id) === false)
  if (add.length + open.length + close.length > 0) await clusters.change(cluster, { add, open, close })
}

/** The new ones serve afterwards and the old ones do not, in one generation. */
export async function ensureReplaced(
  world: World,
  cluster: string,
  ids: readonly string[],
  gone: readonly string[],
): Promise<void> {
  const serving = servingIds(world, cluster)
  const add = ids
    .filter(id => !serving.has(id))
    .flatMap(id => world.members.get(id) ?? [])
    .map(record =>
      newBackend(record, { verified: true, mark: null, zone: world.reality.zoneOf(record.node) }),
    )
  const remove = gone.filter(id => serving.has(id))
  if (add.length + remove.length === 0) return
  await world.clusters.change(cluster, { add, remove, lost: world.losses.of(cluster) })
}

/** The ids of the backends that are in the newest table; none for a cluster that left the configuration. */
export function servingIds({ clusters }: World, cluster: string): ReadonlySet<string> {
  const listed = clusters.table().clusters.find(({ id }) => id === cluster)
  return new Set(listed?.members.map(({ id }) => id))
}
