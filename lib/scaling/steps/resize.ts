/**
 * The steps of a resize: other resources for a running instance. Until the store remembers them they are taken back when anything
 * fails; `adopt` is the point of no return. The application hears of both from the driver, which knows what leaves and when.
 */
import type { Resources } from '../../config/config.ts'
import { toTidegateError } from '../../errors.ts'
import { type Claim, doneData } from '../facts.ts'
import { limits } from '../limits.ts'
import type { OperationRequest } from '../operation.ts'
import { mustBeMember } from '../placement/protection.ts'
import { growth, planResize, type Resizing } from '../resizing.ts'
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
      // Under a name of its own: what the instance has already is counted where it is held.
      const more = { name: `${instance_id}+`, node, resources: growth({ from, to }) }
      world.promises.keep(operation.id, [more])
      return { data: { node, from: { ...from }, to: { ...to } } }
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
    const id = asked(ctx).instance_id
    const held = await ctx.world.reality.find(node, id)
    // One that is gone or dead has nothing to be taken back.
    if (held === null || held.state === 'stopped') return []
    const never = new AbortController().signal
    const { from } = intent as ResizeIntent
    const back = (resources: Resources) => ctx.world.reality.driver(node).resize(id, resources, never)
    const { resources } = await back(from).catch(error => {
      const grown = from.diskBytes !== to.diskBytes
      if (toTidegateError(error).code !== 'resize_unsupported' || !grown) throw error
      return back({ ...from, diskBytes: to.diskBytes })
    })
    const record = ctx.world.members.get(id)
    if (record === null || resources.diskBytes === from.diskBytes) return []
    // A disk that has grown stays as large as it is. Who is asked next starts from what there is.
    return [
      { put: 'instance', record: { ...record, resources: { ...from, diskBytes: resources.diskBytes } } },
    ]
  },
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
