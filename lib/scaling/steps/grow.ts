/**
 * The steps by which those who are there grow before others are made, in one operation: planned together, given back together when
 * anything fails, and told to the store with the new members. Applications hear of it from the driver, as in a resize.
 */
import type { Write } from '../../store/store.ts'
import {
  type Claim,
  doneData,
  type Growing,
  type GrownData,
  grownIn,
  type MetricsData,
  type PlanData,
} from '../facts.ts'
import { limits } from '../limits.ts'
import { resourceName } from '../names.ts'
import { parallel } from '../parallel.ts'
import { mustBeMember } from '../placement/protection.ts'
import { goldenFor, goldenInputs } from '../readiness/golden.ts'
import { planCapacity } from '../sizing/capacity.ts'
import { growthPromised } from '../sizing/resizing.ts'
import { type Step, type StepContext, shortMs } from '../step.ts'
import type { Promised } from '../world.ts'
import { register } from './register.ts'
import { takeBack } from './resize.ts'
import { untilHealthy } from './verify.ts'

type GrowIntent = Claim & { readonly grow: readonly Growing[] }

const planned = ({ journal }: StepContext) => doneData<PlanData>(journal, 'plan').grow ?? []
const turns = (count: number) => Math.max(1, Math.ceil(count / limits.parallelMax))

/** Growth and clones are promised together, so that nobody grows for clones that have no room. */
export const planCapacityStep: Step = {
  name: 'plan',
  timeoutMs: () => shortMs,
  async run({ world, cluster, config, operation, instance, request, journal }) {
    const { instances } = doneData<MetricsData>(journal, 'collect_metrics')
    const { target_cpus: target } = request as { readonly target_cpus: number }
    const golden = await goldenFor(world, config, instance, request)
    const version = await goldenInputs(instance)
    return world.promises.inTurn(async () => {
      const { plan, promised } = await planCapacity(world, { cluster, target, instance, instances, golden })
      const name = (index: number) => resourceName(cluster, operation.id, String(index + 1))
      const rooms = promised.map((one, index): Promised => ({ ...one, name: name(index) }))
      world.promises.keep(operation.id, [...growthPromised(plan), ...rooms])
      return { data: plan.add === 0 ? plan : { ...plan, version } }
    })
  },
  async revert({ world, operation }) {
    world.promises.drop(operation.id)
    return []
  },
}

export const grow: Step = {
  name: 'grow',
  // Their applications would hear of each try and of each way back.
  once: true,
  timeoutMs: ctx => limits.resizeMs * turns(planned(ctx).length),
  intend(ctx): GrowIntent {
    const grow = planned(ctx)
    return { names: grow.map(({ id }) => id), grow }
  },
  async run(ctx, intent, signal) {
    const { grow } = intent as GrowIntent
    const grown = await parallel(grow, limits.parallelMax, signal, async ({ id, node, to }, signal) => {
      const { resources, application } = await ctx.world.reality.driver(node).resize(id, to, signal)
      return { id, resources: { ...resources }, application }
    })
    return { data: { grown } }
  },
  revertMs: ctx => limits.resizeMs * turns(planned(ctx).length),
  async revert(ctx, intent, signal) {
    const { grow } = intent as GrowIntent
    const failed: unknown[] = []
    const back = await parallel(grow, limits.parallelMax, signal, async one => {
      try {
        return await takeBack(ctx, one)
      } catch (error) {
        // The others get theirs all the same.
        failed.push(error)
        return []
      }
    })
    if (failed.length > 0) throw failed[0]
    return back.flat()
  },
}

export const verifyGrown: Step = {
  name: 'verify_grown',
  timeoutMs: () => limits.verifyCloneMs,
  async run(ctx, _intent, signal) {
    const grown = planned(ctx).map(({ id }) => mustBeMember(ctx.world, ctx.cluster, id))
    const items = await parallel(grown, grown.length, signal, ({ id, node, address }, signal) =>
      untilHealthy(ctx, { name: id, node, address }, signal),
    )
    return { data: { items } }
  },
}

/** The new ones become members, and the store learns the sizes of those who grew, in the same transaction. */
export const registerGrown: Step = {
  ...register,
  async run(ctx, intent, signal) {
    const { data, writes = [], ...rest } = await register.run(ctx, intent, signal)
    // Not before: who is protected meanwhile stays so.
    const sizes = [...grownIn(ctx.journal)].map(([id, resources]): Write => {
      return { put: 'instance', record: { ...mustBeMember(ctx.world, ctx.cluster, id), resources } }
    })
    const grown = doneData<GrownData>(ctx.journal, 'grow').grown.map(({ id }) => id)
    return { ...rest, data: { ...(data as object), grown }, writes: [...sizes, ...writes] }
  },
}
