/** Balancers of one kind over members, with what a test does not care about left at its default. */
import {
  type Balancer,
  type BalancerSetting,
  createBalancer,
  plainSetting,
} from '../../lib/cluster/balance/balancer.ts'
import type { Member } from '../../lib/cluster/member.ts'
import type { BalanceKind } from '../../lib/config/config.ts'

export function balancerOf(
  kind: BalanceKind,
  members: readonly Member[],
  over: Partial<BalancerSetting<Member>> = {},
  previous: Balancer<Member> | null = null,
): Balancer<Member> {
  return createBalancer(members, { ...plainSetting, kind, random: Math.random, ...over }, previous)
}
