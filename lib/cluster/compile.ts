/**
 * Membership → the table of one generation: complete, frozen, with nothing of health or load in it. @pure
 * What is as it was in the former table is the very same object in the new one: that is how `difference.ts` knows it.
 */
import { strict as assert } from 'node:assert'
import type { ClusterConfig } from '../config/config.ts'
import type { AffinityKey, LostMember, TableCluster, TableData, TableMember } from './table.ts'

export interface ClusterMembers {
  readonly config: ClusterConfig
  /** Each frozen already: `Tenant.member` gives the same object as long as it says the same. */
  readonly members: readonly TableMember[]
  /** See `TableCluster`. The same object as long as it says the same. */
  readonly lost?: readonly LostMember[] | undefined
  readonly guarded?: readonly string[] | undefined
}

/** `zone`: this Tidegate's. */
export function compileTable(
  generation: number,
  clusters: readonly ClusterMembers[],
  affinityKeys: readonly AffinityKey[],
  zone: string | null = null,
  previous: TableData | null = null,
): TableData {
  const needKeys = clusters.some(({ config }) => config.affinity.method === 'cookie')
  assert(!needKeys || affinityKeys.length > 0, 'cookie affinity needs at least one key')
  const former = new Map(previous?.clusters.map(cluster => [cluster.id, cluster]))
  return Object.freeze({
    generation,
    clusters: Object.freeze(
      clusters.map(cluster => compileCluster(cluster, zone, former.get(cluster.config.id) ?? null)),
    ),
    affinityKeys:
      previous && sameItems(previous.affinityKeys, affinityKeys)
        ? previous.affinityKeys
        : Object.freeze([...affinityKeys]),
  })
}

function compileCluster(
  { config, members, lost = nobody, guarded = unguarded }: ClusterMembers,
  zone: string | null,
  former: TableCluster | null,
): TableCluster {
  const { id, routes, balance, hashBalanceFactor, slowStartMs, affinity, timeouts, resilience } = config
  const { protocol, tls } = config
  const preferredZone = config.zonePreference === 'prefer' ? zone : null
  const setting = {
    id,
    routes,
    balance,
    hashBalanceFactor,
    slowStartMs,
    preferredZone,
    affinity,
    timeouts,
    resilience,
    protocol,
    tls,
    wake: config.standby.scaleToZero ?? config.standby.clones?.wait ?? null,
    guarded: affinity.method === 'cookie' ? guarded : unguarded,
    lost: affinity.method === 'cookie' ? lost : nobody,
  }
  const sameMembers = former !== null && sameItems(former.members, members)
  if (sameMembers && sameSetting(former, setting)) return former
  if (!sameMembers) assertOneEach(id, members)
  return Object.freeze({ ...setting, members: sameMembers ? former.members : Object.freeze([...members]) })
}

const nobody: readonly LostMember[] = Object.freeze([])
const unguarded: readonly string[] = Object.freeze([])

function assertOneEach(cluster: string, members: readonly TableMember[]): void {
  let last = 0
  for (const { slot } of members) if (slot > last) last = slot
  const seen = new Uint8Array(last + 1)
  for (const { slot } of members) {
    if (seen[slot] !== 0) assert.fail(`${cluster}: two members in one slot`)
    seen[slot] = 1
  }
}

/** Values of a configuration that was not read anew are the same objects. */
export function sameSetting(a: TableCluster, b: Omit<TableCluster, 'members'>): boolean {
  return (Object.keys(b) as (keyof typeof b)[]).every(
    key => (key as string) === 'members' || a[key] === b[key],
  )
}

export function sameItems<T>(a: readonly T[], b: readonly T[]): boolean {
  if (a.length !== b.length) return false
  for (let at = 0; at < a.length; at++) if (a[at] !== b[at]) return false
  return true
}
