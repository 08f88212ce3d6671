/**
 * Buckets that double: 0.5 ms, 1 ms, 2 ms … 16.384 s, and all above. @pure
 * The bucket is found by one instruction (count of leading zeros), and buckets of all threads simply add up.
 */
const finite = 16

/** Upper bounds in seconds, inclusive; the bucket after the last has none. */
export const bucketBounds: readonly number[] = Array.from({ length: finite }, (_, i) => 2 ** i / 2000)
export const bucketCount = finite + 1

export function bucketOf(ms: number): number {
  const halves = Math.ceil(ms * 2)
  // Not a number and negative durations count as none.
  if (!(halves > 1)) return 0
  if (halves > 2 ** (finite - 1)) return finite
  return 32 - Math.clz32(halves - 1)
}
