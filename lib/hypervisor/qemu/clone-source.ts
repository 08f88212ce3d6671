/** The snapshot that a clone is made from, found fit for it before anything is started. */
import { TidegateError } from '../../errors.ts'
import type { CloneSpec } from '../driver.ts'
import type { OwnerRecord, Ownership } from '../ownership.ts'
import { requireSize } from '../vm/clone-size.ts'
import { heldSnapshot } from './held.ts'
import { memoryOf, wholeCpus, wholePages } from './machine.ts'
import { type SnapshotFacts, snapshotFacts } from './record.ts'

export interface CloneSource {
  readonly path: string
  readonly record: OwnerRecord
  readonly facts: SnapshotFacts
}

/** Throws `unknown_instance`, `snapshot_failed` or `template_invalid`. */
export async function cloneSource(ownership: Ownership, spec: CloneSpec): Promise<CloneSource> {
  const found = await ownership.read('snapshots', spec.snapshot)
  if (found === null) {
    throw new TidegateError('unknown_instance', `there is no snapshot ${spec.snapshot} here`, {
      details: { name: spec.snapshot },
    })
  }
  const held = await heldSnapshot(found)
  if (found.record === null || !held.complete) {
    throw new TidegateError('snapshot_failed', `the snapshot ${spec.snapshot} is not complete; take another`)
  }
  const facts = snapshotFacts(found.record)
  const { machine, guest } = facts
  const { cpus, memoryBytes, added } = machine
  const had = { cpus: cpus + added.cpus, memoryBytes: memoryOf(machine) }
  const { resources } = spec
  const wanted = { cpus: wholeCpus(resources.cpus), memoryBytes: wholePages(resources.memoryBytes) }
  requireSize(spec, wanted, { made: { cpus, memoryBytes }, had, port: guest.app })
  return { path: found.path, record: found.record, facts }
}
