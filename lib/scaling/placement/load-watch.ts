/** Watches a scale-in until its pivot and takes it back when load returns: whoever was to leave stays. */
import { doneData, type PlanData } from '../facts.ts'
import type { Run } from '../runner.ts'
import type { World } from '../world.ts'
import { type LoadSample, loadReturned, sampleEveryMs, samplesNeeded } from './load-returned.ts'

/** From now on, until the operation is past its pivot or ended, or the returned function is called. */
export function watchLoad(world: World, run: Run): () => void {
  const { cluster, type, request } = run.record
  const { immediate } = request as { readonly immediate?: boolean }
  if (type !== 'scale_in' || immediate) return () => {}
  let samples: readonly LoadSample[] = []
  const stop = world.clock.every(sampleEveryMs, () => {
    const planned = run.entries.some(entry => entry.step === 'plan' && entry.kind === 'done')
    if (!planned || !world.clusters.has(cluster)) return
    const plan = doneData<PlanData>(run.entries, 'plan')
    const backends = world.clusters.backends(cluster)
    const inFlight = backends.reduce((sum, backend) => sum + backend.in_flight, 0)
    const leaving = new Set(plan.victims.map(({ id }) => id))
    const remaining = backends.filter(({ id, admits }) => !leaving.has(id) && admits !== 'none').length
    samples = [...samples, { inFlight, remaining }].slice(-samplesNeeded)
    const threshold = world.clusters.config(cluster).scaling.scaleInCancelInFlight ?? 0
    const verdict = loadReturned(samples, plan.in_flight ?? 0, threshold)
    if (!verdict.returned) return
    stop()
    const per = Math.round(verdict.perInstance * 10) / 10
    const message = `load came back: ${per} exchanges under way per remaining instance, the policy's limit is ${threshold}; whoever was to leave stays`
    const why = { code: 'load_returned', message, details: { per_instance: per, threshold } }
    run.cancel(why).catch((error: unknown) => {
      // Past the pivot in that moment: whoever leaves has left.
      world.log.info({ operation: run.record.id, err: error }, 'load came back too late to stop a scale-in')
    })
  })
  return stop
}
