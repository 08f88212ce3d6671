/** The snapshot that a clone is made from, found fit for it before anything is started. */
import { TidegateError } from '../../errors.ts'
import type { CloneSpec } from '../driver.ts'
import type { OwnerRecord, Ownership } from '../ownership.ts'
import { heldSnapshot } from './held.ts'
import { type Machine, memoryOf, wholeCpus, wholePages } from './machine.ts'
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
  requireFit(spec, facts)
  return { path: found.path, record: found.record, facts }
}

/** A clone is what its source was. One that had been resized may be asked for by what it booted with, too. */
function requireFit({ resources, port, snapshot }: CloneSpec, { machine, guest }: SnapshotFacts): void {
  const memory = wholePages(resources.memoryBytes)
  const sameMemory = memory === machine.memoryBytes || memory === memoryOf(machine)
  if (sameMemory && sameCpus(wholeCpus(resources.cpus), machine) && port === guest.app) return
  const { cpus } = machine
  throw new TidegateError(
    'template_invalid',
    `a clone has the memory, CPUs and port of its snapshot ${snapshot}; take a new snapshot of an instance with these`,
    { details: { memory_bytes: memoryOf(machine), cpus: cpus + machine.added.cpus, port: guest.app } },
  )
}

const sameCpus = (cpus: number, machine: Machine): boolean =>
  cpus >= machine.cpus && cpus <= machine.cpus + machine.added.cpus
