/**
 * Health checks: one HTTP exchange, and the rhythm of them for one backend. What a row of results means is `health.ts`.
 * It reports and remembers nothing.
 */
import { type ClientRequest, request } from 'node:http'
import { type Clock, systemClock } from '../clock.ts'
import type { HealthConfig } from '../config/config.ts'
import type { Verdict } from './health.ts'

export interface ProbeTarget {
  readonly host: string
  readonly port: number
}

export type ProbeConfig = Pick<HealthConfig, 'path' | 'timeoutMs'>
export type Probe = (target: ProbeTarget, config: ProbeConfig, signal?: AbortSignal) => Promise<Verdict>

/** More of an answer's body than this is not read: its status has said what was asked. */
const bodyBytesMax = 64 * 1024

/**
 * One GET on a connection of its own, the whole of it within `timeoutMs`. A status of 200 … 399 passes. Never throws;
 * `reason` is for people.
 */
export function probeOnce(
  target: ProbeTarget,
  config: ProbeConfig,
  signal?: AbortSignal,
  clock: Clock = systemClock,
): Promise<Verdict> {
  return new Promise(resolve => {
    if (signal?.aborted) return resolve({ ok: false, reason: 'check cancelled' })
    let exchange: ClientRequest | null = null
    const end = (ok: boolean, reason: string, silent = false) => {
      cancelDeadline()
      signal?.removeEventListener('abort', onAbort)
      resolve(silent ? { ok, reason, silent } : { ok, reason })
      exchange?.destroy()
    }
    const onAbort = () => end(false, 'check cancelled')
    const cancelDeadline = clock.after(config.timeoutMs, () =>
      end(false, `no answer within ${inSeconds(config.timeoutMs)}`, true),
    )
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      exchange = get(target, config, end)
    } catch (error) {
      end(false, `cannot ask: ${error instanceof Error ? error.message : String(error)}`)
    }
  })
}

function get(
  target: ProbeTarget,
  config: ProbeConfig,
  end: (ok: boolean, reason: string) => void,
): ClientRequest {
  const exchange = request({
    host: target.host,
    port: target.port,
    path: config.path,
    agent: false,
    headers: { host: hostHeader(target), 'user-agent': 'tidegate-health', connection: 'close' },
  })
  exchange.on('error', error => end(false, failure(error)))
  exchange.on('upgrade', response => end(false, `answered ${response.statusCode} to a plain GET`))
  exchange.on('response', response => {
    const status = response.statusCode ?? 0
    const settle = () => end(status >= 200 && status < 400, `answered ${status}`)
    let bodyBytes = 0
    response.on('data', (chunk: Buffer) => {
      bodyBytes += chunk.length
      if (bodyBytes > bodyBytesMax) settle()
    })
    response.on('end', settle)
    response.on('error', error => end(false, `answered ${status}, then ${failure(error)}`))
  })
  exchange.end()
  return exchange
}

export interface ProbingDeps {
  readonly clock: Clock
  readonly random: () => number
  readonly probe: Probe
}

export interface ProbingOptions {
  readonly target: ProbeTarget
  readonly health: HealthConfig
  /** Before the first check. */
  readonly firstDelayMs: number
  /**
   * Null while held. Otherwise a number that every hold changes. Silence counts only when it is the same number at both ends
   * of the check: silence that met a hold says nothing, an answer or a refusal says what it always says.
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
    const verdict = await probe(target, health, signal)
    if (signal.aborted) return
    if (!verdict.silent || (before !== null && gate() === before)) report(verdict)
    const intervalMs = health.intervalMs * (0.9 + 0.2 * random())
    delayMs = Math.max(1, intervalMs - (clock.monotonic() - startedAt))
  }
}

function hostHeader({ host, port }: ProbeTarget): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}

function inSeconds(ms: number): string {
  return ms % 1000 === 0 ? `${ms / 1000}s` : `${ms}ms`
}

/** An error of the socket or the parser in a few words. */
function failure(error: NodeJS.ErrnoException): string {
  const { code, syscall, message } = error
  if (code?.startsWith('HPE_')) return `answered something that is not HTTP (${code})`
  if (code === 'ECONNRESET') return 'connection closed before the answer was complete'
  if (code) return `${syscall ?? 'connect'} ${code}`
  return message
}
