/**
 * One QEMU process: started so that it outlives us, found again, asked, ended. Knows processes and files of one directory,
 * nothing of what the VM is for. The process is marked by an environment entry with its directory, so that it can be
 * found even when we died between starting it and writing its id down.
 */
import { spawn } from 'node:child_process'
import { constants } from 'node:fs'
import { open, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { Clock } from '../../clock.ts'
import { TidegateError } from '../../errors.ts'
import { bootId, findByEnvironment, findProcess, type ProcessKey, readProcess } from '../process/proc.ts'
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

const marker = 'TIDEGATE_VM_DIRECTORY'
const pollMs = 5
const tailBytesMax = 2048
const killTimeoutMs = 10_000
const connectTimeoutMs = 5_000

/**
 * Starts QEMU, by way of a shell that makes its files 0600, and resolves with its control monitor. When it does not come up, it is ended and the error holds what it
 * said on its standard error; a forwarded port that is taken is `port_in_use`.
 */
export async function startVm(request: StartRequest, clock: Clock): Promise<Qmp> {
  const { directory, signal, timeoutMs } = request
  signal.throwIfAborted()
  const end = await spawnVm(request)
  const deadline = clock.monotonic() + timeoutMs
  try {
    await request.started(end.key)
    while (true) {
      if (end.reason() !== null) throw await startFailure(directory, end.reason()!)
      try {
        return await Qmp.open(join(directory, files.control), clock, { timeoutMs: connectTimeoutMs, signal })
      } catch (error) {
        signal.throwIfAborted()
        if (clock.monotonic() > deadline) throw error
      }
      await clock.sleep(pollMs, signal)
    }
  } catch (error) {
    await killVm(directory, end.key, clock)
    throw error
  }
}

async function spawnVm(request: StartRequest) {
  const { directory, binary, args, enter = [] } = request
  for (const name of [files.control, files.watch, files.pid]) await rm(join(directory, name), { force: true })
  const stderr = await open(
    join(directory, files.stderr),
    constants.O_CREAT | constants.O_WRONLY | constants.O_TRUNC,
    0o600,
  )
  let reason: string | null = null
  try {
    const child = spawn('/bin/sh', ['-c', 'umask 077; exec "$0" "$@"', ...enter, binary, ...args], {
      cwd: directory,
      detached: true,
      stdio: ['ignore', stderr.fd, stderr.fd],
      env: { PATH: process.env.PATH, TMPDIR: process.env.TMPDIR, [marker]: directory },
    })
    child.once('exit', (code, signalName) => {
      reason = signalName ?? `status ${code}`
    })
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve)
      child.once('error', reject)
    })
    child.unref()
    const facts = await readProcess(child.pid!)
    if (facts === null) reason ??= 'at once'
    const key: ProcessKey = { pid: child.pid!, started: facts?.started ?? '', boot: await bootId() }
    return { key, reason: () => reason }
  } finally {
    await stderr.close()
  }
}

/** The process of this directory: the one written down, or else one that carries the mark. Null when there is none. */
export async function findVm(directory: string, key: ProcessKey | null): Promise<ProcessKey | null> {
  if (key !== null) return (await findProcess(key)) === null ? null : key
  // What QEMU runs to read and write a state carries the mark too; QEMU is older than its children.
  const marked = await findByEnvironment(`${marker}=${directory}`)
  const oldest = marked.toSorted((a, b) => Number(a.started) - Number(b.started) || a.pid - b.pid)[0]
  return oldest === undefined ? null : { pid: oldest.pid, started: oldest.started, boot: await bootId() }
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
    throw new TidegateError(
      'hypervisor_unreachable',
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
  const found = await findVm(directory, key)
  if (found === null) return
  const deadline = clock.monotonic() + graceMs
  try {
    const monitor = await openWatch(directory, clock, Math.max(1, Math.min(graceMs, connectTimeoutMs)))
    try {
      await monitor.execute('quit', {}, { timeoutMs: Math.max(1, deadline - clock.monotonic()) })
    } finally {
      monitor.close()
    }
  } catch {
    // It does not listen: by force then.
  }
  if (!(await goneBy(directory, found, deadline, clock))) await killVm(directory, found, clock)
}

/**
 * Kills the very process of `key`; without a key everything that carries the directory's mark. Throws `hypervisor_failed`
 * when it does not go.
 */
export async function killVm(directory: string, key: ProcessKey | null, clock: Clock): Promise<void> {
  const deadline = clock.monotonic() + killTimeoutMs
  for (let found = await findVm(directory, key); found !== null; found = await findVm(directory, key)) {
    try {
      process.kill(found.pid, 'SIGKILL')
    } catch {
      // Gone in between, or not ours, which shows below.
    }
    if (!(await goneBy(directory, found, deadline, clock))) {
      throw new TidegateError('hypervisor_failed', `QEMU (pid ${found.pid}) does not end, even when killed`)
    }
  }
}

async function goneBy(directory: string, key: ProcessKey, deadline: number, clock: Clock): Promise<boolean> {
  while ((await findVm(directory, key)) !== null) {
    if (clock.monotonic() >= deadline) return false
    await clock.sleep(pollMs)
  }
  return true
}

/** The last words of a log in the VM's directory; empty when there are none. */
export async function tail(directory: string, name: string): Promise<string> {
  try {
    const file = await open(join(directory, name), 'r')
    try {
      const { size } = await file.stat()
      const buffer = Buffer.alloc(Math.min(size, tailBytesMax))
      await file.read(buffer, 0, buffer.length, size - buffer.length)
      return buffer.toString('utf8').replaceAll('\r', '').trim()
    } finally {
      await file.close()
    }
  } catch {
    return ''
  }
}

/** What an error in the middle of an act means: when the process is gone, that is the news. */
export async function explain(error: unknown, directory: string, key: ProcessKey | null): Promise<unknown> {
  if (!(error instanceof TidegateError) || error.code !== 'hypervisor_unreachable') return error
  if ((await findVm(directory, key).catch(() => key)) !== null) return error
  const said = [await tail(directory, files.stderr), await tail(directory, files.serial)].filter(
    text => text !== '',
  )
  const words = said.join('\n')
  return new TidegateError('instance_died', `QEMU ended${words === '' ? '' : `: ${words}`}`, { cause: error })
}

/** A state that QEMU does not take is explained by QEMU on its standard error only. */
export async function inItsWords(error: unknown, directory: string): Promise<unknown> {
  if (!(error instanceof TidegateError) || error.code !== 'snapshot_failed') return error
  const said = await tail(directory, files.stderr)
  return said === '' ? error : new TidegateError(error.code, `${error.message}: ${said}`, { cause: error })
}

async function startFailure(directory: string, reason: string): Promise<TidegateError> {
  const said = await tail(directory, files.stderr)
  if (/could not set up host forwarding/i.test(said)) {
    return new TidegateError('port_in_use', `QEMU finds a forwarded port taken: ${said}`)
  }
  if (/no space left/i.test(said)) return new TidegateError('disk_full', `QEMU has no space: ${said}`)
  const fix = reason === 'status 127' ? '; install it with: npm run setup' : ''
  return new TidegateError('hypervisor_failed', `QEMU ended (${reason}): ${said || 'it said nothing'}${fix}`)
}
