/**
 * Saves a live instance. It is taken out of new traffic first where somebody else can take that: alone, a fence would turn clients away,
 * while the pause only makes them wait for its short length. Its health is held meanwhile, because a paused instance is not dead.
 * Whatever happens, it runs again and is back when this ends.
 */
import type { Owner, SnapshotReport } from '../../hypervisor/driver.ts'
import type { SnapshotItem } from '../facts.ts'
import { copyMs, limits } from '../limits.ts'
import { resourcesOf } from '../placement/rooms.ts'
import type { World } from '../world.ts'
import { requireQuota } from './snapshots.ts'

export interface Saving {
  readonly cluster: string
  readonly item: SnapshotItem
  readonly owner: Owner
  readonly fence: boolean
}

export async function saveLive(world: World, saving: Saving, signal: AbortSignal): Promise<SnapshotReport> {
  const { cluster, item, owner, fence } = saving
  const { name, node, source } = item
  world.clusters.holdHealth(cluster, source, true)
  try {
    if (fence) {
      world.clusters.fence(cluster, source, 'being cloned')
      await quiesce(world, cluster, source, signal)
    }
    const memoryBytes = resourcesOf(world, source, cluster)?.memoryBytes ?? 0
    await requireQuota(world, node, cluster, memoryBytes)
    return await world.reality.driver(node).snapshot({ name, owner, source }, signal)
  } catch (error) {
    // The driver has promised to leave it running; a promise made by something that just failed is looked after.
    await wake(world, node, source).catch(again =>
      world.log.error({ instance: source, err: again }, 'source could not be resumed yet'),
    )
    throw error
  } finally {
    open(world, cluster, source)
  }
}

/** How long one snapshot may take. */
export const saveMs = (memoryBytes: number): number => copyMs(limits.snapshotBaseMs, memoryBytes)

/** Gives what is in flight a moment to leave, so that fewer exchanges are copied half-way. */
async function quiesce(
  { clock, clusters }: World,
  cluster: string,
  source: string,
  signal: AbortSignal,
): Promise<void> {
  const deadline = clock.monotonic() + limits.quiesceMs
  while (clusters.backend(cluster, source).in_flight > 0 && clock.monotonic() < deadline)
    await clock.sleep(limits.quiescePollMs, signal)
}

export async function wake({ reality }: World, node: string, source: string): Promise<void> {
  const instance = await reality.find(node, source)
  if (instance?.state === 'paused') await reality.driver(node).resume(source)
}

/** It takes new clients again, and its silence counts. */
export function open({ clusters }: World, cluster: string, source: string): void {
  if (!clusters.has(cluster, source)) return
  clusters.holdHealth(cluster, source, false)
  clusters.unfence(cluster, source)
}
