/** The limit of one member (`limits.requests_per_member`), kept over all threads by entering first and looking second. */
import type { Eligibility } from '../../cluster/board.ts'

/** What is needed of a `Member`. */
export interface Enterable {
  eligibility(): Eligibility
  load(): number
  enter(bound: boolean): boolean
  leave(outcome: 'aborted'): void
}

/** `closed`: it does not admit this client. `full`: it would, and has as much on it as it may. */
export type Entered = 'entered' | 'closed' | 'full'

/** So many full ones are passed over one by one; then all that are full are looked for at once. */
const oneByOneMax = 8

/** `limit` 0: none. Exchanges and tunnels count. Should two threads come for the last place at once, neither may get it. */
export function enterWithin(member: Enterable, bound: boolean, limit: number): Entered {
  if (limit === 0) return member.enter(bound) ? 'entered' : 'closed'
  if (member.load() >= limit) return admits(member.eligibility(), bound) ? 'full' : 'closed'
  if (!member.enter(bound)) return 'closed'
  if (member.load() <= limit) return 'entered'
  member.leave('aborted')
  return 'full'
}

/** `passed`, and the `full` one. A balancer that goes on to the next full one, and the next, would ask for ever in a crowded cluster. */
export function withFull<M extends Enterable>(
  passed: ReadonlySet<M>,
  full: M,
  members: readonly M[],
  limit: number,
): ReadonlySet<M> {
  const all = new Set(passed).add(full)
  if (all.size > oneByOneMax) for (const member of members) if (member.load() >= limit) all.add(member)
  return all
}

const admits = (eligibility: Eligibility, bound: boolean) =>
  eligibility === 'any' || eligibility === 'spare' || (bound && eligibility === 'bound')
