/**
 * A cluster's membership as control holds it: who is in the newest table, and what goes with it.
 * Only `clusters.ts` and `reconfigure.ts` change it, one change after another.
 */
import type { ClusterConfig, ScalingPolicy } from '../config/config.ts'
import { TidegateError } from '../errors.ts'
import type { NewBackend } from './backend.ts'
import type { ClusterMembers } from './compile.ts'
import type { LostMember, TableMember } from './table.ts'
import type { Tenant } from './tenant.ts'

export interface Cluster {
  readonly config: ClusterConfig
  policy: ScalingPolicy
  /**
   * In the newest table, by id, in its order. Changed in place: of ten thousand a copy takes longer than all else that a change of one
   * does here. Whoever may have to go back asks for `undoOf` first.
   */
  readonly tenants: Map<string, Tenant>
  /** See `TableCluster`. Replaced whole. */
  lost?: readonly LostMember[] | undefined
  /** See `TableCluster`. Replaced whole. */
  guarded?: readonly string[] | undefined
}

/** What comes and goes in one generation. */
export interface Change {
  readonly add?: readonly NewBackend[]
  readonly remove?: readonly string[]
  /** Closed to new clients, and opened to them, in one instant for all threads: when all of them have the generation. */
  readonly close?: readonly string[]
  /** Whoever comes while somebody closes opens with it. */
  readonly open?: readonly string[]
  /** See `TableCluster`: all of them from now on; left out: as before. */
  readonly lost?: readonly LostMember[]
  readonly guarded?: readonly string[]
}

/** What the table says of it. */
export function membersOf({ config, tenants, lost, guarded }: Cluster): ClusterMembers {
  const members: TableMember[] = []
  for (const tenant of tenants.values()) members.push(tenant.member())
  return { config, lost, guarded, members }
}

/** What brings the cluster back to as it is now, in the same order. */
export function undoOf(cluster: Cluster): () => void {
  const { tenants, lost, guarded } = cluster
  const before = [...tenants.values()]
  return () => {
    tenants.clear()
    for (const tenant of before) tenants.set(tenant.spec.id, tenant)
    Object.assign(cluster, { lost, guarded })
  }
}

/** Those that leave by it, each once. Throws `unknown_backend`. */
export function removedBy({ config, tenants }: Cluster, { remove = [] }: Change): readonly Tenant[] {
  return [...new Set(remove)].map(id => {
    const tenant = tenants.get(id)
    if (tenant) return tenant
    throw unknownBackend(config.id, id)
  })
}

/** Who opens and who closes with a generation. Throws `unknown_backend`. */
export function turnOf(
  { config, tenants }: Cluster,
  { add = [], close = [], open = [] }: Change,
): { readonly closing: readonly Tenant[]; readonly opening: readonly Tenant[] } | null {
  if (close.length + open.length === 0) return null
  const coming = new Set(add.map(({ id }) => id))
  const named = (ids: readonly string[]) =>
    ids
      .filter(id => !coming.has(id))
      .map(id => {
        const tenant = tenants.get(id)
        if (tenant) return tenant
        throw unknownBackend(config.id, id)
      })
  return { closing: named(close), opening: named(open) }
}

/** Told to the board: nothing of it holds before its turn. */
export function prepareTurn(turn: ReturnType<typeof turnOf>, added: readonly Tenant[]): readonly Tenant[] {
  if (turn === null) return []
  const { closing, opening } = turn
  for (const tenant of closing) tenant.prepareTurn({ fenced: true, enters: false })
  for (const tenant of opening) tenant.prepareTurn({ fenced: false, enters: false })
  for (const tenant of added) tenant.prepareTurn({ fenced: tenant.facts.fenced, enters: true })
  return [...closing, ...opening, ...added]
}

export function unknownBackend(cluster: string, id: string): TidegateError {
  return new TidegateError('unknown_backend', `cluster ${cluster} has no backend ${id}`)
}
