/**
 * Records and processes of VMs as the driver interface's views of them. What cannot be read or asked is `unknown` and belongs to
 * nobody; only a process that is not there is `stopped`.
 */
import { TidegateError } from '../../errors.ts'
import type { HeldInstance, HeldSnapshot, InstanceState } from '../driver.ts'
import { type Found, nobody, type OwnerRecord, type Ownership, unknownInstance } from '../ownership.ts'
import { bootId, type ProcessKey, residentBytes } from '../proc.ts'
import { ownDiskBytes } from './disk.ts'
import { findVmm } from './process.ts'
import type { VmFacts, VmSnapshotFacts } from './record.ts'

/** `stateOf` asks the hypervisor of a living process; it throws nothing. */
export async function heldVm(
  found: Found,
  read: (record: OwnerRecord) => VmFacts,
  stateOf: (directory: string) => Promise<InstanceState>,
): Promise<HeldInstance> {
  const { name, path } = found
  const facts = readOrNull(found, read)
  if (found.record === null || facts === null) {
    const nothing = { address: null, createdAtMs: 0, pid: null, residentBytes: null }
    return { name, owner: nobody, state: 'unknown', ...nothing }
  }
  const { owner, createdAtMs } = found.record
  const base = { name, owner, createdAtMs, address: facts.app, snapshot: facts.snapshot }
  const ended = { ...base, snapshot: null, state: 'stopped', pid: null, residentBytes: null } as const
  const key = await findVmm(path, facts.process)
  if (key === null) return ended
  const state = await stateOf(path)
  // It may have been silent because it was ending.
  if (state === 'unknown' && (await findVmm(path, key)) === null) return ended
  const [resident, disk] = await Promise.all([residentBytes(key.pid), ownDiskBytes(path)])
  const own = disk === null ? {} : { diskBytes: disk }
  return { ...base, state, pid: key.pid, residentBytes: resident, ...own }
}

export async function heldVmSnapshot(
  found: Found,
  read: (record: OwnerRecord) => VmSnapshotFacts,
): Promise<HeldSnapshot> {
  const { name, record } = found
  const facts = readOrNull(found, read)
  if (record === null || facts === null)
    return { name, owner: nobody, createdAtMs: 0, source: '', bytes: 0, complete: false }
  const { owner, createdAtMs } = record
  const { source, bytes, boot } = facts
  // Where its files are not forced to the disk, and have no checksums, nobody can say after another boot what is in them.
  const complete = facts.complete && (boot === null || boot === (await bootId()))
  return { name, owner, createdAtMs, source, bytes, complete }
}

/** The record of what was found. Throws `hypervisor_unreachable` when it cannot be read: it may be anybody's. */
export function recordOf(found: Found): OwnerRecord {
  if (found.record !== null) return found.record
  const message = `the record of ${found.name} cannot be read: ${found.problem}`
  throw new TidegateError('hypervisor_unreachable', message, { details: { path: found.path } })
}

/** The facts of an instance whose process lives. Throws `unknown_instance`, `instance_died`, and as `recordOf`. */
export async function livingVm<Facts extends VmFacts>(
  ownership: Ownership,
  name: string,
  read: (record: OwnerRecord) => Facts,
): Promise<Facts & { process: ProcessKey }> {
  const found = await ownership.read('instances', name)
  if (found === null) throw unknownInstance(name)
  const facts = read(recordOf(found))
  const process = await findVmm(found.path, facts.process)
  if (process === null) throw new TidegateError('instance_died', `the VM ${name} does not run`)
  return { ...facts, process }
}

function readOrNull<T>({ record }: Found, read: (record: OwnerRecord) => T): T | null {
  try {
    return record === null ? null : read(record)
  } catch {
    return null
  }
}
