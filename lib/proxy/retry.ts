/**
 * Whether an exchange that failed may be tried once more. @pure
 *
 * Two cases only. The connection was never made: nothing was sent, any request may go elsewhere. Or a *pooled* connection died before
 * a byte of the answer: the backend had most likely closed it while it lay idle, so a request that may safely be repeated
 * and had no body goes again, on a connection of its own.
 */
import { type ErrorCode, errorTable } from '../errors.ts'
import { retriesMax } from './limits.ts'

export interface Failure {
  readonly code: ErrorCode
  /** The connection had carried an earlier exchange. */
  readonly reused: boolean
  /** A byte of the answer had arrived. */
  readonly answered: boolean
  /** A byte of the request body was taken from the client: it cannot be sent again. */
  readonly bodyBegun: boolean
}

export type RetryVerdict = 'no' | 'other_member' | 'fresh_connection'

export function retryVerdict(
  failure: Failure,
  method: string,
  hasBody: boolean,
  attempts: number,
): RetryVerdict {
  if (attempts > retriesMax || failure.answered || failure.bodyBegun) return 'no'
  if (errorTable[failure.code].retry !== 'unsent') return 'no'
  if (failure.code === 'upstream_connect_failed' || failure.code === 'upstream_connect_timeout')
    return 'other_member'
  return failure.reused && !hasBody && isIdempotent(method) ? 'fresh_connection' : 'no'
}

/** RFC 9110 §9.2.2. */
function isIdempotent(method: string): boolean {
  switch (method) {
    case 'GET':
    case 'HEAD':
    case 'OPTIONS':
    case 'TRACE':
    case 'PUT':
    case 'DELETE':
      return true
    default:
      return false
  }
}
