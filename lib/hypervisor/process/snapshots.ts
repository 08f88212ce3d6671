/**
 * Snapshots of the process driver: the application's state as it handed it over, in a file beside the owner record.
 * Complete only once the record says so, which is written after the state is on disk, with its checksum.
 */
import { createReadStream } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { TidegateError } from '../../errors.ts'
import type { CallOptions, GuestClient } from '../../guest/client.ts'
import type { StateShape } from '../../guest/protocol.ts'
import { checksum, unusable, verifyFile } from '../checksums.ts'
import type { HeldSnapshot, SnapshotReport, SnapshotRequest } from '../driver.ts'
import { type Found, ioError, nobody, type Ownership, syncDirectory } from '../ownership.ts'
import { readSnapshotFields } from './records.ts'

const stateFile = 'state'

export interface SavedState {
  readonly shape: StateShape
  readonly bytes: number
  open(): Readable
}

/** Takes the state through `client`. On failure nothing is left under the name. */
export async function takeSnapshot(
  ownership: Ownership,
  request: SnapshotRequest,
  client: GuestClient,
  call: CallOptions,
): Promise<SnapshotReport> {
  const { name, owner, source } = request
  const directory = await ownership.claim('snapshots', name, owner, { source, state: null })
  try {
    const { shape, bytes, pausedMs } = await writeState(join(directory, stateFile), client, call)
    await syncDirectory(directory)
    const sha256 = await checksum(join(directory, stateFile), call.signal)
    const record = await ownership.update('snapshots', name, { state: { shape, bytes, sha256 } })
    const snapshot = { name, owner, source, bytes, createdAtMs: record.createdAtMs, complete: true }
    return { snapshot, pausedMs }
  } catch (error) {
    await ownership.remove('snapshots', name)
    throw error
  }
}

/** The state of a complete snapshot. Throws `snapshot_failed` when there is none under the name, `snapshot_unusable` when it is damaged. */
export async function savedState(ownership: Ownership, name: string): Promise<SavedState> {
  const found = await ownership.read('snapshots', name)
  if (found === null) throw new TidegateError('snapshot_failed', `there is no snapshot ${name} here`)
  const state = found.record && readSnapshotFields(found.record.fields)?.state
  if (!state)
    throw new TidegateError('snapshot_failed', `snapshot ${name} is not complete; it may only be destroyed`)
  const file = join(found.path, stateFile)
  const bytes = await sizeOf(file)
  if (bytes !== state.bytes)
    throw unusable(name, 'size', `it is damaged, its state has ${bytes} bytes and should have ${state.bytes}`)
  await verifyFile(file, state.sha256, name)
  return { shape: state.shape, bytes, open: () => createReadStream(file) }
}

/** How a snapshot is reported. One whose record cannot be read is nobody's and not complete. */
export async function heldSnapshot(found: Found): Promise<HeldSnapshot> {
  const fields = found.record && readSnapshotFields(found.record.fields)
  return {
    name: found.name,
    owner: found.record?.owner ?? nobody,
    createdAtMs: found.record?.createdAtMs ?? 0,
    source: fields?.source ?? '',
    bytes: fields?.state?.bytes ?? (await sizeOf(join(found.path, stateFile))) ?? 0,
    complete: fields !== null && fields.state !== null,
  }
}

async function writeState(path: string, client: GuestClient, call: CallOptions) {
  const file = await open(path, 'wx', 0o600).catch(error => {
    throw ioError(error, 'cannot save the state', 'snapshot_failed')
  })
  try {
    const write = async (chunk: Uint8Array) => {
      try {
        await file.writeFile(chunk)
      } catch (error) {
        throw ioError(error, 'cannot save the state', 'snapshot_failed')
      }
    }
    const report = await client.handOver(write, call)
    await file.sync().catch(error => {
      throw ioError(error, 'cannot save the state', 'snapshot_failed')
    })
    return report
  } finally {
    await file.close()
  }
}

async function sizeOf(path: string): Promise<number | null> {
  return stat(path).then(
    stats => stats.size,
    () => null,
  )
}
