/** Work on several things at once, but not on all. */
import { either } from './deadline.ts'

/**
 * Runs `work` over `items`, at most `max` at a time, results in order. The first failure aborts the signal that the others
 * were given, and is thrown when all of them have settled: nobody is left working behind the caller's back.
 */
export async function parallel<T, R>(
  items: readonly T[],
  max: number,
  signal: AbortSignal,
  work: (item: T, signal: AbortSignal) => Promise<R>,
): Promise<readonly R[]> {
  const { signal: both, abort, release } = either([signal])
  let failed: { readonly error: unknown } | null = null
  const results: R[] = []
  let at = 0
  const worker = async () => {
    while (at < items.length) {
      both.throwIfAborted()
      const index = at++
      results[index] = await work(items[index]!, both)
    }
  }
  const workers = Array.from({ length: Math.min(max, items.length) }, () =>
    worker().catch((error: unknown) => {
      failed ??= { error }
      abort(error)
    }),
  )
  await Promise.all(workers)
  release()
  if (failed !== null) throw (failed as { readonly error: unknown }).error
  return results
}
