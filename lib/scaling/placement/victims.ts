/**
 * Who is copied and who leaves. @pure
 *
 * The one with the least to lose leaves: first what serves nobody anyway, then whoever is on a node that is being emptied, then the
 * fewest sessions, tunnels and exchanges, then the costliest node, then the zone with the most of them, copies before originals,
 * the youngest first. Three never leave as long as anybody stays: a protected instance, one that is being saved, and the source,
 * which is the healthy one with the longest memory and so also the last healthy one that can be asked. And whoever serves on a node
 * that cannot be asked: not knowing is not gone, and it could be taken out of the table but not be stopped. What serves nobody there
 * leaves when nobody else is as useless: its end waits for its node.
 */
import type { InstanceFacts, Source, Victim, VictimCandidate } from '../facts.ts'

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

/** Why whoever serves on a node that cannot be asked stays. */
export const cannotStop = 'its node cannot be asked, so it could not be stopped'

export interface Leaving {
  /** Fewer than were asked for where the others must stay. */
  readonly victims: readonly Victim[]
  /** Everybody, in the order in which they would leave; those who must stay at the end, with the reason. */
  readonly candidates: readonly VictimCandidate[]
}

/** `count` instances to remove. `protectOriginal`: the one with the longest memory stays even when everybody else leaves. */
export function chooseVictims(
  instances: readonly InstanceFacts[],
  count: number,
  protectOriginal = false,
): Leaving {
  const all = count >= instances.length
  const source = sourceAmong(instances)
  const why = (facts: InstanceFacts): string | null => {
    if (facts.protected) return 'protected'
    if (facts.saving) return 'a snapshot of it is being made'
    if (unasked(facts) && useful(facts)) return cannotStop
    if (facts !== source) return null
    if (protectOriginal) return 'protected: the original'
    return all ? null : 'the source: it has the longest memory'
  }
  const staying = instances.filter(facts => why(facts) !== null)
  const leaving: InstanceFacts[] = []
  const left = instances.filter(facts => why(facts) === null)
  while (left.length > 0) {
    // The zones even out as they leave, so the next is chosen among those who are left.
    const zones = zoneCounts([...left, ...staying])
    const [next] = left.toSorted((a, b) => byLoss(a, b) || crowd(b, zones) - crowd(a, zones) || byWorth(a, b))
    leaving.push(next!)
    left.splice(left.indexOf(next!), 1)
  }
  const chosen = new Set(leaving.slice(0, count))
  return {
    victims: [...chosen].map(({ id, node }) => ({ id, node })),
    candidates: [...leaving, ...staying].map(facts => candidateOf(facts, chosen.has(facts), why(facts))),
  }
}

/** The healthy one with the longest memory, an original if there is one. */
function sourceAmong(instances: readonly InstanceFacts[]): InstanceFacts | undefined {
  return instances.filter(fits).toSorted((a, b) => copies(a) - copies(b) || byAge(a, b))[0]
}

const candidateOf = (facts: InstanceFacts, chosen: boolean, kept: string | null): VictimCandidate => ({
  id: facts.id,
  node: facts.node,
  zone: facts.zone ?? null,
  sessions: facts.sessions,
  tunnels: facts.tunnels,
  in_flight: facts.in_flight,
  score: loss(facts),
  hourly: facts.hourly ?? 0,
  useful: useful(facts),
  chosen,
  kept,
})

const zoneCounts = (instances: readonly InstanceFacts[]): ReadonlyMap<string, number> => {
  const counts = new Map<string, number>()
  for (const { zone } of instances) if (zone) counts.set(zone, (counts.get(zone) ?? 0) + 1)
  return counts
}
const crowd = ({ zone }: InstanceFacts, zones: ReadonlyMap<string, number>) =>
  zone ? (zones.get(zone) ?? 0) : 0

const byLoss = (a: InstanceFacts, b: InstanceFacts) =>
  Number(useful(a)) - Number(useful(b)) ||
  Number(unasked(a)) - Number(unasked(b)) ||
  Number(b.node_closed ?? false) - Number(a.node_closed ?? false) ||
  loss(a) - loss(b) ||
  (b.hourly ?? 0) - (a.hourly ?? 0)
const byWorth = (a: InstanceFacts, b: InstanceFacts) => copies(b) - copies(a) || byAge(b, a)

const fits = (facts: InstanceFacts) => facts.reality === 'running' && facts.healthy && facts.state === 'ready'
const unasked = (facts: InstanceFacts) => facts.reality === 'unknown'
const useful = (facts: InstanceFacts) => facts.healthy && (facts.reality === 'running' || unasked(facts))
const ailing = (facts: InstanceFacts) => Number(facts.degraded ?? false)
const busy = (facts: InstanceFacts) => facts.in_flight + facts.tunnels
const loss = (facts: InstanceFacts) => busy(facts) + (facts.sessions ?? 0)
const copies = (facts: InstanceFacts) => Number(facts.origin === 'cloned')
const byAge = (a: InstanceFacts, b: InstanceFacts) =>
  a.created_at_ms - b.created_at_ms || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)
