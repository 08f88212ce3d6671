/**
 * The new instances on trial: they serve new clients beside the fenced old ones, which keep theirs and could take all back. As soon
 * as one of the new is ill, or too much fails, or when the time is over and they have not proved themselves, the step fails.
 */

import { type AllocateData, doneData } from '../facts.ts'
import { servingIds } from '../membership-change.ts'
import type { Trial } from '../operation.ts'
import { type CheckpointData, type Counted, judge, type Seen } from '../rolling/checkpoint.ts'
import { type Step, type StepContext, shortMs } from '../step.ts'

/** Between two looks. */
const lookEveryMs = 250

export const trialOf = ({ request }: Pick<StepContext, 'request'>): Trial =>
  (request as { readonly trial: Trial }).trial

export const checkpoint: Step = {
  name: 'checkpoint',
  timeoutMs: ctx => trialOf(ctx).pause_seconds * 1000 + shortMs,
  async run(ctx, _intent, signal) {
    const { clock, clusters, members, probe } = ctx.world
    const { pause_seconds, max_failure_ratio: max } = trialOf(ctx)
    const pauseMs = pause_seconds * 1000
    const ids = doneData<AllocateData>(ctx.journal, 'allocate').items.map(({ name }) => name)
    const before = ids.map(id => seen(ctx, id))
    const began = clock.monotonic()
    const verdict = (over: boolean): CheckpointData =>
      judge(
        before,
        ids.map(id => seen(ctx, id)),
        { max, over, waitedMs: clock.monotonic() - began },
      )
    for (let waited = 0; waited < pauseMs; waited = clock.monotonic() - began) {
      verdict(false)
      await clock.sleep(Math.min(lookEveryMs, pauseMs - waited), signal)
    }
    // Its own look: the last check of its health may be an interval old.
    for (const id of ids) {
      const address = members.get(id)?.address
      const answer =
        address && (await probe(clusters.target(ctx.cluster, address), ctx.config.health, signal))
      if (answer && !answer.ok) {
        const stopped = { ...seen(ctx, id), ill: `does not answer its check: ${answer.reason}` }
        judge(before, [stopped], { max, over: true, waitedMs: clock.monotonic() - began })
      }
    }
    return { data: verdict(true) }
  },
}

function seen({ world, cluster }: StepContext, id: string): Seen & Counted {
  const nothing = { id, requests: 0, in_flight: 0, tunnels: 0, failures: 0, server_errors: 0 }
  if (!servingIds(world, cluster).has(id)) return { ...nothing, ill: 'serves no more' }
  const { health, requests, in_flight, tunnels, failures, server_errors } = world.clusters.backend(
    cluster,
    id,
  )
  const ill = health.status === 'unhealthy' ? `is unhealthy: ${health.reason}` : null
  return { id, requests, in_flight, tunnels, failures, server_errors, ill }
}
