/**
 * One Cloud Hypervisor process: started in its network with its API and its events, asked, ended. Knows a directory,
 * nothing of what the VM is for. Being busy is never being dead: who is asked while it saves or restores does not answer,
 * and its last event says then whether the VM stands still.
 */
import { join } from 'node:path'
import type { Clock } from '../../clock.ts'
import { TidegateError } from '../../errors.ts'
import type { InstanceState } from '../driver.ts'
import type { CallLimits } from '../http-unix/client.ts'
import { NoAnswer } from '../no-answer.ts'
import type { ProcessKey } from '../proc.ts'
import { explainBy, findVmm, killVmm, spawnVmm, tailOf, type VmmStarted, vmmGoneBy } from '../vm/process.ts'
import { CloudHypervisorApi, type Pong } from './api.ts'
import { lastKnownState, readEvents } from './events.ts'
import { requireSupported, type Version } from './version.ts'
import { files } from './vm-config.ts'

export interface StartRequest {
  readonly binary: string
  readonly directory: string
  /** Goes before the command: enters the instance's network. */
  readonly enter: readonly string[]
  readonly timeoutMs: number
  readonly signal: AbortSignal
  /** Called as soon as there is a process. */
  readonly started: (key: ProcessKey) => Promise<void>
}

export interface Vmm {
  readonly api: CloudHypervisorApi
  readonly version: Version
  readonly key: ProcessKey
}

const pollMs = 3
const pingTimeoutMs = 5_000
const stateTimeoutMs = 2_000

export const apiOf = (directory: string, clock: Clock): CloudHypervisorApi =>
  new CloudHypervisorApi(join(directory, files.socket), clock)

/** Resolves when its API answers. When it does not come up it is ended, and the error holds what it said. */
export async function startVmm(request: StartRequest, clock: Clock): Promise<Vmm> {
  const { binary, directory, enter, signal, timeoutMs } = request
  signal.throwIfAborted()
  const api = ['--api-socket', `path=${files.socket}`, '--event-monitor', `path=${files.events}`]
  const process = await spawnVmm({ directory, command: [...enter, binary, ...api], log: files.log })
  try {
    await request.started(process.key)
    const pong = await firstPong(request, process, clock, clock.monotonic() + timeoutMs)
    requireOurs(directory, pong, process.key)
    return { api: apiOf(directory, clock), version: requireSupported(pong.version), key: process.key }
  } catch (error) {
    await killVmm(directory, process.key, clock)
    throw error
  }
}

async function firstPong(
  { directory, binary, signal }: StartRequest,
  process: VmmStarted,
  clock: Clock,
  deadline: number,
): Promise<Pong> {
  const api = apiOf(directory, clock)
  while (true) {
    const ended = process.ended()
    if (ended !== null) throw await startFailure(directory, binary, ended)
    try {
      return await api.ping({ timeoutMs: pingTimeoutMs, signal })
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof NoAnswer) || clock.monotonic() > deadline) throw error
    }
    await clock.sleep(pollMs, signal)
  }
}

/** A socket is answered by whoever holds it: told to be a VM, a stranger would be one. */
function requireOurs(directory: string, { pid }: Pong, { pid: started }: ProcessKey): void {
  if (pid === started) return
  const socket = join(directory, files.socket)
  const message =
    `${socket} is a foreign socket: the process ${pid ?? 'that answers there'} and not the Cloud Hypervisor that was ` +
    `started for it (${started}) holds it; end that process, or give the node another directory`
  throw new TidegateError('hypervisor_failed', message, { details: { socket, pid, started } })
}

async function startFailure(directory: string, binary: string, ended: string): Promise<TidegateError> {
  const said = await tailOf(directory, files.log)
  const fix = /status 12[67]/.test(ended) ? `; install Cloud Hypervisor as ${binary}` : ''
  const message = `Cloud Hypervisor ended (${ended}): ${said || 'it said nothing'}${fix}`
  return new TidegateError('hypervisor_failed', message)
}

/** What the VM of a living process does. */
export async function stateOf(directory: string, clock: Clock): Promise<InstanceState> {
  try {
    const info = await apiOf(directory, clock).info({ timeoutMs: stateTimeoutMs })
    if (info?.state === 'Running') return 'running'
    return info?.state === 'Paused' ? 'paused' : 'unknown'
  } catch (error) {
    const busy = error instanceof NoAnswer && error.silence === 'still_working'
    const last = busy ? lastKnownState(await readEvents(join(directory, files.events))) : null
    return last ?? 'unknown'
  }
}

/** Asks it to end, waits `graceMs`, then kills it. Resolves when the process is gone. */
export async function endVmm(
  directory: string,
  key: ProcessKey | null,
  graceMs: number,
  clock: Clock,
): Promise<void> {
  const found = await findVmm(directory, key)
  if (found === null) return
  const deadline = clock.monotonic() + graceMs
  if (graceMs > 0) {
    try {
      await apiOf(directory, clock).vmmShutdown({ timeoutMs: graceMs })
    } catch {
      // It does not listen, or has other things to do: by force then.
    }
  }
  if (!(await vmmGoneBy(directory, found, deadline, clock))) await killVmm(directory, found, clock)
}

/**
 * What an error in the middle of an act means: when the process is gone, that is the news; when it is still at work, what
 * it last told of itself.
 */
export async function explain(
  error: unknown,
  directory: string,
  key: ProcessKey | null,
  clock: Clock,
): Promise<unknown> {
  const vmm = { name: 'Cloud Hypervisor', directory, logs: [files.log] }
  const explained = await explainBy(error, vmm, key, clock)
  if (!(explained instanceof NoAnswer) || explained.silence !== 'still_working') return explained
  const last = (await readEvents(join(directory, files.events))).at(-1)
  if (last === undefined) return explained
  const message = `${explained.message}; the last that it told of itself is: ${last.source} ${last.event}`
  return new NoAnswer(explained.silence, explained.sent, message, explained)
}

/**
 * An act that may have been done although its answer did not come: then `done` decides, asked as long as the hypervisor
 * may still be at it.
 */
export async function decided(
  act: Promise<void>,
  done: (limits: CallLimits) => Promise<boolean>,
  limits: CallLimits,
): Promise<void> {
  try {
    await act
  } catch (error) {
    if (!(error instanceof NoAnswer) || !error.sent || !(await done(limits))) throw error
  }
}
