/**
 * The steps of a resize: other resources for a running instance. Until the store remembers them they are taken back when anything
 * fails; `adopt` is the point of no return. The application hears of both from the driver, which knows what leaves and when.
 */
import type { Resources } from '../../config/config.ts'
import { TidegateError, toTidegateError } from '../../errors.ts'
import type { Driver } from '../../hypervisor/driver.ts'
import type { Write } from '../../store/store.ts'
import { type Claim, doneData, type Growing } from '../facts.ts'
import { limits } from '../limits.ts'
import type { OperationRequest } from '../operation.ts'
import { mustBeMember } from '../placement/protection.ts'
import { growthPromised, planResize, type Resizing, words } from '../sizing/resizing.ts'
import { type Step, type StepContext, shortMs } from '../step.ts'
import { untilHealthy } from './verify.ts'

type ResizeRequest = Extract<OperationRequest, { type: 'resize' }>
type ResizeIntent = Claim & { readonly from: { readonly [K in keyof Resources]: number } }

const asked = ({ request }: StepContext): ResizeRequest => request as ResizeRequest
const planned = ({ journal }: StepContext): Resizing => doneData<Resizing>(journal, 'plan')

export const validateResize: Step = {
  name: 'validate',
  timeoutMs: () => shortMs,
  async run(ctx) {
    const { id, node } = mustBeMember(ctx.world, ctx.cluster, asked(ctx).instance_id)
    return { data: { instance: id, node } }
  },
}

export const planResizeStep: Step = {
  name: 'plan',
  timeoutMs: () => shortMs,
  async run(ctx) {
    const { world, cluster, operation } = ctx
    const { instance_id, resources } = asked(ctx)
    return world.promises.inTurn(async () => {
      const { node, from, to } = await planResize(world, cluster, instance_id, resources)
      const data = { node, from: { ...from }, to: { ...to } }
      world.promises.keep(operation.id, growthPromised({ grow: [{ id: instance_id, ...data }] }))
      return { data }
    })
  },
  async revert({ world, operation }) {
    world.promises.drop(operation.id)
    return []
  },
}

export const resize: Step = {
  name: 'resize',
  // Its application would hear of each try and of each way back.
  once: true,
  timeoutMs: () => limits.resizeMs,
  intend(ctx): ResizeIntent {
    return { names: [asked(ctx).instance_id], from: { ...planned(ctx).from } }
  },
  async run(ctx, _intent, signal) {
    const { node, to } = planned(ctx)
    const driver = ctx.world.reality.driver(node)
    const { resources, application } = await driver.resize(asked(ctx).instance_id, to, signal)
    return { data: { resources: { ...resources }, application } }
  },
  async revert(ctx, intent) {
    const { node, to } = planned(ctx)
    const { from } = intent as ResizeIntent
    return takeBack(ctx, { id: asked(ctx).instance_id, node, from, to })
  },
}

/** It has again what it had; what the store must know of it all the same. */
export async function takeBack(ctx: StepContext, { id, node, from, to }: Growing): Promise<readonly Write[]> {
  const held = await ctx.world.reality.find(node, id)
  // One that is gone or dead has nothing to be taken back.
  if (held === null || held.state === 'stopped') return []
  const has = await giveBack(ctx.world.reality.driver(node), id, from, to)
  return remembered(ctx, id, { from, to, has })
}

/** Disks only grow: where one has, a driver may refuse what is less, and the rest is given back without it. */
async function giveBack(driver: Driver, id: string, from: Resources, to: Resources): Promise<Resources> {
  const never = new AbortController().signal
  try {
    return (await driver.resize(id, from, never)).resources
  } catch (error) {
    const grew = to.diskBytes > from.diskBytes
    if (!grew || toTidegateError(error).code !== 'resize_unsupported') throw error
    return (await driver.resize(id, { ...from, diskBytes: to.diskBytes }, never)).resources
  }
}

/** Hypervisors round up: to whole CPUs, and bytes to pages or mebibytes. */
const roundedMaxBytes = 2 ** 20
const isBack = (key: keyof Resources, from: number, has: number): boolean =>
  has >= from && has - from < (key === 'diskBytes' || key === 'memoryBytes' ? roundedMaxBytes : 1)

/**
 * A disk that has grown stays so: the store learns it, so that rooms count it and the comparison tells it. CPUs and memory that do not come
 * back may yet: that is tried again.
 */
function remembered(
  { world }: StepContext,
  id: string,
  { from, to, has }: Pick<Resizing, 'from' | 'to'> & { readonly has: Resources },
): readonly Write[] {
  const keys = ['cpus', 'memoryBytes', 'diskBytes'] as const
  const stays = keys.filter(key => to[key] !== from[key] && !isBack(key, from[key], has[key]))
  const held = stays.filter(key => key !== 'diskBytes')
  if (held.length > 0) {
    const said = held.map(key => `${words[key]} ${has[key]} where it had ${from[key]}`).join(', ')
    throw new TidegateError('hypervisor_failed', `instance ${id} does not have again what it had: ${said}`, {
      details: { instance_id: id, expected: { ...from }, found: { ...has } },
    })
  }
  const record = world.members.get(id)
  if (stays.length === 0 || record === null) return []
  return [{ put: 'instance', record: { ...record, resources: { ...from, diskBytes: has.diskBytes } } }]
}

export const verifyResize: Step = {
  name: 'verify',
  timeoutMs: () => limits.verifyCloneMs,
  async run(ctx, _intent, signal) {
    const { id, node, address } = mustBeMember(ctx.world, ctx.cluster, asked(ctx).instance_id)
    return { data: await untilHealthy(ctx, { name: id, node, address }, signal) }
  },
}

export const adopt: Step = {
  name: 'adopt',
  timeoutMs: () => shortMs,
  async run(ctx) {
    const record = mustBeMember(ctx.world, ctx.cluster, asked(ctx).instance_id)
    const { resources } = doneData<{ resources: Resources }>(ctx.journal, 'resize')
    return {
      data: { instance: record.id },
      writes: [{ put: 'instance', record: { ...record, resources } }],
    }
  },
}
