/**
 * The steps of a rolling replace. Each batch is an operation of its own: a replace on trial there, and a replace by the former
 * template back. These steps begin them and wait; whatever they were broken off in, they look at what is there first.
 */
import { TidegateError } from '../../errors.ts'
import { doneData, type GoldenValue, goldenKey } from '../facts.ts'
import { limits } from '../limits.ts'
import { leftBehind } from '../next.ts'
import { goldenInputs, wholeSource } from '../readiness/golden.ts'
import type { CheckpointData } from '../rolling/checkpoint.ts'
import {
  type BatchData,
  batchOf,
  batchStep,
  type RollingPlan,
  type RollingRequest,
} from '../rolling/rolling.ts'
import { type Recipe, type Step, type StepContext, shortMs } from '../step.ts'
import { collectMetricsStep } from './collect-metrics.ts'

const asked = ({ operation }: StepContext) => operation.request as unknown as RollingRequest

/** Of one rolling replace: as many batches as it has. */
export function rollingRecipe({ batches }: RollingRequest): Recipe {
  const steps = batches.map((_, index) => batch(index + 1))
  return { steps: [collectMetricsStep, plan, ...steps, finish], pivot: finish.name, goesOn: true }
}

/** Keeps what would be wanted to go back: the former templates and their golden snapshots. */
const plan: Step = {
  name: 'plan',
  timeoutMs: () => shortMs,
  async run(ctx) {
    const { world, cluster, operation, config } = ctx
    const { template, former } = asked(ctx)
    const templates = Object.fromEntries(
      former.flatMap(version => {
        const kept = world.templates.get(cluster, version)
        return kept ? [[version, kept] as const] : []
      }),
    )
    if (config.instance === null || (await goldenInputs(config.instance)) !== template)
      throw new TidegateError('operation_failed', 'the template changed while it was asked for; ask again')
    const golden = await goldenOfFormer(ctx)
    const names = Object.values(golden).map(({ snapshot }) => snapshot)
    const data: RollingPlan = { golden, names }
    const pin = world.templates.pin(cluster, operation.id, { ...templates, [template]: config.instance })
    return { data, writes: [pin] }
  },
  async revert({ world, cluster, operation, journal }) {
    // A batch that could not be taken back is tried again later, and by the former template.
    const left = leftBehind(journal).filter(step => batchOf(step) !== null)
    if (left.length > 0)
      throw new TidegateError(
        'operation_failed',
        `${left.join(', ')} is not undone, and needs the former template`,
      )
    return [world.templates.unpin(cluster, operation.id)]
  },
}

async function goldenOfFormer(ctx: StepContext): Promise<RollingPlan['golden']> {
  const { world, cluster } = ctx
  const value = (await world.store.value(goldenKey(cluster))) as GoldenValue | null
  if (!value || !asked(ctx).former.includes(value.inputs) || !(await wholeSource(world, value))) return {}
  return { [value.inputs]: { node: value.node, snapshot: value.snapshot } }
}

function batch(number: number): Step {
  const part = ({ operation }: StepContext, back: boolean) => ({
    operation: operation.id,
    batch: number,
    back,
  })
  const patience = (ctx: StepContext) => limits.partMs + asked(ctx).pause_seconds * 1000
  return {
    name: batchStep(number),
    timeoutMs: patience,
    revertMs: patience,
    intend: ctx => ({ batch: number, batches: asked(ctx).batches.length }),
    async run(ctx, _intent, signal) {
      const { parts } = ctx.world
      const wanted = () => forward(ctx, number)
      const done = await parts.carryOut(ctx.operation, part(ctx, false), wanted, signal)
      const data: BatchData = {
        ...{ batch: number, batches: asked(ctx).batches.length, operation_id: done?.id ?? null },
        replaced: done ? asked(ctx).batches[number - 1]! : [],
        by: done ? await parts.madeBy(done) : [],
        checkpoint: done && (await parts.dataOf<CheckpointData>(done, 'checkpoint')),
      }
      return { data }
    },
    async revert(ctx, _intent, signal) {
      const { parts } = ctx.world
      const begun = await parts.of(part(ctx, false), ctx.cluster)
      await parts.cancelAll(begun)
      const ended = await Promise.all(begun.map(record => parts.ended(record, signal)))
      const made = (await Promise.all(ended.map(record => parts.madeBy(record)))).flat()
      await parts.carryOut(ctx.operation, part(ctx, true), () => backward(ctx, number, made), signal)
      return []
    },
  }
}

/** Null: none of them is there any more. */
function forward(ctx: StepContext, number: number) {
  const { batches, template, pause_seconds, max_failure_ratio } = asked(ctx)
  const ids = batches[number - 1]!.filter(id => ctx.world.members.get(id) !== null)
  const trial = { pause_seconds, max_failure_ratio }
  return ids.length === 0 ? null : { ...replacing(ids), template, trial }
}

/** Null: nothing of what the batch made is there any more. */
function backward(ctx: StepContext, number: number, made: readonly string[]) {
  const { former } = asked(ctx)
  const { golden } = doneData<RollingPlan>(ctx.journal, 'plan')
  const ids = [...made, ...(number === 1 ? strangers(ctx) : [])]
  const there = [...new Set(ids)].filter(id => ctx.world.members.get(id) !== null)
  const template = former[number - 1]!
  return there.length === 0 ? null : { ...replacing(there), template, golden: golden[template] ?? null }
}

/** Of the new template, and made by nobody here: a repair meanwhile. They go with the first batch. */
function strangers(ctx: StepContext): readonly string[] {
  const { world, cluster } = ctx
  const { batches, former, template } = asked(ctx)
  if (former.includes(template)) return []
  const before = new Set(batches.flat())
  const ids = world.members.of(cluster).map(({ id }) => id)
  return ids.filter(id => !before.has(id) && world.templates.versionOf(cluster, id) === template)
}

const replacing = (ids: readonly string[]) =>
  ({ type: 'replace', instance_id: ids[0]!, instance_ids: ids, fresh: true }) as const

const finish: Step = {
  name: 'finalize',
  timeoutMs: () => shortMs,
  run: async ({ world, cluster, operation }) => ({
    data: {},
    writes: [world.templates.unpin(cluster, operation.id)],
  }),
}
