/**
 * Records and processes as the driver interface's views of them. What cannot be read or asked is `unknown` and belongs to
 * nobody; only a process that is not there is `stopped`.
 */
import type { Clock } from '../../clock.ts'
import { TidegateError } from '../../errors.ts'
import type { HeldInstance, HeldSnapshot, InstanceState } from '../driver.ts'
import { type Found, nobody, type OwnerRecord } from '../ownership.ts'
import { bootId, type ProcessKey, residentBytes } from '../process/proc.ts'
import { instanceFacts, snapshotFacts } from './record.ts'
import { findVm, openWatch } from './vm.ts'

const watchTimeoutMs = 2_000

export async function heldInstance(found: Found, clock: Clock): Promise<HeldInstance> {
  const { name, path } = found
  const facts = readOrNull(found, instanceFacts)
  if (found.record === null || facts === null) {
    const nothing = { address: null, createdAtMs: 0, pid: null, residentBytes: null }
    return { name, owner: nobody, state: 'unknown', ...nothing }
  }
  const { owner, createdAtMs } = found.record
  const base = { name, owner, createdAtMs, address: facts.app, snapshot: facts.snapshot }
  const key = await findVm(path, facts.process)
  if (key === null) return { ...base, snapshot: null, state: 'stopped', pid: null, residentBytes: null }
  const state = await askState(path, clock)
  return { ...base, state, pid: key.pid, residentBytes: await residentBytes(key.pid) }
}

export async function heldSnapshot(found: Found): Promise<HeldSnapshot> {
  const { name, record } = found
  const facts = readOrNull(found, snapshotFacts)
  if (record === null || facts === null) {
    return { name, owner: nobody, createdAtMs: 0, source: '', bytes: 0, complete: false }
  }
  const { owner, createdAtMs } = record
  const { source, bytes } = facts
  // Its files are not forced to the disk, so after another boot nobody can say what is in them.
  const complete = facts.complete && facts.boot === (await bootId())
  return { name, owner, createdAtMs, source, bytes, complete }
}

/** The record of what was found. Throws `hypervisor_unreachable` when it cannot be read: it may be anybody's. */
export function recordOf(found: Found): OwnerRecord {
  if (found.record !== null) return found.record
  const message = `the record of ${found.name} cannot be read: ${found.problem}`
  throw new TidegateError('hypervisor_unreachable', message, { details: { path: found.path } })
}

/** The instance's process as written down. Throws as `recordOf`. */
export const processOf = (found: Found): ProcessKey | null => instanceFacts(recordOf(found)).process

function readOrNull<T>({ record }: Found, read: (record: OwnerRecord) => T): T | null {
  try {
    return record === null ? null : read(record)
  } catch {
    return null
  }
}

async function askState(directory: string, clock: Clock): Promise<InstanceState> {
  try {
    const monitor = await openWatch(directory, clock, watchTimeoutMs)
    try {
      const limits = { timeoutMs: watchTimeoutMs }
      const { status } = (await monitor.execute('query-status', {}, limits)) as { status: string }
      return status === 'running' ? 'running' : 'paused'
    } finally {
      monitor.close()
    }
  } catch {
    return 'unknown'
  }
}
