/**
 * Brings a clone up from a snapshot's files, paused at first, and lets it run.
 *
 *   its own directory: links to memory and state, copies of disks, a configuration of its own
 *   → a new hypervisor, whose version says how memory may be restored → restore → measure what it took → resume
 */
import { link, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Link } from '../network/network.ts'
import { residentBytes } from '../proc.ts'
import { allocatedBytes, prepareCopy, requireSpace } from '../vm/disk.ts'
import { memoryDeadlineMs } from '../vm/memory-deadline.ts'
import type { SnapshotFacts } from './record.ts'
import {
  chooseRestoreMode,
  type RestoreChoice,
  type RestoreMode,
  restoreWord,
  seemsEager,
} from './restore-mode.ts'
import { restoredConfig } from './restored-config.ts'
import { diskFile, files } from './vm-config.ts'
import { decided, type Vmm } from './vmm.ts'

export interface RestoreRequest {
  readonly directory: string
  readonly snapshot: string
  readonly facts: Pick<SnapshotFacts, 'machine' | 'memoryIsFile'>
  readonly link: Link
  readonly signal: AbortSignal
}

export interface Restored {
  readonly mode: RestoreMode
  /** Resident memory before it ran; null where it cannot be read. */
  readonly residentBytes: number | null
  /** Meant to be lazy, and everything was read. */
  readonly eager: boolean
}

const commandTimeoutMs = 10_000

/** Puts everything in the clone's directory that its hypervisor will read. */
export async function layOut({
  directory,
  snapshot,
  facts,
  link: net,
  signal,
}: RestoreRequest): Promise<void> {
  const disks = facts.machine.disks.flatMap((disk, index) => (disk.readonly ? [] : [diskFile(index)]))
  let bytes = 0
  for (const name of disks) bytes += await allocatedBytes(join(snapshot, name))
  if (bytes > 0) await requireSpace(directory, bytes, 'the disks of a clone')
  for (const name of disks) await prepareCopy(join(snapshot, name), join(directory, name), signal).run()
  const saved = join(directory, files.saved)
  await mkdir(saved, { mode: 0o700 })
  const nic = { tap: net.tap?.name ?? '', mac: net.tap?.guestMac ?? null }
  const config = await readFile(join(snapshot, files.config), 'utf8')
  const { memoryIsFile } = facts
  await writeFile(join(saved, files.config), restoredConfig(config, { nic, memoryIsFile }), { mode: 0o600 })
  await link(join(snapshot, files.state), join(saved, files.state))
  await link(join(snapshot, files.env), join(directory, files.env))
  if (memoryIsFile) await link(join(snapshot, files.ram), join(directory, files.ram))
  // With memory in a file this one is there only for what was plugged in.
  await link(join(snapshot, files.ranges), join(saved, files.ranges)).catch(error => {
    if (!memoryIsFile || (error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  })
}

/** Restores into a hypervisor that has no VM yet, and makes the VM run. */
export async function restoreVm(
  { api, version, key }: Vmm,
  request: RestoreRequest,
  choice: RestoreChoice,
): Promise<Restored> {
  const { directory, facts, signal } = request
  const mode = chooseRestoreMode(choice, version, facts)
  const { memoryBytes, memoryExtraBytes } = facts.machine
  const limits = { timeoutMs: memoryDeadlineMs(memoryBytes + memoryExtraBytes), signal }
  const source = join(directory, files.saved)
  const restore = api.restore({ source, mode: restoreWord(mode) }, limits)
  await decided(restore, async asked => (await api.info(asked))?.state === 'Paused', limits)
  const resident = await residentBytes(key.pid)
  await api.resume({ timeoutMs: commandTimeoutMs, signal })
  // What it maps or has open it holds without these names: freed when the last clone ends.
  await rm(source, { recursive: true, force: true })
  await rm(join(directory, files.ram), { force: true })
  return { mode, residentBytes: resident, eager: seemsEager(mode, resident, memoryBytes) }
}
