/**
 * Ends an instance's processes: all of them, and none that is not its own. Its own are those of the recorded process's
 * group as long as the recorded process itself is alive, and those that carry the instance's mark in their environment.
 */
import type { Clock } from '../../clock.ts'
import { TidegateError } from '../../errors.ts'
import { isCode } from '../ownership.ts'
import type { ProcessFacts, ProcessKey } from '../proc.ts'
import { findByEnvironment, findByGroup, findProcess, readProcess } from '../proc.ts'

export interface Processes {
  readonly key: ProcessKey | null
  /** `NAME=value`, in the environment of everything that the instance started. */
  readonly mark: string
}

const pollMs = 10
const pauseRoundsMax = 50
/** A killed process is gone in microseconds unless it hangs in the kernel. */
const killTimeoutMs = 5_000

/** Asks politely, waits `graceMs`, then forces. Resolves when nothing is left; throws `hypervisor_failed` when that fails. */
export async function endProcesses(processes: Processes, graceMs: number, clock: Clock): Promise<void> {
  if (graceMs > 0) {
    const asked = await membersOf(processes)
    // A process that is stopped hears SIGTERM only once it goes on.
    for (const member of asked) for (const signal of ['SIGTERM', 'SIGCONT'] as const) send(member, signal)
    await gone(asked, graceMs, clock)
  }
  const deadlineMs = clock.monotonic() + killTimeoutMs
  for (;;) {
    // Looked for anew each time: what is being killed may just have started another.
    const left = await membersOf(processes)
    if (left.length === 0) return
    for (const member of left) send(member, 'SIGKILL')
    const remainingMs = deadlineMs - clock.monotonic()
    if (!(await gone(left, Math.max(remainingMs, 0), clock))) {
      const pids = left.map(member => member.pid)
      throw new TidegateError('hypervisor_failed', `processes ${pids.join(', ')} cannot be killed`, {
        details: { pids },
      })
    }
  }
}

/** Stops the instance's processes. Looked for until all are, because one may start another before it is stopped itself. */
export async function pauseProcesses(processes: Processes): Promise<void> {
  for (let round = 0; round < pauseRoundsMax; round++) {
    const running = (await membersOf(processes)).filter(member => !member.paused)
    if (running.length === 0) return
    for (const member of running) send(member, 'SIGSTOP')
  }
  throw new TidegateError('hypervisor_failed', 'its processes start others faster than they can be paused')
}

/** Lets the instance's processes go on after a SIGSTOP. */
export async function continueProcesses(processes: Processes): Promise<void> {
  for (const member of await membersOf(processes)) send(member, 'SIGCONT')
}

async function membersOf(processes: Processes): Promise<readonly ProcessFacts[]> {
  const { key, mark } = processes
  const members = new Map<number, ProcessFacts>()
  for (const member of await findByEnvironment(mark)) members.set(member.pid, member)
  if (key !== null && (await findProcess(key)) !== null) {
    for (const member of await findByGroup(key.pid)) members.set(member.pid, member)
  }
  // A Tidegate that itself runs as an instance carries that instance's mark, never one of its own instances'. To be safe:
  members.delete(process.pid)
  return [...members.values()]
}

async function gone(members: readonly ProcessFacts[], timeoutMs: number, clock: Clock): Promise<boolean> {
  const deadlineMs = clock.monotonic() + timeoutMs
  for (;;) {
    // Read before the look: who looks and is then not run for a while does not call them alive for what he saw before.
    const last = clock.monotonic() >= deadlineMs
    const alive = await Promise.all(members.map(isAlive))
    if (!alive.includes(true)) return true
    if (last) return false
    await clock.sleep(pollMs)
  }
}

async function isAlive(member: ProcessFacts): Promise<boolean> {
  return (await readProcess(member.pid))?.started === member.started
}

function send(member: ProcessFacts, signal: NodeJS.Signals): void {
  try {
    process.kill(member.pid, signal)
  } catch (error) {
    if (isCode(error, 'ESRCH')) return
    throw new TidegateError('hypervisor_failed', `process ${member.pid} cannot be sent ${signal}: ${error}`, {
      cause: error,
    })
  }
}
