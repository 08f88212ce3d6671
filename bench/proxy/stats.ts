/** The arithmetic of rounds: medians, percentiles, ratios of rounds that ran side by side. @pure */

export function median(values: readonly number[]): number {
  const sorted = values.filter(Number.isFinite).sort((a, b) => a - b)
  if (sorted.length === 0) return Number.NaN
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** The smallest value that at least the share `at` (0 … 1) of all are not above; of values in ascending order. */
export function percentile(ascending: ArrayLike<number>, at: number): number {
  if (ascending.length === 0) return Number.NaN
  const rank = Math.ceil(at * ascending.length) - 1
  return ascending[Math.min(ascending.length - 1, Math.max(0, rank))]!
}

/**
 * What ours is of theirs: the median of the ratios round by round. Round n of both ran next to each other, so a machine that
 * becomes slower during the run moves both and not their ratio.
 */
export function pairedRatio(ours: readonly number[], theirs: readonly number[]): number {
  const rounds = Math.min(ours.length, theirs.length)
  return median(Array.from({ length: rounds }, (_, round) => ours[round]! / theirs[round]!))
}

/** How far the rounds lie apart: (largest − smallest) / median. */
export function spread(values: readonly number[]): number {
  const finite = values.filter(Number.isFinite)
  if (finite.length === 0) return Number.NaN
  return (Math.max(...finite) - Math.min(...finite)) / median(finite)
}

export function rounded(value: number, digits: number): number {
  const scale = 10 ** digits
  return Math.round(value * scale) / scale
}
