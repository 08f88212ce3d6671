/**
 * Where a session goes whose backend is dead, has left, or takes it no more: to the member that has most of that backend's memory.
 *
 *   cookie names … ── it has just refused it, and a clone stands by ──► that is waited for, until its checks say it is down
 *         │
 *         └── not here, or does not take it ──► who shares its memory, the most recent first
 *                                                         │ takes new clients ──► it: the request says so to the application
 *                                                         │ full ───────────────► it is waited for
 *                                                         └ nobody ─────────────► the balancer, like a new client
 *
 * Of several that have the same of it the least busy. Nothing here is on the way of a request whose cookie leads to a member. What is
 * known of who came from whom is in the table, and who inherits is found out when somebody asks, once a generation.
 */
import { type Heir, heirsOf, type Life, type Lineage } from '../cluster/lineage.ts'
import type { Member } from '../cluster/member.ts'
import { enterWithin } from './resilience/full-member.ts'
import type { RouteCluster } from './route-cluster.ts'

/** What the application is told of a session that came from elsewhere. */
export interface Moved {
  /** The id of the backend that it was on. */
  readonly from: string
  /** Wall clock: what that backend has learnt later is not here. */
  readonly asOfMs: number
}

interface Living extends Life {
  readonly member: Member
}

/** By the incarnation that is inherited from. */
type Wills = Map<string, { readonly from: string; readonly heirs: readonly Heir<Living>[] } | null>

const willsOf = new WeakMap<RouteCluster, Wills>()
const nobody: Lineage = []

/** The member that comes back has been entered. Null: nobody has anything of it. */
export function enterHeir(
  cluster: RouteCluster,
  incarnation: string,
  tried: ReadonlySet<Member>,
): { readonly member: Member; readonly moved: Moved } | 'full' | 'awaited' | null {
  if (isAwaited(cluster, incarnation, tried)) return 'awaited'
  const will = willOf(cluster, incarnation)
  if (will === null) return null
  const { from, heirs } = will
  const limit = cluster.guard.limits.requestsPerMember
  for (let at = 0; at < heirs.length; ) {
    const { asOfMs } = heirs[at]!
    const alike: Member[] = []
    for (; heirs[at]?.asOfMs === asOfMs; at++) alike.push(heirs[at]!.life.member)
    let full = false
    for (const member of byReadiness(alike, tried)) {
      const entered = enterWithin(member, false, limit)
      if (entered === 'entered') return { member, moved: { from, asOfMs } }
      full ||= entered === 'full'
    }
    // What it has is worth a wait, as the client's own backend would be.
    if (full) return 'full'
  }
  return null
}

/** A clone of who was just tried in vain is about to take its place. */
function isAwaited(cluster: RouteCluster, incarnation: string, tried: ReadonlySet<Member>): boolean {
  const { wake, guarded = [] } = cluster.from
  if (!wake?.afterFailure || !guarded.includes(incarnation)) return false
  const member = cluster.owners.get(incarnation)
  return member !== null && tried.has(member) && member.eligibility() !== 'none'
}

/** As the application reads it. */
export const failoverValue = ({ from, asOfMs }: Moved): string =>
  `from=${from}; as-of=${new Date(asOfMs).toISOString()}`

/** Those that take new clients; those in reserve last, the least busy first. */
function byReadiness(members: readonly Member[], tried: ReadonlySet<Member>): readonly Member[] {
  return members
    .map(member => ({ member, admits: member.eligibility(), load: member.load() }))
    .filter(
      ({ member, admits }) =>
        (admits === 'any' || admits === 'spare') && member.weight > 0 && !tried.has(member),
    )
    .sort((a, b) => Number(a.admits === 'spare') - Number(b.admits === 'spare') || a.load - b.load)
    .map(({ member }) => member)
}

function willOf(cluster: RouteCluster, incarnation: string) {
  let wills = willsOf.get(cluster)
  if (wills === undefined) {
    wills = new Map()
    willsOf.set(cluster, wills)
  }
  const known = wills.get(incarnation)
  if (known !== undefined) return known
  const { members, lost = [] } = cluster.from
  const same = (life: { readonly incarnation: string }) => life.incarnation === incarnation
  const departed = members.find(same) ?? lost.find(same)
  // Not kept: of those there is no end.
  if (departed === undefined) return null
  const living = members.flatMap(({ incarnation, lineage = nobody }): Living[] => {
    const member = cluster.owners.get(incarnation)
    return member ? [{ incarnation, lineage, member }] : []
  })
  const heirs = heirsOf({ incarnation, lineage: departed.lineage ?? nobody }, living)
  const will = heirs.length > 0 ? { from: departed.id, heirs } : null
  wills.set(incarnation, will)
  return will
}
