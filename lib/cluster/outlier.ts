/**
 * When a backend's own exchanges take it out of rotation, and for how long. @pure
 *
 *               failures in a row, or too large a share of an interval
 *   in rotation ──────────────────────────────────────────────────────► ejected
 *        ▲                        (if enough others are left)              │ baseEjection × times, at most maxEjection
 *        └─────────────────────────────────────────────────────────────────┘
 *   `times` grows with each ejection and shrinks with each interval without one.
 *
 * A row is counted by each thread for itself, because order means nothing between threads; a share is counted over all.
 */
import type { OutlierConfig } from '../config/config.ts'

/** What came of a backend's exchanges; they wrap at 2^32. */
export interface Totals {
  /** Those that have ended and say something of it; tunnels count as ended when they open. */
  readonly settled: number
  readonly failed: number
  readonly serverErrors: number
}

export interface Traffic extends Totals {
  /** The longest row of failures on one thread, if it grew since the last look; else 0. */
  readonly row: number
}

/** What is remembered of one backend. */
export interface Watched {
  /** The totals when its interval began. */
  readonly since: Totals
  /** Monotonic. */
  readonly sinceMs: number
  readonly times: number
  /** Monotonic; null while it is in rotation. */
  readonly untilMs: number | null
}

export interface Finding {
  /** For people: `5 exchanges in a row failed`. */
  readonly reason: string
  /** Most of what went wrong were answers, so that a client that is bound to it may still have its session there. */
  readonly answers: boolean
}

/** Of one that is new, or that somebody says is well: nothing is held against it. */
export function clean(totals: Totals, nowMs: number): Watched {
  return { since: totals, sinceMs: nowMs, times: 0, untilMs: null }
}

export const noTraffic: Totals = { settled: 0, failed: 0, serverErrors: 0 }

/** What speaks against it now; null: nothing. */
export function findingOf(watched: Watched, traffic: Traffic, config: OutlierConfig): Finding | null {
  const settled = grown(traffic.settled, watched.since.settled)
  const failed = grown(traffic.failed, watched.since.failed)
  const serverErrors = grown(traffic.serverErrors, watched.since.serverErrors)
  const answers = serverErrors > failed
  const kind = failed === 0 ? 'with a server error' : serverErrors === 0 ? 'without an answer' : 'badly'
  if (config.consecutiveFailures > 0 && traffic.row >= config.consecutiveFailures)
    return { reason: `${traffic.row} exchanges in a row ended ${kind}`, answers }
  const bad = failed + serverErrors
  if (config.failureRatio === 0 || settled < config.minRequests || bad < config.failureRatio * settled)
    return null
  return { reason: `${bad} of ${settled} exchanges ended ${kind}`, answers }
}

/** Whether most of what ended in between ended well, and anything did. */
export function mostEndedWell(since: Totals, now: Totals): boolean {
  const settled = grown(now.settled, since.settled)
  const bad = grown(now.failed, since.failed) + grown(now.serverErrors, since.serverErrors)
  return bad * 2 < settled
}

/** At the end of each look: a new interval when the old one is over, and good time forgives. */
export function looked(watched: Watched, traffic: Totals, config: OutlierConfig, nowMs: number): Watched {
  if (nowMs - watched.sinceMs < config.intervalMs) return watched
  return { ...watched, since: traffic, sinceMs: nowMs, times: Math.max(0, watched.times - 1) }
}

/** `chance` (0 ≤ x < 1) lengthens it by up to a tenth, so that those who left together do not come back together. */
export function ejected(watched: Watched, config: OutlierConfig, nowMs: number, chance: number): Watched {
  const times = watched.times + 1
  const lengthMs = Math.min(config.baseEjectionMs * times, config.maxEjectionMs)
  const untilMs = nowMs + Math.round(lengthMs * (1 + chance / 10))
  // More repeats than it takes to reach the longest time would only take longer to forgive.
  const timesMax = Math.ceil(config.maxEjectionMs / config.baseEjectionMs)
  return { ...watched, times: Math.min(times, timesMax), untilMs }
}

/** Back in rotation, with what happened meanwhile left aside. */
export function takenBack(watched: Watched, traffic: Totals, nowMs: number): Watched {
  return { since: traffic, sinceMs: nowMs, times: watched.times, untilMs: null }
}

/** Whether one more may leave, of `members` of which `out` are ejected and `others` could serve without it. */
export function mayLeave(members: number, out: number, others: number, config: OutlierConfig): boolean {
  return others > 0 && out < Math.max(1, Math.floor(config.maxEjected * members))
}

/** Counters wrap, and one that is made of three may seem to step back for a moment. */
function grown(now: number, before: number): number {
  return Math.max(0, (now - before) | 0)
}
