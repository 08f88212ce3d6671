/**
 * Saves the live sources. A source is taken out of new traffic first if somebody else can take it: alone, a fence would turn
 * clients away, while the pause only makes them wait for its short length. Its health is held meanwhile, because a paused
 * instance is not dead. Whatever happens, it runs again and is back when the step ends; the undo does the same after a crash.
 */
import { type AllocateData, doneData, type PrepareIntent, type SnapshotItem } from '../facts.ts'
import { limits } from '../limits.ts'
import { requireQuota } from '../snapshots.ts'
import type { Step, StepContext } from '../step.ts'
import { destroyAll } from '../teardown.ts'

export const prepare: Step = {
  name: 'prepare',
  timeoutMs(ctx) {
    const { snapshots } = doneData<AllocateData>(ctx.journal, 'allocate')
    const each = limits.snapshotBaseMs + ctx.instance.resources.memoryBytes / limits.snapshotBytesPerMs
    return Math.ceil(each) * Math.max(1, snapshots.length)
  },
  intend({ world, cluster, journal }): PrepareIntent {
    const { snapshots } = doneData<AllocateData>(journal, 'allocate')
    const sources = new Set(snapshots.map(snapshot => snapshot.source))
    const others = world.clusters.backends(cluster).filter(backend => !sources.has(backend.id))
    const fenced = others.some(backend => backend.state === 'ready') ? [...sources] : []
    return { names: snapshots.map(snapshot => snapshot.name), snapshots, fenced }
  },
  async run(ctx, intent, signal) {
    const { snapshots, fenced } = intent as PrepareIntent
    const reports = []
    for (const snapshot of snapshots)
      reports.push(await saveSource(ctx, snapshot, fenced.includes(snapshot.source), signal))
    return { data: { snapshots: reports } }
  },
  async revert(ctx, intent) {
    const { snapshots } = intent as PrepareIntent
    for (const { node, source } of snapshots) await wake(ctx, node, source)
    for (const { source } of snapshots) open(ctx, source)
    await destroyAll(ctx.world, snapshots)
    return []
  },
}

async function saveSource(ctx: StepContext, item: SnapshotItem, fence: boolean, signal: AbortSignal) {
  const { world, cluster } = ctx
  const driver = world.reality.driver(item.node)
  world.clusters.holdHealth(cluster, item.source, true)
  try {
    if (fence) {
      world.clusters.fence(cluster, item.source, 'being cloned')
      await quiesce(ctx, item.source, signal)
    }
    const { name, source } = item
    await requireQuota(world, item.node)
    const { snapshot, pausedMs } = await driver.snapshot({ name, owner: ctx.owner, source }, signal)
    return { name, node: item.node, source, bytes: snapshot.bytes, paused_ms: pausedMs, fenced: fence }
  } catch (error) {
    // The driver has promised to leave it running; a promise made by something that just failed is looked after.
    await wake(ctx, item.node, item.source).catch(again =>
      world.log.error({ instance: item.source, err: again }, 'source could not be resumed yet'),
    )
    throw error
  } finally {
    open(ctx, item.source)
  }
}

/** Gives what is in flight a moment to leave, so that fewer exchanges are copied half-way. */
async function quiesce({ world, cluster }: StepContext, source: string, signal: AbortSignal): Promise<void> {
  const { clock, clusters } = world
  const deadline = clock.monotonic() + limits.quiesceMs
  while (clusters.backend(cluster, source).in_flight > 0 && clock.monotonic() < deadline)
    await clock.sleep(limits.quiescePollMs, signal)
}

async function wake({ world }: StepContext, node: string, source: string): Promise<void> {
  const instance = await world.reality.find(node, source)
  if (instance?.state === 'paused') await world.reality.driver(node).resume(source)
}

function open({ world, cluster }: StepContext, source: string): void {
  const { clusters } = world
  if (!clusters.has(cluster) || !clusters.backends(cluster).some(backend => backend.id === source)) return
  clusters.holdHealth(cluster, source, false)
  clusters.unfence(cluster, source)
}
