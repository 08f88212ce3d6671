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
  return sample >= known ? sample : sample + (known - sample) * left(ageMs)
}

/** What is left of it when nothing was heard for `ageMs`. */
export function faded(known: number, ageMs: number): number {
  return known * left(ageMs)
}

/**
 * e^(−age ÷ memory). Of whole milliseconds as the product of two from tables, which is exact and costs a tenth of the power: each
 * pick asks for two of them.
 */
function left(ageMs: number): number {
  const age = ageMs | 0
  if (age !== ageMs || age < 0 || age >= tabledMs) return Math.exp(-ageMs / memoryMs)
  return ofSteps[age >> stepBits]! * ofRest[age & (stepMs - 1)]!
}

const stepBits = 8
const stepMs = 2 ** stepBits
const tabledMs = 2 ** 16
const ofRest = Float64Array.from({ length: stepMs }, (_, ms) => Math.exp(-ms / memoryMs))
const ofSteps = Float64Array.from({ length: tabledMs / stepMs }, (_, step) =>
  Math.exp((-step * stepMs) / memoryMs),
)
