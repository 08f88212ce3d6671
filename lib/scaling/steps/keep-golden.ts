/**
 * Where clones come from a golden snapshot and there is none: saves the first instance that was booted and verified, while it
 * does not serve anybody yet. Does nothing otherwise.
 */
import {
  type AllocateData,
  type Claim,
  doneData,
  type GoldenValue,
  goldenKey,
  type PlanData,
} from '../facts.ts'
import { templateDigest } from '../golden.ts'
import { limits } from '../limits.ts'
import { resourceName } from '../names.ts'
import type { Step, StepContext } from '../step.ts'
import { destroyAll } from '../teardown.ts'

export const keepGolden: Step = {
  name: 'keep_golden',
  timeoutMs: ({ instance }) =>
    Math.ceil(limits.snapshotBaseMs + instance.resources.memoryBytes / limits.snapshotBytesPerMs),
  intend(ctx): Claim {
    return { names: goldenWanted(ctx) ? [snapshotName(ctx)] : [] }
  },
  async run(ctx, intent, signal) {
    const { world, cluster, instance, owner } = ctx
    const [name] = (intent as Claim).names
    if (name === undefined) return { data: { kept: null } }
    const first = doneData<AllocateData>(ctx.journal, 'allocate').items[0]!
    const driver = world.reality.driver(first.node)
    const { snapshot, pausedMs } = await driver.snapshot({ name, owner, source: first.name }, signal)
    const value: GoldenValue = { node: first.node, snapshot: name, template: templateDigest(instance) }
    return {
      data: { kept: name, bytes: snapshot.bytes, paused_ms: pausedMs },
      writes: [{ put: 'value', key: goldenKey(cluster), value }],
    }
  },
  async revert(ctx, intent) {
    const { names } = intent as Claim
    if (names.length === 0) return []
    const { node } = doneData<AllocateData>(ctx.journal, 'allocate').items[0]!
    await destroyAll(
      ctx.world,
      names.map(name => ({ name, node })),
    )
    const kept = (await ctx.world.store.value(goldenKey(ctx.cluster))) as GoldenValue | null
    return kept && names.includes(kept.snapshot)
      ? [{ put: 'value', key: goldenKey(ctx.cluster), value: null }]
      : []
  },
}

function goldenWanted({ journal, instance }: StepContext): boolean {
  return instance.cloneFrom === 'golden' && doneData<PlanData>(journal, 'plan').mode === 'create'
}

const snapshotName = ({ cluster, operation }: StepContext) => resourceName(cluster, operation.id, 'golden')
