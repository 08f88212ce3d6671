/**
 * What is held on the nodes although nobody wants it. @pure
 * Only with our own tag, claimed by no record and no unfinished journal, and older than a guard age. Reality must have been
 * read *before* the claims: what was made in between is then not in the list, and what is in the list had its claim written.
 */
import type { Held } from '../hypervisor/driver.ts'

export interface Orphan {
  readonly node: string
  readonly name: string
  readonly cluster: string
  readonly kind: 'instance' | 'snapshot'
}

export function findOrphans(
  held: ReadonlyMap<string, Held | null>,
  claimed: ReadonlySet<string>,
  rules: { readonly installation: string; readonly nowMs: number; readonly guardMs: number },
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
      if (rules.nowMs - createdAtMs < rules.guardMs) continue
      orphans.push({ node, name, cluster: owner.cluster, kind })
    }
  }
  return orphans
}
