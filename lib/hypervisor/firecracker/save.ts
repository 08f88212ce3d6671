/**
 * Saves a running microVM as files: `memory`, `state`, and `disk` where it has one of its own.
 *
 *   running ──pause──▶ paused ──create ∥ copy of the disk──▶ paused ──resume──▶ running
 *                        └──── refused, full disk, abort, deadline ──resume──▶ running
 *
 * The VM stands still for the whole write, which Firecracker forces to the disk. It cannot be told to stop: after an abort the
 * resume waits in line behind the write. The source runs again before this resolves or rejects, unless it is dead.
 */
import { chmod, link, open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../../clock.ts'
import { TidegateError } from '../../errors.ts'
import { NoAnswer } from '../no-answer.ts'
import { syncDirectory } from '../ownership.ts'
import { allocatedBytes, prepareCopy, requireSpace } from '../vm/disk.ts'
import { memoryDeadlineMs } from '../vm/memory-deadline.ts'
import { FirecrackerApi } from './api.ts'
import { files, saveCall, stateCall } from './calls.ts'
import type { InstanceFacts } from './record.ts'

export interface SaveRequest {
  /** The source's directory and the snapshot's. */
  readonly source: string
  readonly target: string
  readonly facts: InstanceFacts
  readonly signal: AbortSignal
}

const mib = 1024 * 1024
const infoTimeoutMs = 5_000
/** Firecracker itself waits 30 s for its processors to stop. */
const pauseTimeoutMs = 35_000
const retryMs = 20

/** Returns how long the source stood still, milliseconds, the requests that stopped it and let it go included. */
export async function saveVm(request: SaveRequest, clock: Clock): Promise<number> {
  const { source, target, facts, signal } = request
  const { machine } = facts
  const diskBytes = machine.disk === 'own' ? await allocatedBytes(join(source, files.disk)) : 0
  await requireSpace(target, memoryBytesOf(facts) + diskBytes, 'a snapshot')
  const api = new FirecrackerApi(source, clock)
  const { state } = await api.info({ timeoutMs: infoTimeoutMs, signal })
  if (state !== 'Running') {
    throw new TidegateError('snapshot_failed', `the source is not running (${state}); resume it first`)
  }
  const pausedMs = await paused(api, request, clock)
  await keep(request)
  return pausedMs
}

/** Makes it run, also behind a write that somebody left under way. What runs is a success. */
export async function resumeVm(directory: string, facts: InstanceFacts, clock: Clock): Promise<void> {
  const api = new FirecrackerApi(directory, clock)
  const deadline = clock.monotonic() + memoryDeadlineMs(memoryBytesOf(facts))
  for (;;) {
    try {
      const timeoutMs = Math.max(1, deadline - clock.monotonic())
      return await api.send(stateCall('Resumed'), { timeoutMs })
    } catch (error) {
      // A full line before a busy Firecracker: this one was not in it yet.
      const waiting = error instanceof NoAnswer && error.silence === 'still_working' && !error.sent
      if (!waiting || clock.monotonic() >= deadline) throw error
    }
    await clock.sleep(retryMs)
  }
}

export const pauseVm = (directory: string, clock: Clock): Promise<void> =>
  new FirecrackerApi(directory, clock).send(stateCall('Paused'), { timeoutMs: pauseTimeoutMs })

async function paused(api: FirecrackerApi, request: SaveRequest, clock: Clock): Promise<number> {
  const { source, target, facts, signal } = request
  const kind = (await isSparse(facts)) ? 'Diff' : 'Full'
  // One failing ends the other, so that the source does not stand still for nothing.
  const abort = new AbortController()
  const both = AbortSignal.any([signal, abort.signal])
  const own = facts.machine.disk === 'own'
  const copy = own ? prepareCopy(join(source, files.disk), join(target, files.disk), both) : null
  const startedMs = clock.monotonic()
  try {
    signal.throwIfAborted()
    await api.send(stateCall('Paused'), { timeoutMs: pauseTimeoutMs })
    const save = saveCall(kind, join(target, files.state), join(target, files.memory))
    const parts = [
      api.send(save, { timeoutMs: memoryDeadlineMs(memoryBytesOf(facts)), signal: both }),
      copy?.run(),
    ]
    for (const part of parts) part?.catch(error => abort.abort(error))
    const outcomes = await Promise.allSettled(parts)
    signal.throwIfAborted()
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw abort.signal.reason
  } finally {
    copy?.drop()
    await resumeVm(source, facts, clock)
  }
  return Math.max(0, clock.monotonic() - startedMs)
}

/** Clones map the memory file for as long as they live: nobody may write to it again. */
async function keep({ source, target, facts }: SaveRequest): Promise<void> {
  await link(join(source, files.env), join(target, files.env))
  const names =
    facts.machine.disk === 'own' ? [files.memory, files.state, files.disk] : [files.memory, files.state]
  for (const name of names) await chmod(join(target, name), 0o400)
  // Memory and state are on the disk already; with these the snapshot outlives a reboot of the host.
  if (facts.machine.disk === 'own') {
    const disk = await open(join(target, files.disk), 'r')
    await disk.sync().finally(() => disk.close())
  }
  await syncDirectory(target)
}

/**
 * Only of a VM that was booted: what is saved of a restored one lacks the pages that it never touched. And only without
 * swap, to which Firecracker would lose pages: it asks the system which ones are in memory.
 */
async function isSparse({ sparseSnapshots, snapshot }: InstanceFacts): Promise<boolean> {
  if (!sparseSnapshots || snapshot !== null) return false
  const swaps = await readFile('/proc/swaps', 'utf8').catch(() => null)
  return swaps !== null && swaps.trim().split('\n').length <= 1
}

export const memoryBytesOf = ({ machine }: Pick<InstanceFacts, 'machine'>): number =>
  (machine.bootMib + machine.hotplugMib) * mib
