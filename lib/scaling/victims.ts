/**
 * Who is copied and who leaves. @pure
 *
 * The one that has the least to lose leaves: first what serves nobody anyway, then the fewest exchanges, tunnels and
 * sessions, copies before originals, the youngest first. The last healthy original is kept as long as a copy can go in its
 * stead: it is the one with the longest memory.
 */
import type { InstanceFacts, Source, Victim } from './facts.ts'

/**
 * Instances to clone from, the best first. Only what runs, is healthy and takes new clients; the degraded after the others.
 */
export function rankSources(instances: readonly InstanceFacts[]): readonly Source[] {
  return ranked(instances.filter(fits))
}

/**
 * The last resort, where nothing fits: what runs and is merely silent. More instances are wanted most of all when the only
 * one is too busy to answer its checks. Its clones must answer theirs before they serve, so one that hangs for another reason costs
 * an operation that is undone, and no client.
 */
export function silentSources(instances: readonly InstanceFacts[]): readonly Source[] {
  const inRotation = ({ state }: InstanceFacts) => state === 'down' || state === 'ready'
  return ranked(instances.filter(facts => facts.reality === 'running' && facts.silent && inRotation(facts)))
}

const ranked = (instances: readonly InstanceFacts[]): readonly Source[] =>
  instances
    .toSorted((a, b) => ailing(a) - ailing(b) || busy(a) - busy(b) || copies(a) - copies(b) || byAge(a, b))
    .map(({ id, node }) => ({ node, instance: id, snapshot: null }))

/** `count` instances to remove, fewer only if there are fewer. */
export function chooseVictims(instances: readonly InstanceFacts[], count: number): readonly Victim[] {
  const originals = instances.filter(facts => facts.origin === 'created' && fits(facts))
  const kept = originals.toSorted(byAge)[0]
  return instances
    .toSorted(
      (a, b) =>
        Number(a === kept) - Number(b === kept) ||
        useful(a) - useful(b) ||
        load(a) - load(b) ||
        copies(b) - copies(a) ||
        byAge(b, a),
    )
    .slice(0, count)
    .map(({ id, node }) => ({ id, node }))
}

const fits = (facts: InstanceFacts) => facts.reality === 'running' && facts.healthy && facts.state === 'ready'
const useful = (facts: InstanceFacts) => Number(facts.healthy && facts.reality === 'running')
const ailing = (facts: InstanceFacts) => Number(facts.degraded ?? false)
const busy = (facts: InstanceFacts) => facts.in_flight + facts.tunnels
const load = (facts: InstanceFacts) => busy(facts) + (facts.sessions ?? 0)
const copies = (facts: InstanceFacts) => Number(facts.origin === 'cloned')
const byAge = (a: InstanceFacts, b: InstanceFacts) =>
  a.created_at_ms - b.created_at_ms || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)
