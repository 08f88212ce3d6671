/** From what was asked and what is there to what will be done. @pure */
import type { InstanceConfig, ScalingPolicy } from '../config/config.ts'
import { TidegateError } from '../errors.ts'
import type { InstanceFacts, PlanData, Source, Victim } from './facts.ts'
import { limits } from './limits.ts'
import { type OperationRequest, replacedBy } from './operation.ts'
import { cannotStop, chooseVictims, rankSources, silentSources } from './placement/victims.ts'

/** What changes how many there are, or which ones. */
export type MembershipRequest = Exclude<
  OperationRequest,
  { type: 'resize' | 'rolling_replace' | 'failover' } | { target_cpus: number }
>

export interface Situation {
  readonly cluster: string
  readonly policy: ScalingPolicy
  readonly cloneFrom: InstanceConfig['cloneFrom']
  readonly instances: readonly InstanceFacts[]
  /** The kept golden snapshot, if it is there and fits the template. */
  readonly golden: Source | null
}

/** Throws `target_out_of_bounds`, `invalid_request`, `unknown_instance`, `no_clone_source` or `hypervisor_unreachable`. */
export function planOf(request: MembershipRequest, situation: Situation): PlanData {
  const from = situation.instances.length
  if (request.type === 'replace') return planReplace(replacedBy(request), request.fresh ?? false, situation)
  const to = request.target_count
  checkBounds(request, situation)
  checkDirection(request.type, from, to)
  if (request.type === 'scale_out') {
    return { ...sourcing(situation, []), from, to, add: to - from, victims: [] }
  }
  return { ...leaving(from - to, situation), from, to, add: 0, mode: 'none', sources: [] }
}

function leaving(
  count: number,
  { cluster, policy, instances }: Situation,
): Pick<PlanData, 'victims' | 'candidates' | 'in_flight' | 'reason'> {
  const { victims, candidates } = chooseVictims(instances, count, policy.protect === 'original')
  if (victims.length < count) {
    const kept = candidates.filter(one => one.kept !== null)
    const unasked = kept.some(one => one.kept === cannotStop)
    const fix = unasked ? 'bring the node back (`tidegate doctor` names it)' : 'take the protection back'
    throw new TidegateError(
      unasked ? 'hypervisor_unreachable' : 'instances_protected',
      `${count} of the ${instances.length} instances of cluster \`${cluster}\` would have to leave and ${victims.length} may: ${kept.map(({ id, kept }) => `${id} (${kept})`).join(', ')} must stay; ${fix}, or ask for ${instances.length - victims.length}`,
      { details: { needed: count, found: victims.length, candidates } },
    )
  }
  const in_flight = instances.reduce((sum, facts) => sum + facts.in_flight, 0)
  return { victims, candidates, in_flight, reason: `${victims.length} with the least to lose leave` }
}

function planReplace(ids: readonly string[], fresh: boolean, situation: Situation): PlanData {
  const { cluster, instances } = situation
  const victims = ids.map((id): Victim => {
    const named = instances.find(facts => facts.id === id)
    if (named) return { id: named.id, node: named.node }
    throw new TidegateError('unknown_instance', `cluster \`${cluster}\` has no instance \`${id}\``, {
      details: { instance_id: id, instances: instances.map(facts => facts.id) },
    })
  })
  const from = instances.length
  // More than the policy's maximum while both serve: the old ones leave only when the new ones do.
  const origin = fresh ? anew(situation) : sourcing(situation, ids)
  return { ...origin, from, to: from, add: victims.length, victims }
}

/** From the template: a golden snapshot that was made of it, or a boot. A live instance is of the former template. */
function anew({ golden }: Situation): Pick<PlanData, 'mode' | 'sources' | 'reason'> {
  if (golden) return { mode: 'golden', sources: [golden], reason: `cloned from ${golden.snapshot}` }
  return { mode: 'create', sources: [], reason: 'booted from the template: all are replaced' }
}

/** The instance that is replaced is the best source for its own successor: it has the memory that would be lost. */
export function sourcing(
  situation: Situation,
  preferred: readonly string[],
): Pick<PlanData, 'mode' | 'sources' | 'reason'> {
  const { golden } = situation
  if (situation.cloneFrom === 'golden' || (golden && situation.instances.length === 0)) {
    if (golden) return { mode: 'golden', sources: [golden], reason: `cloned from ${golden.snapshot}` }
    return {
      mode: 'create',
      sources: [],
      reason: 'no golden snapshot yet: booted from nothing, and one is kept',
    }
  }
  const ranked = rankSources(situation.instances)
  const sources = [
    ...preferred.flatMap(id => ranked.filter(source => source.instance === id)),
    ...ranked.filter(source => !preferred.includes(source.instance ?? '')),
  ]
  if (sources.length > 0) {
    const chosen = situation.instances.find(facts => facts.id === sources[0]!.instance)
    const but = chosen?.degraded ? ', which serves and is degraded' : ''
    return { mode: 'live', sources, reason: `cloned from ${sources[0]!.instance}${but}` }
  }
  const empty = situation.instances.length === 0
  // More instances of an application that keeps state, but without the state, is not what was asked for. A replacement is: what
  // it replaces is broken, and serving from nothing is better than not serving.
  if (!empty && preferred.length === 0) {
    const silent = silentSources(situation.instances)
    if (silent.length > 0) {
      const reason = `cloned from ${silent[0]!.instance}, which runs and leaves its checks without an answer: none is healthy`
      return { mode: 'live', sources: silent, reason }
    }
    const unasked = situation.instances.filter(
      ({ healthy, silent, reality }) => (healthy || silent) && reality === 'unknown',
    )
    if (unasked.length > 0) {
      throw new TidegateError(
        'hypervisor_unreachable',
        `the hypervisor of ${unasked.map(({ id }) => id).join(', ')} cannot be asked, so nothing can be cloned; \`tidegate doctor\` and GET /api/v1/nodes say more`,
        { details: { instances: unasked.map(({ id }) => id) } },
      )
    }
    throw new TidegateError(
      'no_clone_source',
      `none of the ${situation.instances.length} instances of cluster \`${situation.cluster}\` is healthy, or runs and is merely silent, so there is no memory to clone; wait until one is, or replace them`,
      { details: { instances: situation.instances.map(facts => facts.id) } },
    )
  }
  const reason = empty ? 'there is nothing to clone yet' : 'no healthy instance to clone'
  return { mode: 'create', sources: [], reason: `booted from nothing: ${reason}` }
}

export function checkBounds(
  { target_count: target, repair = false }: { readonly target_count: number; readonly repair?: boolean },
  { cluster, policy }: Pick<Situation, 'cluster' | 'policy'>,
): void {
  const max = Math.min(policy.maxInstances, limits.instancesMax)
  // Where there is not room for the fewest that there should be, fewer are better than none.
  const min = repair ? Math.min(1, policy.minInstances) : policy.minInstances
  if (Number.isInteger(target) && target >= min && target <= max) return
  throw new TidegateError(
    'target_out_of_bounds',
    `target_count ${target} is outside ${policy.minInstances} … ${max} of cluster \`${cluster}\`; ask for a number within, or change scaling.min_instances or scaling.max_instances`,
    { details: { target_count: target, min_instances: policy.minInstances, max_instances: max } },
  )
}

function checkDirection(type: 'scale_out' | 'scale_in', from: number, to: number): void {
  if (type === 'scale_out' ? to > from : to < from) return
  throw new TidegateError('invalid_request', `${type} cannot lead from ${from} to ${to} instances`, {
    details: { instances: from, target_count: to },
  })
}
