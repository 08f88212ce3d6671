/**
 * Makes the new instances, a few at a time: clones where there is a snapshot for them, cold boots where there is none. A golden
 * snapshot that turns out to be unusable is given up and a cold boot taken instead: it has nothing that a cold boot has not.
 */
import { TidegateError, toTidegateError } from '../../errors.ts'
import type { HeldInstance } from '../../hypervisor/driver.ts'
import { type AllocateData, type Claim, doneData, type Item, type PlanData } from '../facts.ts'
import { copyMs, limits } from '../limits.ts'
import { parallel } from '../parallel.ts'
import { forgetGolden } from '../readiness/golden.ts'
import { wakeStandby } from '../readiness/wake-standby.ts'
import { type Step, type StepContext, shortMs } from '../step.ts'
import { destroyAll } from '../teardown.ts'

export const clone: Step = {
  name: 'clone',
  timeoutMs({ journal, instance }) {
    const { items } = doneData<AllocateData>(journal, 'allocate')
    const clones = items.filter(item => item.snapshot !== null)
    const boots = clones.length < items.length || fromGolden(journal)
    // Of a source that was resized the memory is its own.
    const memories = clones.map(({ resources = instance.resources }) => resources.memoryBytes)
    const each =
      (clones.length > 0 ? copyMs(limits.cloneBaseMs, Math.max(...memories)) : 0) +
      (boots ? limits.createMs : 0)
    return Math.max(shortMs, each * Math.ceil(items.length / limits.parallelMax))
  },
  intend({ journal }): Claim {
    return { names: doneData<AllocateData>(journal, 'allocate').items.map(item => item.name) }
  },
  async run(ctx, _intent, signal) {
    const { items } = doneData<AllocateData>(ctx.journal, 'allocate')
    const instances = await parallel(items, limits.parallelMax, signal, async (item, signal) => {
      const startedAt = ctx.world.clock.monotonic()
      const { made, booted } = await make(ctx, item, signal)
      const { name, address, residentBytes } = made
      if (!address)
        throw new TidegateError('hypervisor_failed', `instance ${name} came up without an address`)
      const tookMs = Math.round(ctx.world.clock.monotonic() - startedAt)
      const { host, port } = address
      return {
        name,
        node: item.node,
        address: { host, port },
        resident_bytes: residentBytes,
        took_ms: tookMs,
        booted,
      }
    })
    return { data: { instances } }
  },
  async revert({ world, journal }) {
    await destroyAll(world, doneData<AllocateData>(journal, 'allocate').items)
    return []
  },
}

async function make(
  ctx: StepContext,
  item: Item,
  signal: AbortSignal,
): Promise<{ readonly made: HeldInstance; readonly booted: boolean }> {
  const { port, resources, template } = ctx.instance
  const driver = ctx.world.reality.driver(item.node)
  const spec = { name: item.name, owner: ctx.owner, port, resources, template }
  const { snapshot } = item
  // What it was made of is gone: nobody can be made in its stead.
  if (item.from) return { made: await wakeStandby(ctx.world, item, signal), booted: false }
  const taken = item.pooled ? await takeOut(ctx, item) : null
  if (taken) return { made: taken, booted: false }
  if (snapshot !== null) {
    try {
      return { made: await driver.clone({ ...spec, snapshot }, signal), booted: false }
    } catch (error) {
      if (signal.aborted || !fromGolden(ctx.journal) || !lacksSnapshot(error)) throw error
      ctx.world.log.warn({ instance: item.name, snapshot, err: error }, 'booted from nothing instead')
      await forgetGolden(ctx.world, ctx.cluster, snapshot)
    }
  }
  return { made: await driver.create(spec, signal), booted: true }
}

/** One of the warm pool, running. Null: it does not live, and what is left of it is gone. */
async function takeOut({ world, cluster }: StepContext, { name, node }: Item): Promise<HeldInstance | null> {
  const driver = world.reality.driver(node)
  try {
    if ((await world.reality.find(node, name))?.state === 'paused') await driver.resume(name)
    const held = await world.reality.find(node, name)
    if (held?.state === 'running') return held
  } catch (error) {
    world.log.warn(
      { cluster, instance: name, err: error },
      'a warm instance does not come back; another is made',
    )
  }
  await destroyAll(world, [{ name, node }])
  return null
}

const fromGolden = (journal: StepContext['journal']) => doneData<PlanData>(journal, 'plan').mode === 'golden'

/** It is the snapshot's fault, and nothing was started. */
const lacksSnapshot = (error: unknown) =>
  ['snapshot_unusable', 'snapshot_failed', 'unknown_instance', 'template_invalid'].includes(
    toTidegateError(error).code,
  )
