/**
 * What a row of check results says of a backend's health. @pure
 *
 *               one pass                  unhealthyThreshold fails in a row
 *   unknown ──────────────► healthy ─────────────────────────────────────────► unhealthy
 *      │                       ▲                                                 │   ▲
 *      │                       └───────── healthyThreshold passes in a row ──────┘   │
 *      └──────────────────── unhealthyThreshold fails in a row ──────────────────────┘
 *
 * One pass is enough for what was never known to be ill: a new backend should not wait for a second opinion.
 */
import type { HealthConfig } from '../config/config.ts'
import type { HealthStatus } from './backend.ts'

export interface Verdict {
  readonly ok: boolean
  /** For people: `answered 200`, `connect ECONNREFUSED`. */
  readonly reason: string
  /** Nothing came back in time: it may be ill, or only paused or starved. A refusal is never silence. */
  readonly silent?: boolean
}

export interface Health {
  readonly status: HealthStatus
  readonly reason: string
  /** Wall clock, milliseconds: since when the status is what it is. */
  readonly sinceMs: number
  /** Results in a row that speak against the status. */
  readonly against: number
}

export function unknownHealth(nowMs: number): Health {
  return { status: 'unknown', reason: 'not checked yet', sinceMs: nowMs, against: 0 }
}

export function observe(
  health: Health,
  verdict: Verdict,
  thresholds: Pick<HealthConfig, 'healthyThreshold' | 'unhealthyThreshold'>,
  nowMs: number,
): Health {
  const { reason } = verdict
  const verdictStatus: HealthStatus = verdict.ok ? 'healthy' : 'unhealthy'
  if (health.status === verdictStatus) return { ...health, reason, against: 0 }
  if (health.status === 'unknown' && verdict.ok)
    return { status: 'healthy', reason, sinceMs: nowMs, against: 0 }
  const against = health.against + 1
  const threshold = verdict.ok ? thresholds.healthyThreshold : thresholds.unhealthyThreshold
  if (against < threshold) return { ...health, reason, against }
  return { status: verdictStatus, reason, sinceMs: nowMs, against: 0 }
}
