/**
 * Records and processes as the driver interface's views of them. What cannot be read or asked is `unknown` and belongs to
 * nobody; only a process that is not there is `stopped`. A Firecracker that writes a snapshot answers nothing: `unknown`.
 */
import type { Clock } from '../../clock.ts'
import { TidegateError } from '../../errors.ts'
import type { HeldInstance, HeldSnapshot, InstanceState } from '../driver.ts'
import { type Found, nobody, type OwnerRecord } from '../ownership.ts'
import { keepLogSmall } from '../process/held.ts'
import { residentBytes } from '../process/proc.ts'
import { findVmm } from '../vmm-process.ts'
import { FirecrackerApi } from './api.ts'
import { instanceFacts, snapshotFacts } from './record.ts'

const askTimeoutMs = 2_000
const ended = { snapshot: null, state: 'stopped', pid: null, residentBytes: null } as const

export async function heldInstance(found: Found, clock: Clock): Promise<HeldInstance> {
  const { name, path } = found
  const facts = readOrNull(found, instanceFacts)
  if (found.record === null || facts === null) {
    const nothing = { address: null, createdAtMs: 0, pid: null, residentBytes: null }
    return { name, owner: nobody, state: 'unknown', ...nothing }
  }
  await keepLogSmall(path)
  const { owner, createdAtMs } = found.record
  const base = { name, owner, createdAtMs, address: facts.app, snapshot: facts.snapshot }
  const key = await findVmm(path, facts.process)
  if (key === null) return { ...base, ...ended }
  const state = await askState(path, clock)
  if (state === 'unknown' && (await findVmm(path, key)) === null) {
    return { ...base, ...ended }
  }
  return { ...base, state, pid: key.pid, residentBytes: await residentBytes(key.pid) }
}

export function heldSnapshot(found: Found): HeldSnapshot {
  const { name, record } = found
  const facts = readOrNull(found, snapshotFacts)
  if (record === null || facts === null) {
    return { name, owner: nobody, createdAtMs: 0, source: '', bytes: 0, complete: false }
  }
  const { owner, createdAtMs } = record
  const { source, bytes, complete } = facts
  return { name, owner, createdAtMs, source, bytes, complete }
}

/** The record of what was found. Throws `hypervisor_unreachable` when it cannot be read: it may be anybody's. */
export function recordOf(found: Found): OwnerRecord {
  if (found.record !== null) return found.record
  const message = `the record of ${found.name} cannot be read: ${found.problem}`
  throw new TidegateError('hypervisor_unreachable', message, { details: { path: found.path } })
}

function readOrNull<T>({ record }: Found, read: (record: OwnerRecord) => T): T | null {
  try {
    return record === null ? null : read(record)
  } catch {
    return null
  }
}

async function askState(directory: string, clock: Clock): Promise<InstanceState> {
  try {
    const { state } = await new FirecrackerApi(directory, clock).info({ timeoutMs: askTimeoutMs })
    // One that its maker left before its start holds nothing that runs.
    return state === 'Running' ? 'running' : 'paused'
  } catch {
    return 'unknown'
  }
}
