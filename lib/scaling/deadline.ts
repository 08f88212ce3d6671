/** A bound on the time of one piece of work, kept even when the work does not listen to its signal. */
import type { Clock } from '../clock.ts'
import { TidegateError } from '../errors.ts'
import { limits } from './limits.ts'

/**
 * Runs `work` with a signal that aborts after `ms`, or as soon as one of `signals` does. Work that does not stop within
 * `settleMs` of that is abandoned: its undo reads reality and does not trust what it was told.
 * Throws `step_timeout`, the reason of the signal that aborted, or what the work threw by itself.
 */
export async function within<T>(
  clock: Clock,
  ms: number,
  what: string,
  signals: readonly AbortSignal[],
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  let late = false
  const { signal, abort, release } = either(signals)
  const stopTimer = clock.after(ms, () => {
    late = !signal.aborted
    abort(
      new TidegateError('step_timeout', `${what} took longer than ${ms} ms`, { details: { timeout_ms: ms } }),
    )
  })
  let stopSettle = () => {}
  let settle = () => {}
  const abandoned = new Promise<never>((_, reject) => {
    settle = () => {
      stopSettle = clock.after(limits.settleMs, () => reject(signal.reason))
    }
    if (signal.aborted) settle()
    else signal.addEventListener('abort', settle, { once: true })
  })
  try {
    signal.throwIfAborted()
    return await Promise.race([work(signal), abandoned])
  } catch (error) {
    // Late work that can say more than that it was late says it.
    const telling = late && error instanceof TidegateError
    throw signal.aborted && !telling ? signal.reason : error
  } finally {
    stopTimer()
    stopSettle()
    signal.removeEventListener('abort', settle)
    release()
  }
}

/** Aborts with the first of `signals`, or by `abort`. Who no longer needs it calls `release`. */
export function either(signals: readonly AbortSignal[]): {
  readonly signal: AbortSignal
  readonly abort: (reason: unknown) => void
  readonly release: () => void
} {
  // `AbortSignal.any` is let go by the garbage collector only, which costs more than all else of a short wait.
  const own = new AbortController()
  const follow = (event: Event) => own.abort((event.target as AbortSignal).reason)
  for (const signal of signals) {
    if (signal.aborted) own.abort(signal.reason)
    else signal.addEventListener('abort', follow, { once: true })
  }
  const release = () => {
    for (const signal of signals) signal.removeEventListener('abort', follow)
  }
  return { signal: own.signal, abort: reason => own.abort(reason), release }
}
