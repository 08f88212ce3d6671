/**
 * The end of a drain: waiting for what is left on a backend that takes no new clients, and ending what does not leave.
 *
 *   closed ──► waiting ──────────── nothing left ────────────────────────────► drained
 *                 │ grace period over                                             ▲
 *                 ▼                                                               │
 *              sealed: bound clients go elsewhere, tunnels get 1001 (notify) ─────┤ nothing left
 *                 │ the last exchanges have had their time                        │
 *                 └── cut: what is left then ─────────────────────────────────────┘ (or: not drained, with what still shows)
 *
 * It is sealed before anything is cut, or the clients that are bound to it would be cut with their newest request.
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
  /** It does not come back: bound clients may go elsewhere as soon as nothing is left. Otherwise they keep it while they may. */
  readonly forGood: boolean
  /** Only the exchanges. */
  exchanges(): number
  /** Somebody opened it to new clients again. */
  reopened(): boolean
  /** From now on bound clients are not let in either. */
  seal(): void
  closeTunnels(): void
  cut(): void
}

export interface DrainOutcome {
  readonly waitedMs: number
  readonly deadlineReached: boolean
}

/** How long what began before the end of the grace period may still take, and how long a cut may take to show. */
const lingerMs = 10_000
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
  const early = await emptied(leaving, graceMs, clock, signal)
  if (early && !leaving.forGood) return ended(false)
  leaving.seal()
  // Whoever came in between the last look and the seal has the rest of the grace period.
  const restMs = startedAt + graceMs - clock.monotonic()
  if (early && (await emptied(leaving, restMs, clock, signal))) return ended(false)
  if (policy.notifyClients) leaving.closeTunnels()
  const awaited = policy.notifyClients ? leaving : { ...leaving, left: leaving.exchanges }
  await emptied(awaited, lingerMs, clock, signal)
  if (leaving.left() > 0) await cutNow(leaving, clock, signal)
  return ended(true)
}

/** Waits until nothing is left; at the timeout cuts what is, and waits for that to show. Closed backends only. */
export async function cutOut(leaving: Leaving, timeoutMs: number, clock: Clock): Promise<DrainOutcome> {
  const startedAt = clock.monotonic()
  const deadlineReached = !(await emptied(leaving, timeoutMs, clock))
  if (deadlineReached) await cutNow(leaving, clock)
  return { waitedMs: Math.round(clock.monotonic() - startedAt), deadlineReached }
}

async function cutNow(leaving: Leaving, clock: Clock, signal?: AbortSignal): Promise<void> {
  leaving.cut()
  await emptied(leaving, cutMs, clock, signal)
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
