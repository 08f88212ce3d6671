/**
 * One Firecracker process: started with nothing in it, and ended. Between the two it is told what to be by `calls.ts`.
 *
 *   spawned ──its socket answers, its version is the expected one──▶ Not started ──boot | load──▶ Running
 */
import { join } from 'node:path'
import type { Clock } from '../../clock.ts'
import { TidegateError } from '../../errors.ts'
import { NoAnswer } from '../no-answer.ts'
import type { ProcessKey } from '../proc.ts'
import { explainBy, findVmm, killVmm, spawnVmm, tailOf, vmmGoneBy } from '../vm/process.ts'
import { FirecrackerApi } from './api.ts'
import { commandArguments, files, keyboardCall } from './calls.ts'

export interface StartRequest {
  readonly name: string
  readonly directory: string
  readonly binary: string
  /** What it must say of itself. */
  readonly version: string
  /** Goes before the command. */
  readonly enter: readonly string[]
  readonly signal: AbortSignal
  /** Called as soon as there is a process. */
  readonly started: (key: ProcessKey) => Promise<void>
}

const startTimeoutMs = 20_000
const askTimeoutMs = 5_000
const pollMs = 5
const idCharsMax = 100

/** Resolves when it waits for its configuration. A failure leaves no process. */
export async function startVmm(request: StartRequest, clock: Clock): Promise<FirecrackerApi> {
  const { name, directory, binary, enter, signal } = request
  signal.throwIfAborted()
  const command = [...enter, binary, ...commandArguments(name)]
  const vmm = await spawnVmm({ directory, command, log: files.log })
  try {
    await request.started(vmm.key)
    const api = new FirecrackerApi(directory, clock)
    const deadline = clock.monotonic() + startTimeoutMs
    for (;;) {
      const reason = vmm.ended()
      if (reason !== null) throw await startFailure(directory, reason)
      const info = await answerOrNull(api, clock.monotonic() < deadline, signal)
      if (info !== null) {
        requireOurs(directory, info.id, name)
        requireExpected(info.version, request.version)
        return api
      }
      await clock.sleep(pollMs, signal)
    }
  } catch (error) {
    await killVmm(directory, vmm.key, clock)
    throw error
  }
}

/** Asks the guest to shut down, waits `graceMs`, then kills. A paused guest hears nothing. Resolves when it is gone. */
export async function endVmm(
  directory: string,
  key: ProcessKey | null,
  graceMs: number,
  clock: Clock,
): Promise<void> {
  const found = await findVmm(directory, key)
  if (found === null) return
  const deadline = clock.monotonic() + graceMs
  if (graceMs > 0 && (await askToEnd(directory, Math.min(graceMs, askTimeoutMs), clock))) {
    if (await vmmGoneBy(directory, found, deadline, clock)) return
  }
  await killVmm(directory, found, clock)
}

/** What an error in the middle of an act means: when the process is gone, that is the news. */
export const explain = (
  error: unknown,
  directory: string,
  key: ProcessKey | null,
  clock: Clock,
): Promise<unknown> => explainBy(error, { name: 'Firecracker', directory, logs: [files.log] }, key, clock)

async function askToEnd(directory: string, timeoutMs: number, clock: Clock): Promise<boolean> {
  const api = new FirecrackerApi(directory, clock)
  try {
    const { state } = await api.info({ timeoutMs })
    if (state !== 'Running') return false
    await api.send(keyboardCall, { timeoutMs })
    return true
  } catch {
    // It does not listen, or its machine has no such keyboard (aarch64): by force then.
    return false
  }
}

async function answerOrNull(api: FirecrackerApi, patient: boolean, signal: AbortSignal) {
  try {
    return await api.info({ timeoutMs: askTimeoutMs, signal })
  } catch (error) {
    signal.throwIfAborted()
    if (!patient || !(error instanceof NoAnswer)) throw error
    return null
  }
}

/** A socket is answered by whoever holds it: told to be a VM, a stranger would be one. */
function requireOurs(directory: string, id: string, name: string): void {
  if (id === name) return
  const socket = join(directory, files.socket)
  const message =
    `${socket} is a foreign socket: who answers there is called ${JSON.stringify(id.slice(0, idCharsMax))} and not ${name}; ` +
    'end the process that holds it, or give the node another directory'
  throw new TidegateError('hypervisor_failed', message, { details: { socket, name } })
}

/** The file may have been replaced after it was asked. */
function requireExpected(version: string, expected: string): void {
  if (version === expected) return
  throw new TidegateError(
    'hypervisor_failed',
    `the Firecracker that was started is ${version}, its file said ${expected}: it was replaced in between; try again`,
  )
}

async function startFailure(directory: string, reason: string): Promise<TidegateError> {
  const said = await tailOf(directory, files.log)
  const code = /no space left/i.test(said) ? 'disk_full' : 'hypervisor_failed'
  return new TidegateError(code, `Firecracker ended (${reason}): ${said || 'it said nothing'}`)
}
