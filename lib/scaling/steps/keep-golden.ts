/**
 * Where clones come from a golden snapshot and there is none: warms the first instance that was booted and verified, and saves
 * it, while it does not serve anybody yet. Does nothing otherwise. An application that cannot be warmed or saved is no reason
 * not to serve: the operation goes on without, and says why.
 */
import { toTidegateError } from '../../errors.ts'
import {
  type AllocateData,
  type Claim,
  doneData,
  type GoldenValue,
  goldenKey,
  type MadeData,
  type PlanData,
} from '../facts.ts'
import { copyMs, limits } from '../limits.ts'
import { goldenName } from '../names.ts'
import { goldenInputs, keepsGolden } from '../readiness/golden.ts'
import { requireQuota } from '../readiness/snapshots.ts'
import { rehearse, warm } from '../readiness/warm.ts'
import type { Step, StepContext, StepResult } from '../step.ts'
import { destroyAll } from '../teardown.ts'

export const keepGolden: Step = {
  name: 'keep_golden',
  timeoutMs: ({ instance, config }) =>
    copyMs(limits.snapshotBaseMs, instance.resources.memoryBytes) +
    instance.warmRequests.length * limits.warmRequestMs +
    limits.rehearsalsBeforeSave * config.health.timeoutMs,
  intend(ctx): Claim {
    return { names: goldenWanted(ctx) ? [goldenName(ctx.cluster, ctx.operation.id)] : [] }
  },
  async run(ctx, intent, signal) {
    const [name] = (intent as Claim).names
    if (name === undefined) return { data: { kept: null } }
    try {
      return await keep(ctx, name, signal)
    } catch (error) {
      signal.throwIfAborted()
      const { code, message } = toTidegateError(error)
      if (code === 'store_unavailable') throw error
      ctx.world.log.warn({ cluster: ctx.cluster, code }, `no golden snapshot was kept: ${message}`)
      return { data: { kept: null, code, reason: message } }
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
    const key = goldenKey(ctx.cluster)
    const kept = (await ctx.world.store.value(key)) as GoldenValue | null
    return kept && names.includes(kept.snapshot) ? [{ put: 'value', key, value: await former(ctx) }] : []
  },
}

/** The one that it took the place of, as long as that is there: nobody may have collected it. */
async function former({ world, journal }: StepContext): Promise<GoldenValue | null> {
  const { former = null } = doneData<{ readonly former?: GoldenValue | null }>(journal, 'keep_golden')
  if (former === null) return null
  const { snapshots } = await world.reality.inspect(former.node)
  return snapshots.some(({ name }) => name === former.snapshot) ? former : null
}

/** The inputs are read before the instance is saved: what changes meanwhile makes it an old one, never a wrong one. */
async function keep(ctx: StepContext, name: string, signal: AbortSignal): Promise<StepResult> {
  const { world, cluster, instance, owner, journal } = ctx
  const first = doneData<MadeData>(journal, 'clone').instances[0]!
  const inputs = await goldenInputs(instance)
  const target = world.clusters.target(cluster, first.address)
  await warm(world, target, instance.warmRequests, signal)
  await rehearse(world, target, ctx.config.health, limits.rehearsalsBeforeSave, signal)
  await requireQuota(world, first.node, cluster, instance.resources.memoryBytes)
  const driver = world.reality.driver(first.node)
  const { snapshot, pausedMs } = await driver.snapshot(
    { name, owner, source: first.name, keep: true },
    signal,
  )
  const { bytes } = snapshot
  const value: GoldenValue = {
    node: first.node,
    snapshot: name,
    inputs,
    bytes,
    made_at_ms: world.clock.now(),
  }
  const former = await world.store.value(goldenKey(cluster))
  return {
    data: { kept: name, former, bytes, paused_ms: pausedMs, warmed: instance.warmRequests.length },
    writes: [{ put: 'value', key: goldenKey(cluster), value }],
  }
}

function goldenWanted({ journal, config, request }: StepContext): boolean {
  if (request.type === 'replace' && request.golden !== undefined) return false
  return keepsGolden(config) && doneData<PlanData>(journal, 'plan').mode === 'create'
}
