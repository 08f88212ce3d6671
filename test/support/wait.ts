/**
 * Waits for a fact, with a deadline; for tests that watch something from the outside. It looks often at first and then less: whoever
 * waits long for a machine to boot should not take its processor away.
 */
export async function until<T>(
  what: string,
  probe: () => T | Promise<T>,
  timeoutMs = 120_000,
): Promise<NonNullable<T>> {
  const startedAtMs = performance.now()
  let last: unknown
  for (;;) {
    try {
      const value = await probe()
      if (value) return value as NonNullable<T>
      last = value
    } catch (error) {
      last = error
    }
    const waitedMs = performance.now() - startedAtMs
    if (waitedMs > timeoutMs) {
      throw new Error(
        `${what}: not within ${timeoutMs / 1000} s (last: ${last instanceof Error ? last.message : JSON.stringify(last)})`,
      )
    }
    await new Promise(resolve => setTimeout(resolve, Math.min(pollMsMax, Math.max(pollMsMin, waitedMs / 20))))
  }
}

const pollMsMin = 10
const pollMsMax = 100
