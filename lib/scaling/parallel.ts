/** Work on several things at once, but not on all. */

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
  const failed = new AbortController()
  const both = AbortSignal.any([signal, failed.signal])
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
      if (!failed.signal.aborted) failed.abort(error)
      throw error
    }),
  )
  const settled = await Promise.allSettled(workers)
  if (failed.signal.aborted) throw failed.signal.reason
  for (const one of settled) if (one.status === 'rejected') throw one.reason
  return results
}
