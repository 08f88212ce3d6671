/**
 * Whether new instances have proved themselves: what they answered since they serve, against what is allowed. @pure
 *
 * A share of few says little, so that a bad one ends the trial before its time only when enough has been answered; at its end
 * every answer counts. An instance that is ill or gone ends it at once.
 */
import { TidegateError } from '../../errors.ts'

/** Exchanges that must have ended before a bad share is believed early. */
export const sampleMin = 20

/** What one backend's counters say. */
export interface Counted {
  readonly id: string
  readonly requests: number
  readonly in_flight: number
  readonly tunnels: number
  readonly failures: number
  readonly server_errors: number
}

/** What is known of one new instance; `ill`: why it must not stay, null where it may. */
export interface Seen extends Counted {
  readonly ill: string | null
}

/** As it is written into the journal. */
export type CheckpointData = {
  /** Exchanges that ended since the trial began. */
  readonly exchanges: number
  /** Those that got no answer, or one of 500 or above. */
  readonly failed: number
  readonly failure_ratio: number
  readonly max_failure_ratio: number
  readonly waited_ms: number
}

/** Throws `checkpoint_failed`. `over`: the time of the trial has passed. */
export function judge(
  before: readonly Counted[],
  now: readonly Seen[],
  { max, over, waitedMs }: { readonly max: number; readonly over: boolean; readonly waitedMs: number },
): CheckpointData {
  const ended = (one: Counted) => one.requests - one.in_flight - one.tunnels
  const bad = (one: Counted) => one.failures + one.server_errors
  const since = (count: (one: Counted) => number) =>
    now.reduce((sum, one) => {
      const then = before.find(({ id }) => id === one.id)
      return sum + Math.max(0, count(one) - (then ? count(then) : 0))
    }, 0)
  const failed = since(bad)
  const exchanges = Math.max(failed, since(ended))
  const ratio = exchanges === 0 ? 0 : Math.round((failed / exchanges) * 10_000) / 10_000
  const data = {
    ...{ exchanges, failed, failure_ratio: ratio, max_failure_ratio: max },
    waited_ms: Math.round(waitedMs),
  }
  const ill = now.filter(one => one.ill !== null)
  if (ill.length > 0)
    throw refused(ill.map(({ id, ill }) => `${id} ${ill}`).join(', '), { ...data, instances: ill.map(idOf) })
  if (ratio > max && (over || exchanges >= sampleMin))
    throw refused(
      `${failed} of ${exchanges} exchanges of the new instances failed (${percent(ratio)}, at most ${percent(max)})`,
      { ...data, instances: now.filter(one => bad(one) > 0).map(idOf) },
    )
  return data
}

export const percent = (share: number): string => `${Math.round(share * 10_000) / 100} %`

const idOf = ({ id }: Counted) => id
const refused = (why: string, details: Record<string, unknown>) =>
  new TidegateError('checkpoint_failed', `the checkpoint was not met: ${why}`, { details })
