/**
 * Saves a running VM: its devices by Cloud Hypervisor, its memory and disks by us, all of one instant.
 *
 *   memory in a file of its own (shared)     memory of a clone (private), or in no file
 *   pause                                    pause
 *   save devices, then copy memory + disks   save devices and memory, then copy disks
 *   resume                                   resume
 *                                            make the dump the memory file of the snapshot, where it is one
 *
 * Cloud Hypervisor saves only a paused VM, into a directory with nothing in it, and cannot be stopped at it: after an abort
 * `resume` waits in the API's queue until the save has ended. The source runs again before this resolves or rejects,
 * unless it is dead. It knows directories, not owners.
 */
import { access, chmod, link, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../../clock.ts'
import { TidegateError } from '../../errors.ts'
import { allocatedBytes, prepareCopy, requireSpace, type WaitingCopy } from '../vm/disk.ts'
import { memoryDeadlineMs } from '../vm/memory-deadline.ts'
import type { CloudHypervisorApi } from './api.ts'
import type { MemoryKind } from './record.ts'
import { stateOfMappedMemory } from './restored-config.ts'
import { diskFile, files, type Machine } from './vm-config.ts'
import { apiOf } from './vmm.ts'

export interface SaveRequest {
  /** The source's directory and the snapshot's. */
  readonly source: string
  readonly target: string
  readonly machine: Machine
  readonly memory: MemoryKind
  readonly signal: AbortSignal
}

export interface Saved {
  /** How long the source stood still, milliseconds. */
  readonly pausedMs: number
  /** The memory is in the file `ram`, for clones to map; else it is read from `memory-ranges`. */
  readonly memoryIsFile: boolean
  readonly bytes: number
}

const commandTimeoutMs = 10_000

export async function saveVm(request: SaveRequest, clock: Clock): Promise<Saved> {
  const { source, target, machine, memory } = request
  const api = apiOf(source, clock)
  const info = await api.info({ timeoutMs: commandTimeoutMs, signal: request.signal })
  if (info?.state !== 'Running') {
    const state = info?.state.toLowerCase() ?? 'not there'
    throw new TidegateError('snapshot_failed', `the VM is ${state}; resume it first`)
  }
  const copied = copiedFiles(machine, memory)
  await requireSpace(target, await neededBytes(source, copied, memory, machine), 'a snapshot')
  await mkdir(join(target, files.saved), { mode: 0o700 })
  const pausedMs = await savePaused(api, request, copied, clock)
  for (const name of await readdir(join(target, files.saved))) {
    await rename(join(target, files.saved, name), join(target, name))
  }
  await rm(join(target, files.saved), { recursive: true })
  const memoryIsFile = memory === 'shared' || (memory === 'private' && (await mapDump(target)))
  await link(join(source, files.env), join(target, files.env))
  return { pausedMs, memoryIsFile, bytes: await closed(target) }
}

/** The files that are the guest's: its memory, where it has one of its own, and the disks it writes to. */
function copiedFiles(machine: Machine, memory: MemoryKind): string[] {
  const disks = machine.disks.flatMap((disk, index) => (disk.readonly ? [] : [diskFile(index)]))
  return memory === 'shared' ? [files.ram, ...disks] : disks
}

async function neededBytes(
  source: string,
  copied: readonly string[],
  memory: MemoryKind,
  machine: Machine,
): Promise<number> {
  let bytes = memory === 'shared' ? 0 : machine.memoryBytes
  for (const name of copied) bytes += await allocatedBytes(join(source, name))
  return bytes
}

async function savePaused(
  api: CloudHypervisorApi,
  { source, target, machine, signal }: SaveRequest,
  copied: readonly string[],
  clock: Clock,
): Promise<number> {
  const abort = new AbortController()
  const both = AbortSignal.any([signal, abort.signal])
  // Their processes are started before the pause and only released in it.
  const copies: WaitingCopy[] = copied.map(name => prepareCopy(join(source, name), join(target, name), both))
  const longMs = memoryDeadlineMs(machine.memoryBytes + machine.memoryExtraBytes)
  let stoodAtMs = clock.monotonic()
  try {
    try {
      stoodAtMs = clock.monotonic()
      await api.pause({ timeoutMs: commandTimeoutMs, signal })
      const save = api.snapshot(join(target, files.saved), { timeoutMs: longMs, signal: both })
      const parts = [save, ...copies.map(copy => copy.run())]
      for (const part of parts) part.catch(error => abort.abort(error))
      const outcomes = await Promise.allSettled(parts)
      signal.throwIfAborted()
      for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
    } finally {
      // Whatever happened, and behind whatever is still being saved.
      await api.resume({ timeoutMs: longMs })
    }
    return clock.monotonic() - stoodAtMs
  } finally {
    for (const copy of copies) copy.drop()
  }
}

/** Makes what Cloud Hypervisor wrote of a private memory the snapshot's memory file, when it has that very layout. */
async function mapDump(target: string): Promise<boolean> {
  const path = join(target, files.state)
  const state = stateOfMappedMemory(await readFile(path, 'utf8'))
  if (state === null) return false
  await writeFile(path, state)
  await rename(join(target, files.ranges), join(target, files.ram))
  return true
}

/** Ours alone from now on. Returns what it takes on the disk. */
async function closed(target: string): Promise<number> {
  let bytes = 0
  for (const name of await readdir(target)) {
    if (name === 'owner.json') continue
    const path = join(target, name)
    await chmod(path, 0o600)
    if (name !== files.env) bytes += await allocatedBytes(path)
  }
  // A save that was answered with success and left no state is none.
  for (const name of [files.config, files.state]) await access(join(target, name))
  return bytes
}
