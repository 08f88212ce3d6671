/**
 * Who is copied and who leaves. @pure
 *
 * The one that has the least to lose leaves: first what serves nobody anyway, then the fewest exchanges, tunnels and
 * sessions, copies before originals, the youngest first. The last healthy original is kept as long as a copy can go in its
 * stead: it is the one with the longest memory.
 */
import type { InstanceFacts, Source, Victim } from './facts.ts'

/** Instances to clone from, the best first. Only what runs, is healthy and takes new clients. */
export function rankSources(instances: readonly InstanceFacts[]): readonly Source[] {
  return instances
    .filter(fits)
    .toSorted((a, b) => busy(a) - busy(b) || copies(a) - copies(b) || byAge(a, b))
    .map(({ id, node }) => ({ node, instance: id, snapshot: null }))
}

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
const busy = (facts: InstanceFacts) => facts.in_flight + facts.tunnels
const load = (facts: InstanceFacts) => busy(facts) + (facts.sessions ?? 0)
const copies = (facts: InstanceFacts) => Number(facts.origin === 'cloned')
const byAge = (a: InstanceFacts, b: InstanceFacts) =>
  a.created_at_ms - b.created_at_ms || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)
