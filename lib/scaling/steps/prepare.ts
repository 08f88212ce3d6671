/**
 * Saves the live sources (`save-live.ts`), those with company out of new traffic meanwhile. The undo brings them back after a crash.
 */
import { type AllocateData, doneData, grownIn, type PrepareIntent, type SnapshotItem } from '../facts.ts'
import { open, saveLive, saveMs, wake } from '../readiness/save-live.ts'
import type { Step, StepContext } from '../step.ts'
import { destroyAll } from '../teardown.ts'

export const prepare: Step = {
  name: 'prepare',
  timeoutMs(ctx) {
    const { snapshots } = doneData<AllocateData>(ctx.journal, 'allocate')
    // Of those that were resized the memory is their own.
    const each = snapshots.map(({ source }) => saveMs(memoryOf(ctx, source)))
    return each.reduce((sum, ms) => sum + ms, 0) || saveMs(0)
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
    for (const { node, source } of snapshots) await wake(ctx.world, node, source)
    for (const { source } of snapshots) open(ctx.world, ctx.cluster, source)
    await destroyAll(ctx.world, snapshots)
    return []
  },
}

const memoryOf = ({ world, instance, journal }: StepContext, source: string): number =>
  (grownIn(journal).get(source) ?? world.members.get(source)?.resources ?? instance.resources).memoryBytes

async function saveSource(ctx: StepContext, item: SnapshotItem, fence: boolean, signal: AbortSignal) {
  const { world, cluster, owner } = ctx
  const { name, node, source } = item
  const { snapshot, pausedMs } = await saveLive(world, { cluster, item, owner, fence }, signal)
  return { name, node, source, bytes: snapshot.bytes, paused_ms: pausedMs, fenced: fence }
}
