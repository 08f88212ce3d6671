/**
 * What is held on the nodes although nobody wants it, and whether it may be destroyed. @pure
 * Only with our own tag, claimed by no record and no unfinished journal. Reality must have been read *before* the claims: what was made
 * in between is then not in the list, and what is in the list had its claim written.
 *
 *   younger than the guard age ─► waits    of a life this store does not know ─► stays    what may name it cannot be read ─► stays
 */
import type { Held, Owner } from '../../hypervisor/driver.ts'

export interface Orphan {
  readonly node: string
  readonly name: string
  readonly cluster: string
  readonly operation: string
  readonly kind: 'instance' | 'snapshot'
  readonly createdAtMs: number
  /** When it is destroyed; null: not as long as `why` holds. */
  readonly collectAtMs: number | null
  /** Why not yet; null: it may be destroyed now. */
  readonly why: string | null
}

export interface OrphanRules {
  readonly installation: string
  readonly nowMs: number
  readonly guardMs: number
  /** Whether a life of the store that is in use made what carries this tag. */
  readonly known: (owner: Owner) => boolean
  /** Why nothing of this cluster may be destroyed; null: it may. */
  readonly heldBack: (cluster: string) => string | null
}

export function findOrphans(
  held: ReadonlyMap<string, Held | null>,
  claimed: ReadonlySet<string>,
  rules: OrphanRules,
): readonly Orphan[] {
  const orphans: Orphan[] = []
  for (const [node, reality] of held) {
    if (!reality) continue
    const rows = [
      ...reality.instances.map(row => ({ kind: 'instance' as const, ...row })),
      ...reality.snapshots.map(row => ({ kind: 'snapshot' as const, ...row })),
    ]
    for (const { kind, name, owner, createdAtMs } of rows) {
      if (owner.installation !== rules.installation || claimed.has(name)) continue
      const { cluster, operation } = owner
      orphans.push({
        node,
        name,
        cluster,
        operation,
        kind,
        createdAtMs,
        ...verdict(owner, createdAtMs, rules),
      })
    }
  }
  return orphans
}

function verdict(
  owner: Owner,
  createdAtMs: number,
  { nowMs, guardMs, known, heldBack }: OrphanRules,
): Pick<Orphan, 'collectAtMs' | 'why'> {
  if (!known(owner))
    return {
      collectAtMs: null,
      why: 'it was made by a later life than this store knows of: was the store put back from a copy?',
    }
  const back = heldBack(owner.cluster)
  if (back !== null) return { collectAtMs: null, why: back }
  const collectAtMs = createdAtMs + guardMs
  if (nowMs < collectAtMs) return { collectAtMs, why: `it is younger than ${guardMs / 1_000} s` }
  return { collectAtMs, why: null }
}
