/**
 * The end of a drain: waiting for what is left on a backend that takes no new clients, and ending what does not leave.
 *
 *   closed ──► waiting ──── nothing left ────────────────────────────► drained
 *                 │ grace period over                                     ▲
 *                 ├── notify: tunnels get 1001, a few seconds to leave ───┤
 *                 └── cut: what is left then, or at once without notify ──┘ (or: not drained, with what still shows)
 *
 * It closes nothing by itself (that is a fence or a mark), and a session that could come back does not hold it up.
 */
import type { Clock } from '../clock.ts'
import { TidegateError } from '../errors.ts'
import type { DrainPolicy } from './backend.ts'

/** What a drain needs of the one that leaves. */
export interface Leaving {
  /** For messages. */
  readonly name: string
  /** Exchanges and tunnels on it now. */
  left(): number
  /** Somebody opened it to new clients again. */
  reopened(): boolean
  closeTunnels(): void
  cut(): void
}

export interface DrainOutcome {
  readonly waitedMs: number
  readonly deadlineReached: boolean
}

/** How long clients that were told to leave may take, and how long a cut may take to show. */
const noticeMs = 3000
const cutMs = 2000
const pollMsMin = 2
const pollMsMax = 100

/** Rejects with the signal's reason when it aborts, and with `operation_cancelled` when the backend is opened again. */
export async function drainOut(
  leaving: Leaving,
  policy: DrainPolicy,
  clock: Clock,
  signal?: AbortSignal,
): Promise<DrainOutcome> {
  const startedAt = clock.monotonic()
  const ended = (deadlineReached: boolean): DrainOutcome => ({
    waitedMs: Math.round(clock.monotonic() - startedAt),
    deadlineReached,
  })
  const graceMs = policy.waitForConnections ? policy.gracePeriodMs : 0
  if (await emptied(leaving, graceMs, clock, signal)) return ended(false)
  if (policy.notifyClients) {
    leaving.closeTunnels()
    if (await emptied(leaving, noticeMs, clock, signal)) return ended(true)
  }
  leaving.cut()
  await emptied(leaving, cutMs, clock, signal)
  return ended(true)
}

/** Waits until nothing is left; at the timeout cuts what is, and waits for that to show. Closed backends only. */
export async function cutOut(leaving: Leaving, timeoutMs: number, clock: Clock): Promise<DrainOutcome> {
  return drainOut(
    leaving,
    { gracePeriodMs: timeoutMs, waitForConnections: true, notifyClients: false },
    clock,
  )
}

/** Looks often at first, when a short exchange is likely to end, and ever less often later. */
async function emptied(
  leaving: Leaving,
  withinMs: number,
  clock: Clock,
  signal?: AbortSignal,
): Promise<boolean> {
  const deadline = clock.monotonic() + withinMs
  for (let pollMs = pollMsMin; ; pollMs = Math.min(pollMsMax, pollMs * 1.5)) {
    signal?.throwIfAborted()
    if (leaving.reopened())
      throw new TidegateError('operation_cancelled', `${leaving.name} was opened again while it drained`)
    if (leaving.left() === 0) return true
    const remainingMs = deadline - clock.monotonic()
    if (remainingMs <= 0) return false
    await clock.sleep(Math.min(pollMs, remainingMs), signal)
  }
}
