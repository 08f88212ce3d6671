/**
 * What a row of check results says of a backend's health. @pure
 *
 *               one pass                  unhealthyThreshold fails in a row
 *   unknown ──────────────► healthy ─────────────────────────────────────────► unhealthy
 *      │                      ▲ │ says so · silent · slow in a row                │   ▲
 *      │   passes, and none   │ ▼                                                 │   │
 *      │   of the three holds │ degraded ── unhealthyThreshold fails in a row ────│───┤
 *      │                      └───────── healthyThreshold passes in a row ────────┘   │
 *      └──────────────────── unhealthyThreshold fails in a row ───────────────────────┘
 *
 * One pass is enough for what was never known to be ill: a new backend should not wait for a second opinion. A backend is
 * degraded while it passes, or has not failed often enough to be ill, and one of three things holds: it says so itself; its
 * last check met silence and no later one has passed; or `unhealthyThreshold` checks in a row were slow and since then
 * `healthyThreshold` in a row were not. A refused connection or a bad answer does not degrade: whoever meets it is sent
 * elsewhere at once, while silence costs a new client its patience.
 *
 * Silence is no answer in time, or a connection that was cut before any. Where meanwhile most of its exchanges ended well it
 * is strain and not death: such a check degrades and does not count in the row of fails.
 */
import type { HealthConfig } from '../config/config.ts'
import type { HealthStatus } from './backend.ts'

/** What the application says of itself. */
export type SelfReport = 'ready' | 'degraded' | 'draining'

export interface Verdict {
  readonly ok: boolean
  /** For people: `answered 200`, `connect ECONNREFUSED`. */
  readonly reason: string
  /** Nothing came back, or only the connection's end: it may be ill, or paused, or starved. A refusal is never silence. */
  readonly silent?: boolean
  /** Since the check before, most of its exchanges ended well. */
  readonly serves?: boolean
  /** Absent where there was no answer that could say anything. */
  readonly says?: SelfReport
  /** Absent where how long it took says nothing. */
  readonly tookMs?: number
}

export interface Health {
  readonly status: HealthStatus
  readonly reason: string
  /** Wall clock, milliseconds: since when the status is what it is. */
  readonly sinceMs: number
  /** Whether its checks pass, whatever else is said of it. */
  readonly checks: Exclude<HealthStatus, 'degraded'>
  /** Results in a row that speak against `checks`. */
  readonly against: number
  /** Its own last word. */
  readonly says: SelfReport
  /** Checks in a row that nobody answered; anything else ends the row. */
  readonly silentRow: number
  /** A check was silent and none has passed since. */
  readonly doubted: boolean
  /** It is ill, and all that speaks for it is silence: its machine may be alive and too busy to answer. */
  readonly silent: boolean
  readonly slow: boolean
  /** Passes in a row that speak against `slow`. */
  readonly againstSlow: number
}

export type HealthRules = Pick<
  HealthConfig,
  'healthyThreshold' | 'unhealthyThreshold' | 'slowRatio' | 'timeoutMs'
>

export function unknownHealth(nowMs: number): Health {
  return {
    status: 'unknown',
    reason: 'not checked yet',
    sinceMs: nowMs,
    checks: 'unknown',
    against: 0,
    says: 'ready',
    silentRow: 0,
    doubted: false,
    silent: false,
    slow: false,
    againstSlow: 0,
  }
}

export function observe(health: Health, verdict: Verdict, rules: HealthRules, nowMs: number): Health {
  const { checks, against } = weighed(health, verdict, rules)
  const pace = paced(health, verdict, rules)
  const says = verdict.says ?? health.says
  const doubted = !verdict.ok && (verdict.silent === true || health.doubted)
  const silentRow = verdict.silent ? health.silentRow + 1 : 0
  const degraded = checks === 'healthy' && (says === 'degraded' || pace.slow || doubted)
  const status = degraded ? 'degraded' : checks
  return {
    status,
    reason: reasonOf(verdict, pace.slow),
    sinceMs: status === health.status ? health.sinceMs : nowMs,
    checks,
    against,
    says,
    silentRow,
    doubted,
    silent: checks === 'unhealthy' && silentRow >= rules.unhealthyThreshold,
    ...pace,
  }
}

function weighed(health: Health, verdict: Verdict, rules: HealthRules): Pick<Health, 'checks' | 'against'> {
  const { ok } = verdict
  const seen = ok ? 'healthy' : 'unhealthy'
  if (health.checks === seen || (health.checks === 'unknown' && ok)) return { checks: seen, against: 0 }
  // Whoever serves is not dead: neither for it nor against it.
  if (strained(verdict)) return { checks: health.checks, against: health.against }
  const against = health.against + 1
  const enough = against >= (ok ? rules.healthyThreshold : rules.unhealthyThreshold)
  return enough ? { checks: seen, against: 0 } : { checks: health.checks, against }
}

function strained({ ok, silent = false, serves = false }: Verdict): boolean {
  return !ok && silent && serves
}

function reasonOf(verdict: Verdict, slow: boolean): string {
  if (strained(verdict)) return `${verdict.reason}, but its exchanges are served`
  return slow && verdict.ok ? `${verdict.reason}, slowly` : verdict.reason
}

/** Only what passes has a pace, and what is taken for ill begins anew. */
function paced(health: Health, verdict: Verdict, rules: HealthRules): Pick<Health, 'slow' | 'againstSlow'> {
  const { slow, againstSlow } = health
  if (health.checks === 'unhealthy') return { slow: false, againstSlow: 0 }
  if (!verdict.ok || verdict.tookMs === undefined) return { slow, againstSlow }
  const wasSlow = rules.slowRatio > 0 && verdict.tookMs > rules.slowRatio * rules.timeoutMs
  if (wasSlow === slow) return { slow, againstSlow: 0 }
  const enough = againstSlow + 1 >= (wasSlow ? rules.unhealthyThreshold : rules.healthyThreshold)
  return enough ? { slow: wasSlow, againstSlow: 0 } : { slow, againstSlow: againstSlow + 1 }
}
