/**
 * Waits until those who leave have nothing left, within the cluster's grace period. Its proof goes into the journal. Whoever leaves for one that
 * dies meanwhile stays, and is opened at once (`newcomers.ts`).
 */
import type { DrainPolicy } from '../../cluster/backend.ts'
import type { DrainConfig } from '../../config/config.ts'
import { TidegateError } from '../../errors.ts'
import type { JournalEntry } from '../../store/store.ts'
import { doneData, type PlanData } from '../facts.ts'
import { limits } from '../limits.ts'
import { servingIds } from '../membership-change.ts'
import type { OperationRequest } from '../operation.ts'
import type { Step, StepContext } from '../step.ts'
import { failedNewcomers } from './newcomers.ts'

export const drain: Step = {
  name: 'drain',
  timeoutMs: ({ config, request }) => graceOf(policyOf(request, config.drain)) + limits.drainSlackMs,
  async run(ctx, _intent, signal) {
    const { world, cluster, config, request, journal } = ctx
    const policy = withinGrace(policyOf(request, config.drain), journal, world.clock.now())
    if (!policy) return { data: { skipped: true, backends: [] } }
    const serving = servingIds(world, cluster)
    const leaving = doneData<PlanData>(journal, 'plan').victims.filter(victim => serving.has(victim.id))
    const kept = new Map(leaving.map(({ id }) => [id, new AbortController()]))
    const over = new AbortController()
    const watched = watchNewcomers(ctx, kept, AbortSignal.any([signal, over.signal]))
    // At once and to the end: one that cannot drain does not keep the others from it.
    const settled = await Promise.allSettled(
      leaving.map(async ({ id }) => {
        // After a restart nobody holds the fence that was put up before it.
        world.clusters.fence(cluster, id, 'leaving the cluster')
        const stays = kept.get(id)!.signal
        const seenOut = world.clusters.drain(cluster, id, policy, AbortSignal.any([signal, stays]))
        const proof = await seenOut.catch(error => {
          if (!stays.aborted) throw error
          world.clusters.unfence(cluster, id)
          return { stays: true }
        })
        return { id, ...proof }
      }),
    )
    over.abort()
    await watched
    const failed = settled.find(one => one.status === 'rejected')
    if (failed) throw failed.reason
    return {
      data: {
        skipped: false,
        backends: settled.map(one => (one as PromiseFulfilledResult<{ id: string }>).value),
      },
    }
  },
}

/** Where one that took a place dies meanwhile, whoever was to leave for it is told to stay. Never rejects. */
async function watchNewcomers(
  ctx: StepContext,
  stay: ReadonlyMap<string, AbortController>,
  signal: AbortSignal,
): Promise<void> {
  if (ctx.request.type !== 'replace' || 'trial' in ctx.request) return
  const { clock, log } = ctx.world
  try {
    for (;;) {
      await clock.sleep(limits.newcomerLookMs, signal)
      for (const { old, newcomer } of await failedNewcomers(ctx, false, signal)) {
        const stays = stay.get(old)
        if (!stays || stays.signal.aborted) continue
        log.warn(
          { cluster: ctx.cluster, instance: newcomer, stays: old },
          'died while its predecessor drained',
        )
        stays.abort(new TidegateError('instance_died', `${newcomer} died`))
      }
    }
  } catch (error) {
    if (!signal.aborted)
      log.error({ cluster: ctx.cluster, err: error }, 'the new ones are not watched any more')
  }
}

/** With what is left of the grace period: it began with the first attempt, in whatever process that was. */
export function withinGrace(
  policy: DrainPolicy | null,
  journal: readonly JournalEntry[],
  nowMs: number,
): DrainPolicy | null {
  const begun = journal.find(entry => entry.step === drain.name && entry.kind === 'started')
  if (policy === null || begun === undefined) return policy
  const gone = Math.max(0, nowMs - begun.atMs)
  return { ...policy, gracePeriodMs: Math.max(0, policy.gracePeriodMs - gone) }
}

const graceOf = (policy: DrainPolicy | null): number =>
  policy?.waitForConnections ? policy.gracePeriodMs : 0

/** How the leaving are seen out; null: not at all, they are cut when they are removed. */
export function policyOf(request: OperationRequest, config: DrainConfig): DrainPolicy | null {
  // The dead have nobody to see out.
  if (request.type === 'failover') return null
  if (!('drain_connections' in request)) return config
  if (!request.drain_connections) return null
  if (request.immediate)
    return { ...config, waitForConnections: false, sessions: 'cut', tunnels: 'close', closeSpreadMs: 0 }
  return config
}
