/**
 * Time, as a value that is passed in. Nothing in `lib/` reads the machine's clock or sets a timer except through
 * a `Clock`, so that tests move time by hand and wait for nothing.
 */
export interface Clock {
  /** Wall-clock time, milliseconds since the Unix epoch. May jump. For records and cookies. */
  now(): number
  /** Monotonic milliseconds. Never jumps. For durations and deadlines. */
  monotonic(): number
  /** Resolves after `ms` milliseconds; rejects with the signal's reason as soon as it aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
  /** Calls `fn` once after `ms` milliseconds. The returned function cancels; cancelling twice is harmless. */
  after(ms: number, fn: () => void): () => void
  /** Calls `fn` every `ms` milliseconds until cancelled. */
  every(ms: number, fn: () => void): () => void
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep: (ms, signal) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason)
      const onAbort = () => {
        clearTimeout(timer)
        reject(signal?.reason)
      }
      const timer = setTimeout(() => {
        signal?.removeEventListener('abort', onAbort)
        resolve()
      }, ms)
      signal?.addEventListener('abort', onAbort, { once: true })
    }),
  after: (ms, fn) => {
    const timer = setTimeout(fn, ms)
    return () => clearTimeout(timer)
  },
  every: (ms, fn) => {
    const timer = setInterval(fn, ms)
    return () => clearInterval(timer)
  },
}
