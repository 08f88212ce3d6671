/** Waiting for the end of an operation, whoever works on it, and also while it stands still and nobody does. */
import type { Clock } from '../clock.ts'
import { TidegateError } from '../errors.ts'
import type { OperationView } from './operation.ts'

/** How often the record of an operation is looked at that stands still. */
const standingPollMs = 200

export interface Awaited {
  /** Resolves when this process has no more to do on it; null: it waits to be begun; undefined: nobody works on it. */
  readonly driven: () => Promise<void> | null | undefined
  readonly view: () => Promise<OperationView>
}

/** The operation when it does not run any more. Throws `wait_timeout` when it still does by then. */
export async function waitForEnd(
  clock: Clock,
  timeoutMs: number,
  { driven, view }: Awaited,
): Promise<OperationView> {
  const deadline = clock.monotonic() + timeoutMs
  for (;;) {
    const driving = driven()
    const waited = new AbortController()
    const remaining = deadline - clock.monotonic()
    if (driving !== undefined && remaining > 0) {
      await Promise.race([driving ?? unending, clock.sleep(remaining, waited.signal).catch(() => {})])
      waited.abort()
    }
    const seen = await view()
    if (seen.status !== 'running') return seen
    if (driving === undefined && remaining > 0) await clock.sleep(Math.min(standingPollMs, remaining))
    else if (clock.monotonic() >= deadline)
      throw new TidegateError('wait_timeout', `operation ${seen.id} has not ended within ${timeoutMs} ms`, {
        details: { operation_id: seen.id, phase: seen.phase },
      })
  }
}

const unending = new Promise<never>(() => {})
