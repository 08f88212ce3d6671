/**
 * Saves a running VM as a pair of files, `ram` and `state`, from which clones start copy-on-write.
 *
 *   memory of its own (shared file)        memory on a snapshot (private mapping)
 *   stop                                   full stream while it runs; QEMU stops it for the last part
 *   device state ∥ copy of the memory      cont
 *   cont                                   read the stream once into a shared file, never run it,
 *                                          save its device state
 *
 * The source runs again before this resolves or rejects, unless it is dead. It knows directories, not owners.
 */
import { chmod, link, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../../clock.ts'
import { TidegateError } from '../../errors.ts'
import type { ProcessKey } from '../process/proc.ts'
import { commandLine, files, type Machine } from './command-line.ts'
import { allocatedBytes, prepareCopy, requireSpace } from './disk.ts'
import { loadState, saveState } from './migrate.ts'
import type { Qmp } from './qmp.ts'
import { endVm, killVm, openControl, openWatch, startVm } from './vm.ts'

export interface SaveRequest {
  /** The source's directory and the snapshot's. */
  readonly source: string
  readonly target: string
  readonly name: string
  readonly binary: string
  readonly machine: Machine
  readonly memory: 'shared' | 'private'
  readonly signal: AbortSignal
}

const connectTimeoutMs = 5_000
const commandTimeoutMs = 10_000
const streamTimeoutMs = 120_000
const statesMax = 50
const statePollMs = 10

/** Writes `ram`, `state` and `env` into the target directory. Returns how long the source stood still, in milliseconds. */
export async function saveVm(request: SaveRequest, clock: Clock): Promise<number> {
  const { source, target, memory, machine, signal } = request
  const need = memory === 'shared' ? await allocatedBytes(join(source, files.ram)) : 2 * machine.memoryBytes
  await requireSpace(target, need, 'a snapshot')
  const qmp = await openControl(source, clock, connectTimeoutMs, signal)
  try {
    await requireRunning(qmp)
    const pausedMs =
      memory === 'shared' ? await saveShared(qmp, request, clock) : await savePrivate(qmp, request, clock)
    await link(join(source, files.env), join(target, files.env))
    for (const name of [files.ram, files.state, files.env]) await chmod(join(target, name), 0o600)
    return pausedMs
  } finally {
    qmp.close()
    await rm(join(source, files.state), { force: true })
  }
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

async function saveShared(qmp: Qmp, request: SaveRequest, clock: Clock): Promise<number> {
  const { source, target, signal } = request
  // One failing ends the other: neither may still be writing when the source runs on.
  const abort = new AbortController()
  const both = AbortSignal.any([signal, abort.signal])
  const copy = prepareCopy(join(source, files.ram), join(target, files.ram), both)
  try {
    return await paused(qmp, source, clock, async () => {
      await qmp.execute('stop', {}, { timeoutMs: commandTimeoutMs })
      const parts = [
        copy.run(),
        saveState(qmp, source, 'devices', clock, { timeoutMs: commandTimeoutMs, signal: both }),
      ]
      for (const part of parts) part.catch(error => abort.abort(error))
      const outcomes = await Promise.allSettled(parts)
      signal.throwIfAborted()
      for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
      await rename(join(source, files.state), join(target, files.state))
    })
  } finally {
    copy.drop()
  }
}

async function savePrivate(qmp: Qmp, request: SaveRequest, clock: Clock): Promise<number> {
  const { source, target, signal } = request
  const limits = { timeoutMs: streamTimeoutMs, signal }
  const pausedMs = await paused(qmp, source, clock, () => saveState(qmp, source, 'full', clock, limits))
  await rename(join(source, files.state), join(target, files.state))
  await rebase(request, clock)
  return pausedMs
}

/** Turns a full stream into a memory file and a device state, by a VM that is never run. */
async function rebase(request: SaveRequest, clock: Clock): Promise<void> {
  const { source, target, name, binary, machine, signal } = request
  await link(join(source, files.env), join(target, files.env))
  const args = commandLine(name, machine, { from: 'rebase' }, [])
  let key: ProcessKey | null = null
  const started = async (found: ProcessKey) => {
    key = found
  }
  const start = { binary, directory: target, args, timeoutMs: commandTimeoutMs, signal, started }
  const qmp = await startVm(start, clock)
  const limits = { timeoutMs: streamTimeoutMs, signal }
  try {
    await loadState(qmp, 'full', limits)
    qmp.forgetEvents()
    await saveState(qmp, target, 'devices', clock, limits)
    qmp.close()
    await endVm(target, key, commandTimeoutMs, clock)
  } finally {
    qmp.close()
    await killVm(target, key, clock)
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
