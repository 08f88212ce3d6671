/**
 * Acts that fall on many at once, spread over a time: evenly, with chance inside each one's share, so that those who come back
 * after it do not come back together.
 */
import type { Clock } from '../clock.ts'

/** When each of `count` has its turn, in milliseconds from now, rising; all within `spreadMs`. @pure */
export function turns(count: number, spreadMs: number, random: () => number): readonly number[] {
  return Array.from({ length: count }, (_, i) => ((i + random()) / count) * spreadMs)
}

/** Calls `act` for each in its turn; all at once, and before it returns, without a time. Returns the way out. */
export function spreadOver<T>(
  each: readonly T[],
  spreadMs: number,
  act: (one: T) => void,
  { clock, random }: { readonly clock: Clock; readonly random: () => number },
): () => void {
  if (spreadMs <= 0) {
    for (const one of each) act(one)
    return () => {}
  }
  const startedAt = clock.monotonic()
  const due = turns(each.length, spreadMs, random)
  let at = 0
  let cancel = () => {}
  const step = () => {
    const elapsedMs = clock.monotonic() - startedAt
    while (at < each.length && due[at]! <= elapsedMs) act(each[at++]!)
    if (at < each.length) cancel = clock.after(Math.ceil(due[at]! - elapsedMs), step)
  }
  step()
  return () => cancel()
}
