/**
 * Saves a running VM as files, its memory and `state`, from which clones start copy-on-write.
 *
 *   shared memory file                  private mapping of a snapshot     memory in no file
 *   stop                                full stream while it runs         stop
 *   disk, device state ∥ copy of the    stop for the last part, disk      disk, background stream begins
 *   memory; cont                        cont                              cont, pages written as they are
 *                                       └── read the stream once into shared files, never run it, ──┘
 *                                           save its device state
 *
 * The source runs again before this resolves or rejects, unless it is dead. It knows directories, not owners.
 */
import { chmod, link, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../../clock.ts'
import { TidegateError } from '../../errors.ts'
import type { ProcessKey } from '../proc.ts'
import { allocatedBytes, prepareCopy, requireSpace } from '../vm/disk.ts'
import { memoryDeadlineMs } from '../vm/memory-deadline.ts'
import { killVmm } from '../vm/process.ts'
import { commandLine, files, memoryFiles } from './command-line.ts'
import { type PreparedDisk, prepareDisk, shortenChain } from './disk-snapshot.ts'
import { imageBytes, linkImages } from './disks.ts'
import { readAdded } from './hot-plug.ts'
import { type Machine, memoryOf } from './machine.ts'
import { loadState, saveState } from './migrate.ts'
import type { Qmp } from './qmp.ts'
import type { InstanceFacts } from './record.ts'
import { endVm, openControl, openWatch, startVm } from './vm.ts'

export interface SaveRequest {
  /** The source's directory and the snapshot's. */
  readonly source: string
  readonly target: string
  readonly name: string
  readonly binary: string
  readonly machine: Machine
  readonly memory: InstanceFacts['memory']
  readonly signal: AbortSignal
}

const connectTimeoutMs = 5_000
const commandTimeoutMs = 10_000
const startTimeoutMs = 30_000
const statesMax = 50
const statePollMs = 10

export interface Saved {
  /** How long the source stood still, milliseconds. */
  readonly pausedMs: number
  readonly method: 'copy' | 'stream' | 'background'
  /** The machine as it was then, with what had been plugged in. */
  readonly machine: Machine
  /** The image that the disk stood on. */
  readonly disk: string | null
}

/** Writes the memory files, `state`, `env` and the disk's images into the target directory. */
export async function saveVm(asked: SaveRequest, clock: Clock): Promise<Saved> {
  const { source, target, memory, signal } = asked
  const qmp = await openControl(source, clock, connectTimeoutMs, signal)
  try {
    await requireRunning(qmp)
    const machine = { ...asked.machine, added: await readAdded(qmp, asked.machine) }
    const request = { ...asked, machine }
    await requireSpace(target, await needBytes(request), 'a snapshot')
    const disk = await prepareDisk(qmp, source, { timeoutMs: memoryDeadlineMs(memoryOf(machine)), signal })
    let pausedMs: number
    try {
      pausedMs = await save[memory](qmp, request, disk, clock)
    } catch (error) {
      await disk?.drop()
      throw error
    }
    await link(join(source, files.env), join(target, files.env))
    if (disk !== null) {
      await linkImages(source, target, disk.chain.names)
      await shortenChain(qmp)
    }
    for (const name of [...memoryFiles(machine), files.state, files.env])
      await chmod(join(target, name), 0o600)
    const diskBytes = disk === null ? null : disk.chain.virtualBytes
    const method = methods[memory]
    return { pausedMs, method, machine: { ...machine, diskBytes }, disk: disk?.chain.names[0] ?? null }
  } finally {
    qmp.close()
    await rm(join(source, files.state), { force: true })
  }
}

/** Bytes that a snapshot takes on its disk. */
export async function snapshotBytes(directory: string, machine: Machine): Promise<number> {
  const names = [...memoryFiles(machine), files.state]
  const sizes = await Promise.all(names.map(name => allocatedBytes(join(directory, name))))
  return sizes.reduce((sum, bytes) => sum + bytes, await imageBytes(directory))
}

const methods = { shared: 'copy', private: 'stream', anonymous: 'background' } as const

/** A copy takes what is used; a stream takes as much as there is, twice. */
async function needBytes({ memory, machine, source }: SaveRequest): Promise<number> {
  if (memory !== 'shared') return 2 * memoryOf(machine)
  const sizes = memoryFiles(machine).map(name => allocatedBytes(join(source, name)))
  return (await Promise.all(sizes)).reduce((sum, bytes) => sum + bytes, 0)
}

/** Stops a VM's processors. What is stopped already is a success. */
export async function pauseVm(directory: string, clock: Clock): Promise<void> {
  const qmp = await openWatch(directory, clock, connectTimeoutMs)
  try {
    await qmp.execute('stop', {}, { timeoutMs: commandTimeoutMs })
  } finally {
    qmp.close()
  }
}

/** Makes a VM run, whatever stopped it: also one that was left in the middle of a snapshot. Throws when it cannot. */
export async function resumeVm(directory: string, clock: Clock): Promise<void> {
  const qmp = await openWatch(directory, clock, connectTimeoutMs)
  const limits = { timeoutMs: commandTimeoutMs }
  try {
    for (let tries = 0; tries < statesMax; tries++) {
      const { status } = (await qmp.execute('query-status', {}, limits)) as { status: string }
      if (status === 'running') return
      // A migration that nobody waits for keeps the VM from running on: end it first.
      if (status === 'finish-migrate') await qmp.execute('migrate_cancel', {}, limits)
      else await qmp.execute('cont', {}, limits)
      await clock.sleep(statePollMs)
    }
    throw new TidegateError('hypervisor_failed', 'the VM does not run on')
  } finally {
    qmp.close()
  }
}

/** A VM that somebody paused on purpose must not run on because it was saved. */
async function requireRunning(qmp: Qmp): Promise<void> {
  const { status } = (await qmp.execute('query-status', {}, { timeoutMs: commandTimeoutMs })) as {
    status: string
  }
  if (status === 'running') return
  throw new TidegateError('snapshot_failed', `the source is not running (${status}); resume it first`)
}

type Save = (qmp: Qmp, request: SaveRequest, disk: PreparedDisk | null, clock: Clock) => Promise<number>

async function saveShared(
  qmp: Qmp,
  request: SaveRequest,
  disk: PreparedDisk | null,
  clock: Clock,
): Promise<number> {
  const { source, target, machine, signal } = request
  // One failing ends the others: none may still be writing when the source runs on.
  const abort = new AbortController()
  const all = AbortSignal.any([signal, abort.signal])
  const copies = memoryFiles(machine).map(name => prepareCopy(join(source, name), join(target, name), all))
  try {
    return await paused(qmp, source, clock, async () => {
      const first = [{ name: 'stop', args: {} }, ...(disk ? [disk.command] : [])]
      await qmp.executeAll(first, { timeoutMs: commandTimeoutMs })
      const parts = [
        ...copies.map(copy => copy.run()),
        saveState(qmp, source, 'devices', clock, { timeoutMs: commandTimeoutMs, signal: all }),
      ]
      for (const part of parts) part.catch(error => abort.abort(error))
      const outcomes = await Promise.allSettled(parts)
      signal.throwIfAborted()
      for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
      await rename(join(source, files.state), join(target, files.state))
    })
  } finally {
    for (const copy of copies) copy.drop()
  }
}

async function savePrivate(
  qmp: Qmp,
  request: SaveRequest,
  disk: PreparedDisk | null,
  clock: Clock,
): Promise<number> {
  const { source, target, machine, signal } = request
  const limits = { timeoutMs: memoryDeadlineMs(memoryOf(machine)), signal }
  const atRest = disk && (() => qmp.executeAll([disk.command], { timeoutMs: commandTimeoutMs }))
  const pausedMs = await paused(qmp, source, clock, () =>
    saveState(qmp, source, 'full', clock, limits, atRest === null ? {} : { atRest }),
  )
  await rename(join(source, files.state), join(target, files.state))
  await rebase(request, clock)
  return pausedMs
}

/** QEMU lets the VM run on by itself as soon as its pages are protected. */
async function saveAnonymous(
  qmp: Qmp,
  request: SaveRequest,
  disk: PreparedDisk | null,
  clock: Clock,
): Promise<number> {
  const { source, target, machine, signal } = request
  const limits = { timeoutMs: memoryDeadlineMs(memoryOf(machine)), signal }
  // Stopped by us only where the disk must be of the same moment: QEMU's own stop is the shorter one.
  const first = disk === null ? [] : [{ name: 'stop', args: {} }, disk.command]
  const pausedMs = await paused(qmp, source, clock, () =>
    saveState(qmp, source, 'background', clock, limits, { first }),
  )
  await rename(join(source, files.state), join(target, files.state))
  await rebase(request, clock)
  return pausedMs
}

const save: Readonly<Record<SaveRequest['memory'], Save>> = {
  shared: saveShared,
  private: savePrivate,
  anonymous: saveAnonymous,
}

/** Turns a full stream into a memory file and a device state, by a VM that is never run. */
async function rebase(request: SaveRequest, clock: Clock): Promise<void> {
  const { source, target, name, binary, machine, signal } = request
  await link(join(source, files.env), join(target, files.env))
  const args = commandLine(name, machine, { from: 'rebase' }, { forwards: [], tap: null })
  let key: ProcessKey | null = null
  const started = async (found: ProcessKey) => {
    key = found
  }
  // It has time, and the source, which serves again, has not.
  const enter = ['nice', '-n', '10']
  const start = { enter, binary, directory: target, args, timeoutMs: startTimeoutMs, signal, started }
  const qmp = await startVm(start, clock)
  const limits = { timeoutMs: memoryDeadlineMs(memoryOf(machine)), signal }
  try {
    await loadState(qmp, 'full', limits)
    qmp.forgetEvents()
    await saveState(qmp, target, 'devices', clock, limits)
    qmp.close()
    await endVm(target, key, commandTimeoutMs, clock)
  } finally {
    qmp.close()
    await killVmm(target, key, clock)
    for (const left of [files.env, files.stderr, files.pid]) await rm(join(target, left), { force: true })
  }
}

/** Runs `act`, which stops the VM, and then makes the VM run again, always. Returns how long it stood still. */
async function paused(qmp: Qmp, directory: string, clock: Clock, act: () => Promise<void>): Promise<number> {
  qmp.forgetEvents()
  try {
    await act()
  } finally {
    await runOn(qmp, directory, clock)
  }
  const limits = { timeoutMs: commandTimeoutMs }
  const stopped = await qmp.event(({ event }) => event === 'STOP', 'the stop', limits)
  const resumed = await qmp.event(({ event }) => event === 'RESUME', 'the resume', limits)
  return Math.max(0, resumed.atMs - stopped.atMs)
}

async function runOn(qmp: Qmp, directory: string, clock: Clock): Promise<void> {
  try {
    await qmp.execute('cont', {}, { timeoutMs: commandTimeoutMs })
  } catch {
    // This monitor is broken, or a cancelled migration is still ending: the other one asks until it runs.
    await resumeVm(directory, clock)
  }
}
