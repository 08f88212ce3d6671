/** Whether a clone may be made of a snapshot, seen before anything is made or started. */
import { TidegateError } from '../../errors.ts'
import { unusable } from '../checksums.ts'
import type { CloneSpec } from '../driver.ts'
import type { Found } from '../ownership.ts'
import { requireSize } from '../vm/clone-size.ts'
import { type SnapshotFacts, snapshotFacts } from './record.ts'
import { type BinaryFacts, type HostFacts, whyNotLoadable } from './versions.ts'

const mib = 1024 * 1024

/** Throws `unknown_instance`, `snapshot_failed` when it is not complete, `snapshot_unusable` when it cannot be restored here, `template_invalid` when it is another machine. */
export function requireSnapshot(
  found: Found | null,
  spec: CloneSpec,
  here: { readonly binary: BinaryFacts; readonly host: HostFacts },
): { readonly path: string; readonly facts: SnapshotFacts } {
  if (found === null) {
    const message = `there is no instance or snapshot ${spec.snapshot} here`
    throw new TidegateError('unknown_instance', message, { details: { name: spec.snapshot } })
  }
  const facts = found.record === null ? null : snapshotFacts(found.record)
  if (!facts?.complete) {
    throw new TidegateError('snapshot_failed', `the snapshot ${spec.snapshot} is not complete; take another`)
  }
  const mismatch = whyNotLoadable(facts.taken, here.binary, here.host)
  if (mismatch !== null) throw unusable(spec.snapshot, mismatch.why, mismatch.message)
  requireSameMachine(facts, spec)
  return { path: found.path, facts }
}

function requireSameMachine({ machine, guest }: SnapshotFacts, spec: CloneSpec): void {
  const { cpus, bootMib, memoryMib } = machine
  const wanted = {
    cpus: Math.max(1, Math.ceil(spec.resources.cpus)),
    memoryBytes: Math.ceil(spec.resources.memoryBytes / mib) * mib,
  }
  const [made, had] = [bootMib, memoryMib].map(size => ({ cpus, memoryBytes: size * mib }))
  requireSize(spec, wanted, { made: made!, had: had!, port: guest.app })
}
