/**
 * What a generation changes of the one before, as plain data: a table of ten thousand members is copied to a thread once, and
 * from then on only what comes and goes. @pure
 *
 *   control   differenceOf(former, newest) ──► posted ──► thread   tableAfter(former, difference) = the newest
 *
 * A thread carries it out on the whole table that it holds, and only on the generation that it was made for, so a generation is
 * as atomic as when it travels whole.
 */
import { sameItems, sameSetting } from './compile.ts'
import type { AffinityKey, TableCluster, TableData, TableMember } from './table.ts'

export interface TableDifference {
  /** The generation that it is to be carried out on. */
  readonly base: number
  readonly generation: number
  /** Those that changed, by id. */
  readonly clusters: readonly ClusterDifference[]
  /** Null: the same. */
  readonly affinityKeys: readonly AffinityKey[] | null
}

export interface ClusterDifference {
  readonly id: string
  /** All but its members; null: the same. */
  readonly setting: Omit<TableCluster, 'members'> | null
  /** Slots that leave, in the order of the former table. */
  readonly remove: readonly number[]
  /** At the end, in this order. */
  readonly append: readonly TableMember[]
}

/** Null when it cannot be said as one: clusters came, left or changed places. Then the whole table is sent. */
export function differenceOf(before: TableData, after: TableData): TableDifference | null {
  const sameClusters =
    before.clusters.length === after.clusters.length &&
    before.clusters.every((cluster, at) => cluster.id === after.clusters[at]!.id)
  if (!sameClusters) return null
  const clusters: ClusterDifference[] = []
  for (const [at, cluster] of after.clusters.entries()) {
    const former = before.clusters[at]!
    if (former !== cluster) clusters.push(clusterDifference(former, cluster))
  }
  const sameKeys = sameItems(before.affinityKeys, after.affinityKeys)
  return {
    base: before.generation,
    generation: after.generation,
    clusters,
    affinityKeys: sameKeys ? null : after.affinityKeys,
  }
}

/** Clusters that did not change are the same objects in the new table. */
export function tableAfter(before: TableData, difference: TableDifference): TableData {
  const changed = new Map(difference.clusters.map(cluster => [cluster.id, cluster]))
  return {
    generation: difference.generation,
    clusters: before.clusters.map(cluster => {
      const change = changed.get(cluster.id)
      return change ? clusterAfter(cluster, change) : cluster
    }),
    affinityKeys: difference.affinityKeys ?? before.affinityKeys,
  }
}

/** Members in the order of both: those of the former that stay, until one is not where it was; from there on they are new. */
function clusterDifference(before: TableCluster, after: TableCluster): ClusterDifference {
  const { members, ...setting } = after
  const remove: number[] = []
  let at = 0
  for (const member of before.members) {
    if (members[at] === member) at++
    else remove.push(member.slot)
  }
  return {
    id: after.id,
    setting: sameSetting(before, setting) ? null : setting,
    remove,
    append: members.slice(at),
  }
}

function clusterAfter(before: TableCluster, change: ClusterDifference): TableCluster {
  return { ...before, ...change.setting, members: membersAfter(before.members, change) }
}

/** Those that leave are named in the order of the list: one walk finds them, and whoever is between them is copied in one run. */
function membersAfter(
  before: readonly TableMember[],
  { remove, append }: ClusterDifference,
): readonly TableMember[] {
  if (remove.length + append.length === 0) return before
  const runs: (readonly TableMember[])[] = []
  let from = 0
  for (const slot of remove) {
    let to = from
    while (before[to]!.slot !== slot) to++
    if (to > from) runs.push(before.slice(from, to))
    from = to + 1
  }
  return ([] as TableMember[]).concat(...runs, before.slice(from), append)
}
