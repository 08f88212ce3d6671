/** Membership → the table of one generation: complete, frozen, with nothing of health or load in it. @pure */
import { strict as assert } from 'node:assert'
import type { ClusterConfig } from '../config/config.ts'
import type { AffinityKey, TableCluster, TableData, TableMember } from './table.ts'

export interface ClusterMembers {
  readonly config: ClusterConfig
  readonly members: readonly TableMember[]
}

export function compileTable(
  generation: number,
  clusters: readonly ClusterMembers[],
  affinityKeys: readonly AffinityKey[],
): TableData {
  const needKeys = clusters.some(({ config }) => config.affinity.method === 'cookie')
  assert(!needKeys || affinityKeys.length > 0, 'cookie affinity needs at least one key')
  return Object.freeze({
    generation,
    clusters: Object.freeze(clusters.map(compileCluster)),
    affinityKeys: Object.freeze([...affinityKeys]),
  })
}

function compileCluster({ config, members }: ClusterMembers): TableCluster {
  const { id, routes, balance, affinity, timeouts } = config
  const slots = new Set(members.map(member => member.slot))
  assert(slots.size === members.length, `${id}: two members in one slot`)
  return Object.freeze({
    id,
    routes,
    balance,
    affinity,
    timeouts,
    members: Object.freeze(members.map(member => Object.freeze({ ...member }))),
  })
}
