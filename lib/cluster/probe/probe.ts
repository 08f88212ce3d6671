/**
 * One check of one backend: asks in the way that the cluster's health says, the whole of it within the timeout.
 * What a row of answers means is `health.ts`, the rhythm of them `prober.ts`. It reports and remembers nothing.
 */
import type { ConnectionOptions } from 'node:tls'
import { type Clock, systemClock } from '../../clock.ts'
import type { HealthConfig } from '../../config/config.ts'
import type { Verdict } from '../health.ts'
import { askGrpc } from './grpc.ts'
import { askHttp } from './http.ts'
import { askTcp } from './tcp.ts'

export interface ProbeTarget {
  readonly host: string
  readonly port: number
  /** How to speak TLS with it; null or absent: in the clear. Names, roots and client certificate are the caller's. */
  readonly tls?: ConnectionOptions | null
}

export type ProbeConfig = Pick<
  HealthConfig,
  'type' | 'path' | 'host' | 'service' | 'expectStatus' | 'degradedStatus' | 'drainingStatus' | 'timeoutMs'
>
export type Probe = (target: ProbeTarget, config: ProbeConfig, signal?: AbortSignal) => Promise<Verdict>

/** Starts to ask; `end` may be called any number of times, the first counts. Returns what lets go of the connection. */
export type Ask = (target: ProbeTarget, config: ProbeConfig, end: (verdict: Verdict) => void) => () => void

const kinds: Readonly<Record<HealthConfig['type'], Ask>> = { http: askHttp, tcp: askTcp, grpc: askGrpc }

/** On a connection of its own. Never throws; `reason` is for people. */
export function probeOnce(
  target: ProbeTarget,
  config: ProbeConfig,
  signal?: AbortSignal,
  clock: Clock = systemClock,
): Promise<Verdict> {
  return new Promise(resolve => {
    if (signal?.aborted) return resolve(cancelled)
    let over = false
    let letGo = () => {}
    const end = (verdict: Verdict) => {
      if (over) return
      over = true
      cancelDeadline()
      signal?.removeEventListener('abort', onAbort)
      resolve(verdict)
      letGo()
    }
    const onAbort = () => end(cancelled)
    const late: Verdict = {
      ok: false,
      reason: `no answer within ${inSeconds(config.timeoutMs)}`,
      silent: true,
    }
    const cancelDeadline = clock.after(config.timeoutMs, () => end(late))
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      letGo = kinds[config.type](target, config, end)
      if (over) letGo()
    } catch (error) {
      end({ ok: false, reason: `cannot ask: ${error instanceof Error ? error.message : String(error)}` })
    }
  })
}

const cancelled: Verdict = { ok: false, reason: 'check cancelled' }

function inSeconds(ms: number): string {
  return ms % 1000 === 0 ? `${ms / 1000}s` : `${ms}ms`
}
