/** What the retry policy says of one attempt, with the cluster's budget asked where it is to be asked. */
import type { TimeoutsConfig } from '../../config/config.ts'
import {
  answerVerdict,
  drawsOnBudget,
  type Failure,
  headerLimitMs,
  type RetryVerdict,
  retryVerdict,
} from '../retry.ts'
import type { Guard } from './guards.ts'

export interface Sending {
  readonly guard: Guard
  readonly method: string
  /** A body that cannot be sent twice. */
  readonly hasBody: boolean
  /** With this one. */
  readonly attempts: number
  /** A session binds the client to the member. */
  readonly sticky: boolean
  /** Wall clock. */
  readonly nowMs: number
}

/** An attempt that would be followed by another may be given less time for its head. */
export function timeoutsFor(sending: () => Sending, guard: Guard, timeouts: TimeoutsConfig): TimeoutsConfig {
  if (guard.retries.perTryTimeoutMs === null) return timeouts
  const { method, hasBody, attempts, sticky, nowMs } = sending()
  const room = guard.budget?.room(nowMs) ?? false
  const headerMs = headerLimitMs(timeouts.headerMs, guard.retries, method, hasBody, attempts, sticky, room)
  return { ...timeouts, headerMs }
}

export function afterFailure(sending: Sending, failure: Failure): RetryVerdict {
  const { guard, method, hasBody, attempts, sticky, nowMs } = sending
  const verdict = retryVerdict(failure, method, hasBody, attempts, guard.retries, sticky)
  return drawsOnBudget(verdict, failure.code) && !guard.budget?.take(nowMs) ? 'no' : verdict
}

/** After the backend's own refusal. `othersServe`: somebody is there to be asked instead. */
export function afterAnswer(sending: Sending, status: number, othersServe: () => boolean): RetryVerdict {
  const { guard, method, hasBody, attempts, sticky, nowMs } = sending
  const verdict = answerVerdict(status, method, hasBody, attempts, guard.retries, sticky)
  return verdict !== 'no' && othersServe() && guard.budget?.take(nowMs) ? verdict : 'no'
}
