/**
 * What a request is refused for before a member is looked for, but for want of a place (`circuit`): its body's length, then its client's
 * rate. Nothing is allocated for a request that passes, and a cluster without these limits is passed by.
 */
import { bodyTooLong } from './body-limit.ts'
import type { Guard } from './guards.ts'

export interface RefusedAtOnce {
  readonly code: 'payload_too_large' | 'rate_limited'
  /** Fields to add to the answer. */
  readonly fields: readonly (readonly [string, string])[]
}

/** What is asked of the request; each only where it is needed. */
export interface Asked {
  /** Bytes; -1: not known before its end. */
  bodyLength(): number
  clientIp(): string
  /** A header field by its lower-case name. */
  field(name: string): string | undefined
}

/** Null: it may go on. `nowMs`: wall clock. */
export function refusedAtOnce({ limits, rate }: Guard, asked: Asked, nowMs: number): RefusedAtOnce | null {
  if (limits.requestBodyBytes > 0 && bodyTooLong(limits.requestBodyBytes, asked.bodyLength())) return tooLong
  if (rate === null) return null
  const name = rate.config.header === null ? undefined : asked.field(rate.config.header)
  const waitMs = rate.take(asked.clientIp(), name, nowMs)
  return waitMs === 0 ? null : { code: 'rate_limited', fields: rate.fields(waitMs) }
}

const tooLong: RefusedAtOnce = { code: 'payload_too_large', fields: [] }
