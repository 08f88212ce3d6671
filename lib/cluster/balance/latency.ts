/**
 * How long a member takes to answer, as one number: a moving average that jumps to every peak and comes down from it with
 * time. @pure
 *
 * The weight of what was known falls by e in `memoryMs`, whether answers come or not: so a member that was slow is forgiven
 * and tried again, and one that has just been slow is known for it at once.
 */

/** As Finagle and linkerd have it. */
export const memoryMs = 10_000

/** What is known after an answer that took `sample`, when `known` is `ageMs` old. Any unit. */
export function observed(known: number, ageMs: number, sample: number): number {
  return sample >= known ? sample : sample + (known - sample) * Math.exp(-ageMs / memoryMs)
}

/** What is left of it when nothing was heard for `ageMs`. */
export function faded(known: number, ageMs: number): number {
  return known * Math.exp(-ageMs / memoryMs)
}
