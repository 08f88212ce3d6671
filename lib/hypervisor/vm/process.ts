/**
 * One hypervisor process with a directory of its own: started so that it outlives us, found again, killed. Knows processes
 * and files, nothing of what the process is told over its socket. It is marked by an environment entry with its directory,
 * so that it can be found even when we died between starting it and writing its id down.
 */
import { spawn } from 'node:child_process'
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../../clock.ts'
import { TidegateError } from '../../errors.ts'
import { bootId, findByEnvironment, findProcess, type ProcessKey, readProcess } from '../proc.ts'

export interface VmmStart {
  readonly directory: string
  /** The program and its arguments; what comes before the hypervisor itself must replace itself by it (exec). */
  readonly command: readonly string[]
  /** What it and its console say goes here, appended, so that whoever cuts the file cuts what it holds. */
  readonly log: string
}

export interface VmmStarted {
  readonly key: ProcessKey
  /** How it ended; null while it runs. */
  ended(): string | null
}

export const vmmMark = 'TIDEGATE_VM_DIRECTORY'
const pollMs = 5
const tailBytesMax = 2048
const killTimeoutMs = 10_000
const dyingTimeoutMs = 500

/** Starts it with files of mode 0600 in its directory. Resolves when there is a process, which may end right after. */
export async function spawnVmm({ directory, command, log }: VmmStart): Promise<VmmStarted> {
  const flags = constants.O_CREAT | constants.O_WRONLY | constants.O_APPEND
  const output = await open(join(directory, log), flags, 0o600)
  let ended: string | null = null
  try {
    const child = spawn('/bin/sh', ['-c', 'umask 077; exec "$@"', 'sh', ...command], {
      cwd: directory,
      detached: true,
      stdio: ['ignore', output.fd, output.fd],
      env: { PATH: process.env.PATH, TMPDIR: process.env.TMPDIR, [vmmMark]: directory },
    })
    child.once('exit', (status, signal) => {
      ended = signal ?? `status ${status}`
    })
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve)
      child.once('error', reject)
    })
    child.unref()
    const facts = await readProcess(child.pid!)
    if (facts === null) ended ??= 'at once'
    const key: ProcessKey = { pid: child.pid!, started: facts?.started ?? '', boot: await bootId() }
    return { key, ended: () => ended }
  } finally {
    await output.close()
  }
}

/** The process of this directory: the one written down, or else the oldest that carries the mark. Null: there is none. */
export async function findVmm(directory: string, key: ProcessKey | null): Promise<ProcessKey | null> {
  if (key !== null) return (await findProcess(key)) === null ? null : key
  const marked = await findByEnvironment(`${vmmMark}=${directory}`)
  const oldest = marked.toSorted((a, b) => Number(a.started) - Number(b.started) || a.pid - b.pid)[0]
  return oldest === undefined ? null : { pid: oldest.pid, started: oldest.started, boot: await bootId() }
}

/**
 * Kills the very process of `key`; without a key everything that carries the directory's mark. Throws `hypervisor_failed`
 * when it does not go.
 */
export async function killVmm(directory: string, key: ProcessKey | null, clock: Clock): Promise<void> {
  const deadline = clock.monotonic() + killTimeoutMs
  for (let found = await findVmm(directory, key); found !== null; found = await findVmm(directory, key)) {
    try {
      process.kill(found.pid, 'SIGKILL')
    } catch {
      // Gone in between, or not ours, which shows below.
    }
    if (!(await vmmGoneBy(directory, found, deadline, clock))) {
      throw new TidegateError(
        'hypervisor_failed',
        `the hypervisor (pid ${found.pid}) does not end, even when killed`,
      )
    }
  }
}

/** Waits until the process is gone; false when it is still there at `deadline` (monotonic). */
export async function vmmGoneBy(
  directory: string,
  key: ProcessKey,
  deadline: number,
  clock: Clock,
): Promise<boolean> {
  while ((await findVmm(directory, key)) !== null) {
    if (clock.monotonic() >= deadline) return false
    await clock.sleep(pollMs)
  }
  return true
}

/** The last words of a log in the directory; empty when there are none. */
export async function tailOf(directory: string, name: string): Promise<string> {
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

/**
 * What an error in the middle of an act means: when the process is gone, that is the news. A connection is cut a moment
 * before the process that held it is gone, so one that was is waited for, shortly.
 */
export async function explainBy(
  error: unknown,
  vmm: { readonly name: string; readonly directory: string; readonly logs: readonly string[] },
  key: ProcessKey | null,
  clock: Clock,
): Promise<unknown> {
  const silent = error instanceof TidegateError && error.code === 'hypervisor_unreachable'
  if (!silent) return error
  const found = await findVmm(vmm.directory, key).catch(() => key)
  const deadline = clock.monotonic() + dyingTimeoutMs
  if (found !== null && !(await vmmGoneBy(vmm.directory, found, deadline, clock))) return error
  const said = await Promise.all(vmm.logs.map(log => tailOf(vmm.directory, log)))
  const words = said.filter(text => text !== '').join('\n')
  const message = `${vmm.name} ended${words === '' ? '' : `: ${words}`}`
  return new TidegateError('instance_died', message, { cause: error })
}
