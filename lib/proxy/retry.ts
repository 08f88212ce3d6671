/**
 * Whether an exchange may be tried once more, where, and after what pause. @pure
 *
 * Two cases cost nobody anything and are on by default. `connect`: the connection was never made, nothing was sent, any request may
 * go elsewhere. `reused`: a *pooled* connection died before a byte of the answer; the backend had most likely closed it while it
 * lay idle, so a request that may be repeated and has no body goes again, on a connection of its own.
 *
 * The others are asked for in `retries`: the application may have done the work already, so they are for requests that may be repeated,
 * go to another member, and draw on the cluster's `Budget`. A client whose session lives on its member is never among them:
 * elsewhere it would be a stranger.
 */
import type { RetriesConfig } from '../config/config.ts'
import type { ErrorCode } from '../errors.ts'
import { retriesMax } from './limits.ts'

export interface Failure {
  readonly code: ErrorCode
  /** The connection had carried an earlier exchange. */
  readonly reused: boolean
  /** A byte of the answer had arrived. */
  readonly answered: boolean
  /** A byte of the request body was taken from the client and is not kept: it cannot be sent again. */
  readonly bodyBegun: boolean
}

export type RetryVerdict = 'no' | 'other_member' | 'fresh_connection'

/** What holds where the configuration says nothing. */
export const ordinaryRetries: RetriesConfig = Object.freeze({
  attempts: retriesMax,
  on: Object.freeze(['connect', 'reused'] as const),
  methods: 'safe',
  perTryTimeoutMs: null,
  budgetRatio: 0.2,
  budgetMinPerSecond: 3,
})

/** Full jitter (each pause is between nothing and its limit), so that what failed together does not come back together. */
const pauseBaseMs = 25
const pauseMaxMs = 250

/**
 * After a failed try, the `attempts`th. `hasBody`: a body that is not kept whole. `sticky`: a session binds the client to the member
 * that failed.
 */
export function retryVerdict(
  failure: Failure,
  method: string,
  hasBody: boolean,
  attempts: number,
  policy: RetriesConfig = ordinaryRetries,
  sticky = false,
): RetryVerdict {
  if (attempts > policy.attempts || failure.answered || failure.bodyBegun) return 'no'
  const elsewhere = !sticky && mayRepeat(method, hasBody, policy) ? 'other_member' : 'no'
  switch (failure.code) {
    case 'upstream_connect_failed':
    case 'upstream_connect_timeout':
    case 'upstream_tls_failed':
      return policy.on.includes('connect') ? 'other_member' : 'no'
    case 'upstream_reset':
      if (failure.reused && policy.on.includes('reused') && !hasBody && isIdempotent(method))
        return 'fresh_connection'
      return policy.on.includes('reset') ? elsewhere : 'no'
    case 'upstream_header_timeout':
      return policy.perTryTimeoutMs === null ? 'no' : elsewhere
    default:
      return 'no'
  }
}

/** After the head of an answer, before any of it went to the client: whether another member is asked instead. */
export function answerVerdict(
  status: number,
  method: string,
  hasBody: boolean,
  attempts: number,
  policy: RetriesConfig,
  sticky: boolean,
): 'no' | 'other_member' {
  if (status !== 502 && status !== 503 && status !== 504) return 'no'
  if (attempts > policy.attempts || sticky || !policy.on.includes(status)) return 'no'
  return mayRepeat(method, hasBody, policy) ? 'other_member' : 'no'
}

/** Whether a retry after `code` (null: after a whole answer) may have the application do its work twice: it needs the budget's leave. */
export function drawsOnBudget(verdict: RetryVerdict, code: ErrorCode | null): boolean {
  return verdict === 'other_member' && !neverSent(code)
}

/** The pause before the next try. `chance`: 0 ≤ chance < 1. The first turn away from a member that refuses is not delayed. */
export function retryPauseMs(
  verdict: RetryVerdict,
  code: ErrorCode | null,
  attempts: number,
  chance: number,
): number {
  if (verdict !== 'other_member' || (attempts === 1 && neverSent(code))) return 0
  return Math.ceil(chance * Math.min(pauseMaxMs, pauseBaseMs * 2 ** (attempts - 1)))
}

/**
 * How long this try, the `attempts`th, may wait for the head of its answer. `room`: the budget would grant a retry now; without
 * it the try has all the time there is, since nothing would follow it.
 */
export function headerLimitMs(
  headerMs: number,
  policy: RetriesConfig,
  method: string,
  hasBody: boolean,
  attempts: number,
  sticky: boolean,
  room: boolean,
): number {
  const { perTryTimeoutMs } = policy
  if (perTryTimeoutMs === null || perTryTimeoutMs >= headerMs) return headerMs
  const follows = room && !sticky && attempts <= policy.attempts && mayRepeat(method, hasBody, policy)
  return follows ? perTryTimeoutMs : headerMs
}

/** RFC 9110 §9.2.1: asking twice is asking once. */
export function isSafe(method: string): boolean {
  switch (method) {
    case 'GET':
    case 'HEAD':
    case 'OPTIONS':
    case 'TRACE':
      return true
    default:
      return false
  }
}

/** RFC 9110 §9.2.2. */
function isIdempotent(method: string): boolean {
  return isSafe(method) || method === 'PUT' || method === 'DELETE'
}

function mayRepeat(method: string, hasBody: boolean, policy: RetriesConfig): boolean {
  return !hasBody && (policy.methods === 'idempotent' ? isIdempotent(method) : isSafe(method))
}

/** Nothing of the request can have reached a backend. */
export function neverSent(code: ErrorCode | null): boolean {
  return (
    code === 'upstream_connect_failed' ||
    code === 'upstream_connect_timeout' ||
    code === 'upstream_tls_failed'
  )
}
