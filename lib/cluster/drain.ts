/**
 * A drain: seeing out what is left on a backend that takes no new clients, and ending what does not leave by its deadline.
 *
 *   closed ─► waiting ──────────────── nothing left ──────────────────────────────────────────────► drained
 *                │ the closing time begins, and there are tunnels to close                             ▲
 *                ▼                                                                                     │
 *             closing: sealed; tunnels are told one after another ──────────── nothing left ───────────┤
 *                │ the grace period is over (from `waiting` too)                                       │
 *                ▼                                                                                     │
 *             over: sealed; tunnels `close`: the rest is told · `cut`: cut · `keep`: left alone ───────┤ nothing left
 *                │ the last exchanges have had their time                                              │
 *                └── cut: what is left then, but kept tunnels ─────────────────────────────────────────┘ (or: not drained)
 *
 * Sealed: bound clients go elsewhere with their next request. It comes before anything is told or cut, or a client that is
 * told to come back would come back here. `sessions` says when: `cut` at the beginning, `repin` and `keep` at the deadline or
 * when the closing begins; and with `keep` a live session is something that is left, until then.
 * It closes no door by itself (that is a fence or a mark).
 */
import type { Clock } from '../clock.ts'
import { TidegateError } from '../errors.ts'
import type { DrainPolicy } from './backend.ts'

/** What a drain needs of the one that leaves. */
export interface Leaving {
  /** For messages. */
  readonly name: string
  /**
   * It does not come back: bound clients may go elsewhere as soon as nothing is left, and kept tunnels end with it.
   * Otherwise bound clients keep it while they may.
   */
  readonly forGood: boolean
  exchanges(): number
  tunnels(): number
  /** Live sessions that would come back; 0 where nobody can count them. */
  sessions(): number
  /** Resolves true when `sessions` knows of all that were seen by now: they are told a moment later. False: nobody can say yet. */
  heard(): Promise<boolean>
  /** Somebody opened it to new clients again. */
  reopened(): boolean
  /** From now on bound clients are not let in either. */
  seal(): void
  /** Tells its tunnels to close, evenly over `spreadMs`. Asked again, what is left is told as it is asked then. */
  closeTunnels(spreadMs: number): void
  /** Takes back what of `closeTunnels` has not happened yet. */
  keepTunnels(): void
  cut(what: 'tunnels' | 'exchanges' | 'all'): void
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

/** The time that what is left is given. */
export const graceOf = (policy: DrainPolicy): number => (policy.waitForConnections ? policy.gracePeriodMs : 0)

/** Rejects with the signal's reason when it aborts, and with `operation_cancelled` when the backend is opened again. */
export async function drainOut(
  leaving: Leaving,
  policy: DrainPolicy,
  clock: Clock,
  signal?: AbortSignal,
): Promise<DrainOutcome> {
  const startedAt = clock.monotonic()
  const wait = new Wait(leaving, clock, signal)
  const deadline = startedAt + graceOf(policy)
  try {
    const deadlineReached = !(await leftInTime(leaving, policy, wait, deadline))
    if (deadlineReached) await endRest(leaving, policy, wait)
    return { waitedMs: Math.round(clock.monotonic() - startedAt), deadlineReached }
  } catch (error) {
    leaving.keepTunnels()
    throw error
  }
}

/** Waits until nothing is left; at the timeout cuts what is, and waits for that to show. Closed backends only. */
export async function cutOut(leaving: Leaving, timeoutMs: number, clock: Clock): Promise<DrainOutcome> {
  const startedAt = clock.monotonic()
  const wait = new Wait(leaving, clock)
  const deadlineReached = !(await wait.until(() => left(leaving) === 0, startedAt + timeoutMs))
  if (deadlineReached) await cutNow(leaving, wait)
  return { waitedMs: Math.round(clock.monotonic() - startedAt), deadlineReached }
}

/** `waiting` and `closing`. True: nothing is left, and the deadline has not come. */
async function leftInTime(
  leaving: Leaving,
  policy: DrainPolicy,
  wait: Wait,
  deadline: number,
): Promise<boolean> {
  const keepsSessions = policy.sessions === 'keep'
  const empty = () => left(leaving) === 0
  if (policy.sessions === 'cut') leaving.seal()
  const spreadMs = policy.tunnels === 'close' ? Math.min(policy.closeSpreadMs, graceOf(policy)) : 0
  const clear = () => empty() && !(keepsSessions && leaving.sessions() > 0)
  // Whoever was given a session right before the door was closed is not known of yet.
  const allHeard = async () => (await leaving.heard()) && clear()
  const gone = () => clear() && (!keepsSessions || allHeard())
  let early = await wait.until(gone, deadline - spreadMs)
  if (!early && spreadMs > 0) {
    if (leaving.tunnels() === 0) early = await wait.until(gone, deadline)
    else {
      leaving.seal()
      leaving.closeTunnels(spreadMs)
      return wait.until(empty, deadline)
    }
  }
  if (!early || !leaving.forGood) return early
  leaving.seal()
  // Whoever came in between the last look and the seal has the rest of the grace period.
  return wait.until(empty, deadline)
}

/** `over`. */
async function endRest(leaving: Leaving, policy: DrainPolicy, wait: Wait): Promise<void> {
  leaving.seal()
  const spared = policy.tunnels === 'keep' && !leaving.forGood
  const told = policy.tunnels === 'close' || (policy.tunnels === 'keep' && leaving.forGood)
  if (told) leaving.closeTunnels(0)
  if (policy.tunnels === 'cut') leaving.cut('tunnels')
  const awaited = () => (spared ? leaving.exchanges() : left(leaving)) === 0
  await wait.until(awaited, wait.in(lingerMs))
  if (!spared) return left(leaving) > 0 ? cutNow(leaving, wait) : undefined
  if (leaving.exchanges() > 0) leaving.cut('exchanges')
  await wait.until(() => left(leaving) === 0, Number.POSITIVE_INFINITY)
}

async function cutNow(leaving: Leaving, wait: Wait): Promise<void> {
  leaving.cut('all')
  await wait.until(() => left(leaving) === 0, wait.in(cutMs))
}

const left = (leaving: Leaving): number => leaving.exchanges() + leaving.tunnels()

/** Looks often at first, when a short exchange is likely to end, and ever less often later. */
class Wait {
  readonly #leaving: Leaving
  readonly #clock: Clock
  readonly #signal: AbortSignal | undefined

  constructor(leaving: Leaving, clock: Clock, signal?: AbortSignal) {
    this.#leaving = leaving
    this.#clock = clock
    this.#signal = signal
  }

  in(ms: number): number {
    return this.#clock.monotonic() + ms
  }

  async until(condition: () => boolean | Promise<boolean>, deadline: number): Promise<boolean> {
    for (let pollMs = pollMsMin; ; pollMs = Math.min(pollMsMax, pollMs * 1.5)) {
      this.#signal?.throwIfAborted()
      const { name } = this.#leaving
      if (this.#leaving.reopened())
        throw new TidegateError('operation_cancelled', `${name} was opened again while it drained`)
      const met = condition()
      if (met === true || (met !== false && (await met))) return true
      const remainingMs = deadline - this.#clock.monotonic()
      if (remainingMs <= 0) return false
      await this.#clock.sleep(Math.min(pollMs, remainingMs), this.#signal)
    }
  }
}
