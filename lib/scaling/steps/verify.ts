/** Asks each new instance until it has answered well as often as its cluster's health demands, all of them or none. */
import { TidegateError } from '../../errors.ts'
import { bootedNames, doneData, type MadeData } from '../facts.ts'
import { limits } from '../limits.ts'
import { parallel } from '../parallel.ts'
import type { Step, StepContext } from '../step.ts'

export const verify: Step = {
  name: 'verify',
  timeoutMs({ journal }) {
    return bootedNames(journal).size > 0 ? limits.verifyCreateMs : limits.verifyCloneMs
  },
  async run(ctx, _intent, signal) {
    const { instances } = doneData<MadeData>(ctx.journal, 'clone')
    // All at once: probing is cheap, and the slowest decides anyway.
    const items = await parallel(instances, instances.length, signal, (made, signal) =>
      untilHealthy(ctx, made, signal),
    )
    return { data: { items } }
  },
}

type Where = Pick<StepContext, 'world' | 'cluster' | 'config'>

export async function untilHealthy(ctx: Where, made: MadeData['instances'][number], signal: AbortSignal) {
  const { clock, probe, reality } = ctx.world
  const { health } = ctx.config
  const startedAt = clock.monotonic()
  let firstAnswerMs: number | null = null
  let reason = 'it was not asked yet'
  let passed = 0
  let checks = 0
  try {
    while (passed < health.healthyThreshold) {
      if (checks > 0) await clock.sleep(Math.min(limits.verifyPollMs, health.intervalMs), signal)
      const verdict = await probe(ctx.world.clusters.target(ctx.cluster, made.address), health, signal)
      signal.throwIfAborted()
      checks++
      reason = verdict.reason
      passed = verdict.ok ? passed + 1 : 0
      if (verdict.ok) firstAnswerMs ??= Math.round(clock.monotonic() - startedAt)
      else if (checks % checksPerLook === 0) await mustRun(ctx, made)
    }
    return { name: made.name, checks, first_answer_ms: firstAnswerMs }
  } catch (error) {
    if (signal.reason?.code !== 'step_timeout') throw error
    const state = (await reality.find(made.node, made.name).catch(() => null))?.state ?? 'gone'
    throw new TidegateError(
      'instance_unhealthy',
      `instance ${made.name} (${state}) never became healthy: ${reason}`,
      {
        details: { instance_id: made.name, state, checks },
      },
    )
  }
}

/** A dead instance is not waited for. */
const checksPerLook = 10

async function mustRun({ world }: Where, { node, name }: { node: string; name: string }): Promise<void> {
  const instance = await world.reality.find(node, name)
  if (instance && instance.state !== 'stopped') return
  throw new TidegateError('instance_died', `instance ${name} ended before it answered`, {
    details: { instance_id: name },
  })
}
