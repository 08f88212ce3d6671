/**
 * What Linux says of processes, read from /proc (proc(5)). A process is its id *and* its start time (and the boot it
 * started in): an id alone may by now be another's. Reads only; kills nothing.
 */
import { readdir, readFile } from 'node:fs/promises'
import { TidegateError } from '../errors.ts'
import { isCode } from './ownership.ts'

export interface ProcessKey {
  readonly pid: number
  /** Clock ticks between the boot and the start, as text. */
  readonly started: string
  readonly boot: string
}

export interface ProcessFacts {
  readonly pid: number
  readonly group: number
  readonly started: string
  /** Stopped by a signal (`T`). A zombie without threads is no process: it is reported as null. */
  readonly paused: boolean
}

let boot: string | null = null

/** A name for the time since the machine's boot; start times of two boots mean nothing to each other. */
export async function bootId(): Promise<string> {
  boot ??= (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
  return boot
}

/** The process that has `pid` now, or null. Throws `hypervisor_unreachable` when the system does not say. */
export async function readProcess(pid: number): Promise<ProcessFacts | null> {
  let text: string
  try {
    text = await readFile(`/proc/${pid}/stat`, 'utf8')
  } catch (error) {
    if (isCode(error, 'ENOENT', 'ESRCH')) return null
    throw unreadable(`/proc/${pid}/stat`, error)
  }
  return factsOf(pid, text)
}

/**
 * Of the text of `/proc/PID/stat`. A zombie is gone when its other threads are: the first may have ended before them, and as long as
 * one is there the sockets and disks of all are open. @pure
 */
export function factsOf(pid: number, text: string): ProcessFacts | null {
  // The second field is the command's name, which may hold spaces and parentheses: count from its last one.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const [state, , group] = fields
  const threads = fields[17]
  const started = fields[19]
  if (!state || !group || !threads || !started)
    throw unreadable(`/proc/${pid}/stat`, new Error('not as in proc(5)'))
  if (state === 'X' || (state === 'Z' && Number(threads) <= 1)) return null
  return { pid, group: Number(group), started, paused: state === 'T' || state === 't' }
}

/** The very process of `key`, or null when it is gone, whoever has its id now. */
export async function findProcess(key: ProcessKey): Promise<ProcessFacts | null> {
  if (key.boot !== (await bootId())) return null
  const facts = await readProcess(key.pid)
  return facts?.started === key.started ? facts : null
}

/** All processes whose environment has exactly the entry `NAME=value`. Those of other users cannot be seen and are left out. */
export async function findByEnvironment(entry: string): Promise<readonly ProcessFacts[]> {
  const found: ProcessFacts[] = []
  for (const facts of await listProcesses()) {
    try {
      const environment = await readFile(`/proc/${facts.pid}/environ`, 'utf8')
      if (environment.split('\0').includes(entry)) found.push(facts)
    } catch {
      // Gone, or not ours.
    }
  }
  return found
}

/** All processes of a process group. */
export async function findByGroup(group: number): Promise<readonly ProcessFacts[]> {
  return (await listProcesses()).filter(facts => facts.group === group)
}

/** Resident memory in bytes; null when it cannot be read. */
export async function residentBytes(pid: number): Promise<number | null> {
  try {
    const kib = /^VmRSS:\s+(\d+) kB$/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1]
    return kib === undefined ? null : Number(kib) * 1024
  } catch {
    return null
  }
}

async function listProcesses(): Promise<readonly ProcessFacts[]> {
  let names: string[]
  try {
    names = await readdir('/proc')
  } catch (error) {
    throw unreadable('/proc', error)
  }
  const all: ProcessFacts[] = []
  for (const name of names) {
    if (!/^\d+$/.test(name)) continue
    const facts = await readProcess(Number(name)).catch(() => null)
    if (facts) all.push(facts)
  }
  return all
}

const unreadable = (path: string, error: unknown) =>
  new TidegateError(
    'hypervisor_unreachable',
    `cannot read ${path}: ${error instanceof Error ? error.message : error}`,
    {
      cause: error,
    },
  )
