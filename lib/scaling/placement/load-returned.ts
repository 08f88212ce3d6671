/**
 * Whether load has come back while instances are leaving. @pure
 *
 * The signal is exchanges under way per instance that stays. It counts as returned when it is over the policy's threshold, and half
 * as much again as the plan expected of those who stay (a scale-in under a load that was known is somebody's wish), and was so in
 * each of the last samples (one burst is not a trend).
 */
export interface LoadSample {
  /** Exchanges under way on all members, those who leave included: theirs will go to the others. */
  readonly inFlight: number
  readonly remaining: number
}

export const samplesNeeded = 4
export const sampleEveryMs = 250
const growth = 1.5

export interface LoadVerdict {
  readonly returned: boolean
  readonly perInstance: number
}

/** `planned` is what was under way when the victims were chosen; `threshold` 0: never. */
export function loadReturned(
  samples: readonly LoadSample[],
  planned: number,
  threshold: number,
): LoadVerdict {
  const latest = samples.slice(-samplesNeeded)
  const per = (inFlight: number, remaining: number) => inFlight / Math.max(1, remaining)
  const last = latest.at(-1)
  const perInstance = last ? per(last.inFlight, last.remaining) : 0
  const over = ({ inFlight, remaining }: LoadSample) =>
    per(inFlight, remaining) >= threshold && inFlight >= planned * growth
  const returned = threshold > 0 && latest.length === samplesNeeded && latest.every(over)
  return { returned, perInstance }
}
