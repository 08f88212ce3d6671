/**
 * The rhythm of the checks of one backend. One check is `probe/`, what a row of them means is `health.ts`.
 * It reports and remembers nothing.
 */
import type { Clock } from '../clock.ts'
import type { HealthConfig } from '../config/config.ts'
import type { Verdict } from './health.ts'
import type { Probe, ProbeTarget } from './probe/probe.ts'

export { type Probe, type ProbeTarget, probeOnce } from './probe/probe.ts'

export interface ProbingDeps {
  readonly clock: Clock
  readonly random: () => number
  readonly probe: Probe
}

export interface ProbingOptions {
  /** Asked before each check: what it takes to speak with it may change. */
  readonly target: () => ProbeTarget
  readonly health: HealthConfig
  /** Before the first check. */
  readonly firstDelayMs: number
  /**
   * Null while held. Otherwise a number that every hold changes. Silence counts only when it is the same number at both ends
   * of the check: silence that met a hold says nothing, and neither does slowness; an answer or a refusal says what it
   * always says.
   */
  readonly gate: () => number | null
  readonly report: (verdict: Verdict) => void
}

/**
 * Checks one backend on and on, an interval ±10 % from start to start so that checks of many do not fall together, never
 * two at once. Returns the way out; nothing is reported after it.
 */
export function startProbing(deps: ProbingDeps, options: ProbingOptions): () => void {
  const stop = new AbortController()
  void probeLoop(deps, options, stop.signal).catch(error => {
    if (!stop.signal.aborted) throw error
  })
  return () => stop.abort(new Error('probing stopped'))
}

async function probeLoop(deps: ProbingDeps, options: ProbingOptions, signal: AbortSignal): Promise<void> {
  const { clock, random, probe } = deps
  const { target, health, gate, report } = options
  let delayMs = options.firstDelayMs
  for (;;) {
    await clock.sleep(delayMs, signal)
    const startedAt = clock.monotonic()
    const before = gate()
    const verdict = await probed(probe, target, health, signal)
    if (signal.aborted) return
    if (before !== null && gate() === before) report({ ...verdict, tookMs: clock.monotonic() - startedAt })
    else if (!verdict.silent) report(verdict)
    const intervalMs = health.intervalMs * (0.9 + 0.2 * random())
    delayMs = Math.max(1, intervalMs - (clock.monotonic() - startedAt))
  }
}

/** A probe does not throw; what has to be got ready for it may. */
async function probed(
  probe: Probe,
  target: () => ProbeTarget,
  health: HealthConfig,
  signal: AbortSignal,
): Promise<Verdict> {
  try {
    return await probe(target(), health, signal)
  } catch (error) {
    return { ok: false, reason: `cannot ask: ${error instanceof Error ? error.message : String(error)}` }
  }
}
