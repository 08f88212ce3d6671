/**
 * One QEMU process: started, asked by its monitors, ended. Knows processes and files of one directory, nothing of what the VM is for.
 */
import { rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { Clock } from '../../clock.ts'
import { TidegateError } from '../../errors.ts'
import { NoAnswer } from '../no-answer.ts'
import type { ProcessKey } from '../proc.ts'
import { explainBy, findVmm, killVmm, spawnVmm, tailOf, vmmGoneBy } from '../vm/process.ts'
import { files } from './command-line.ts'
import { Qmp, type QmpLimits } from './qmp.ts'

export interface StartRequest {
  /** Goes before QEMU on the command line: what enters its network. */
  readonly enter?: readonly string[]
  readonly binary: string
  readonly directory: string
  readonly args: readonly string[]
  readonly timeoutMs: number
  readonly signal: AbortSignal
  /** Called as soon as there is a process. */
  readonly started: (key: ProcessKey) => Promise<void>
}

const pollMs = 5
const connectTimeoutMs = 5_000
const dyingTimeoutMs = 500

/**
 * Starts QEMU, by way of a shell that makes its files 0600, and resolves with its control monitor. When it does not come up, it is ended and the error holds what it
 * said on its standard error; a forwarded port that is taken is `port_in_use`.
 */
export async function startVm(request: StartRequest, clock: Clock): Promise<Qmp> {
  const { directory, signal, timeoutMs } = request
  signal.throwIfAborted()
  for (const name of [files.control, files.watch, files.pid, files.stderr])
    await rm(join(directory, name), { force: true })
  const command = [...(request.enter ?? []), request.binary, ...request.args]
  const qemu = await spawnVmm({ directory, command, log: files.stderr })
  const deadline = clock.monotonic() + timeoutMs
  try {
    await request.started(qemu.key)
    while (true) {
      const ended = qemu.ended()
      if (ended !== null) throw await startFailure(directory, ended)
      try {
        return await Qmp.open(join(directory, files.control), clock, { timeoutMs: connectTimeoutMs, signal })
      } catch (error) {
        signal.throwIfAborted()
        if (!(await comesUp(error, directory, qemu.key, clock)) || clock.monotonic() > deadline) throw error
      }
      if (qemu.ended() === null) await clock.sleep(pollMs, signal)
    }
  } catch (error) {
    await killVmm(directory, qemu.key, clock)
    throw error
  }
}

/**
 * Whether a QEMU that is not to be asked may yet be: it does not listen so far, or has no time. Anything else that keeps it from
 * being asked is not over in a moment, unless what keeps it is that it is ending, which is its own news.
 */
async function comesUp(error: unknown, directory: string, key: ProcessKey, clock: Clock): Promise<boolean> {
  if (!(error instanceof NoAnswer)) return false
  if (error.silence !== 'cannot_tell') return true
  return vmmGoneBy(directory, key, clock.monotonic() + dyingTimeoutMs, clock)
}

/** The monitor that nobody holds for long, so that it answers while an act is under way on the other. */
export function openWatch(directory: string, clock: Clock, timeoutMs: number): Promise<Qmp> {
  return openOwn(directory, files.watch, clock, { timeoutMs })
}

/** A monitor, by the name of the machine behind it: a socket may have been put there by others. */
async function openOwn(directory: string, socket: string, clock: Clock, limits: QmpLimits): Promise<Qmp> {
  const qmp = await Qmp.open(join(directory, socket), clock, limits)
  try {
    const { name } = (await qmp.execute('query-name', {}, limits)) as { readonly name?: string }
    if (name === basename(directory)) return qmp
    throw new NoAnswer(
      'cannot_tell',
      true,
      `the monitor ${join(directory, socket)} is of another machine (${name ?? 'without a name'})`,
    )
  } catch (error) {
    qmp.close()
    throw error
  }
}

export function openControl(
  directory: string,
  clock: Clock,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<Qmp> {
  return openOwn(directory, files.control, clock, { timeoutMs, signal })
}

/** Asks QEMU to quit, waits `graceMs`, then kills it. Resolves when the process is gone. */
export async function endVm(
  directory: string,
  key: ProcessKey | null,
  graceMs: number,
  clock: Clock,
): Promise<void> {
  const found = await findVmm(directory, key)
  if (found === null) return
  const deadline = clock.monotonic() + graceMs
  try {
    const monitor = await openWatch(directory, clock, Math.max(1, Math.min(graceMs, connectTimeoutMs)))
    try {
      await monitor.execute('quit', {}, { timeoutMs: Math.max(1, deadline - clock.monotonic()) })
    } finally {
      monitor.close()
    }
  } catch (error) {
    // Nobody listens, so nobody heard: to wait for it would be for nothing. Otherwise it may yet end by itself.
    if (error instanceof NoAnswer && error.silence === 'gone') return killVmm(directory, found, clock)
  }
  if (!(await vmmGoneBy(directory, found, deadline, clock))) await killVmm(directory, found, clock)
}

/** What an error in the middle of an act means: when the process is gone, that is the news. */
export const explain = (
  error: unknown,
  directory: string,
  key: ProcessKey | null,
  clock: Clock,
): Promise<unknown> =>
  explainBy(error, { name: 'QEMU', directory, logs: [files.stderr, files.serial] }, key, clock)

/** A state that QEMU does not take is explained by QEMU on its standard error only. */
export async function inItsWords(error: unknown, directory: string): Promise<unknown> {
  if (!(error instanceof TidegateError) || error.code !== 'snapshot_failed') return error
  const said = await tailOf(directory, files.stderr)
  return said === '' ? error : new TidegateError(error.code, `${error.message}: ${said}`, { cause: error })
}

async function startFailure(directory: string, reason: string): Promise<TidegateError> {
  const said = await tailOf(directory, files.stderr)
  if (/could not set up host forwarding/i.test(said)) {
    return new TidegateError('port_in_use', `QEMU finds a forwarded port taken: ${said}`)
  }
  if (/no space left/i.test(said)) return new TidegateError('disk_full', `QEMU has no space: ${said}`)
  const fix = reason === 'status 127' ? '; install it with: npm run setup' : ''
  return new TidegateError('hypervisor_failed', `QEMU ended (${reason}): ${said || 'it said nothing'}${fix}`)
}
