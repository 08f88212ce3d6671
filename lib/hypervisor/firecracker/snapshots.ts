/** Whether a clone may be made of a snapshot, seen before anything is made or started. */
import { TidegateError } from '../../errors.ts'
import { unusable } from '../checksums.ts'
import type { CloneSpec } from '../driver.ts'
import type { Found } from '../ownership.ts'
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
  const why = whyNotLoadable(facts.taken, here.binary, here.host)
  if (why !== null) throw unusable(spec.snapshot, 'version', why)
  requireSameMachine(facts, spec)
  return { path: found.path, facts }
}

function requireSameMachine({ machine, guest }: SnapshotFacts, spec: CloneSpec): void {
  const { cpus, memoryBytes } = spec.resources
  const sameMemory = Math.ceil(memoryBytes / mib) === machine.memoryMib
  if (sameMemory && Math.max(1, Math.ceil(cpus)) === machine.cpus && spec.port === guest.app) return
  throw new TidegateError(
    'template_invalid',
    `a clone has the memory, CPUs and port of its snapshot ${spec.snapshot}; take a new snapshot of an instance with these`,
    { details: { memory_bytes: machine.memoryMib * mib, cpus: machine.cpus, port: guest.app } },
  )
}
