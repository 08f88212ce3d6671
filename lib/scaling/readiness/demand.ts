/**
 * Scale to zero and back: a cluster that nobody has used for a while loses its instances by an ordinary scale-in, and the first
 * request that finds nobody brings one back by an ordinary scale-out.
 *
 *            wanted                    it serves
 *   zero ───────────► being started ─────────────► in use ◄── exchange, tunnel, live session ──┐
 *    ▲                  │ failed: pause, again        │ ▲ └─────────────────────────────────────┘
 *    │                  ▼                             │ │ wanted before the point of no return: cancelled
 *    │               zero                  idle_after ▼ │
 *    └──────────────────────────────────────────── leaving
 *
 * Threads say again and again who is waited for, so nothing is remembered here of who waits. How many wait makes no
 * difference: one is started, and what more it takes is not decided here.
 */

import type { Clock } from '../../clock.ts'
import type { BackendView } from '../../cluster/backend.ts'
import type { Clusters } from '../../cluster/clusters.ts'
import { toTidegateError } from '../../errors.ts'
import type { Log } from '../../log.ts'
import type { OperationRequest, OperationView } from '../operation.ts'
import { repairBackoffMs } from '../recovery/repairs.ts'

export interface DemandDeps {
  readonly clusters: Pick<Clusters, 'ids' | 'config' | 'backends' | 'has'>
  readonly clock: Clock
  readonly log: Log
  /** How many instances the cluster has. */
  readonly count: (cluster: string) => number
  /** Begins an operation; resolves when it has begun. */
  readonly start: (cluster: string, request: OperationRequest, actor: string) => Promise<OperationView>
  /** Of the cluster's operation under way; null: there is none. */
  readonly running: (cluster: string) => { readonly id: string; readonly type: string } | null
  readonly cancel: (operation: string) => Promise<unknown>
  /** Resolves to whether it ended well. */
  readonly ended: (operation: string) => Promise<boolean>
}

interface Use {
  readonly requests: number
  /** Monotonic: when it was last seen in use. */
  readonly lastMs: number
}

export class Demand {
  readonly #deps: DemandDeps
  readonly #uses = new Map<string, Use>()
  readonly #failures = new Map<string, { readonly count: number; readonly notBeforeMs: number }>()
  /** Clusters for which something is being begun or called off right now. */
  readonly #busy = new Set<string>()

  constructor(deps: DemandDeps) {
    this.#deps = deps
  }

  /** Requests wait there. Never rejects. */
  async wanted(cluster: string): Promise<void> {
    const { clusters, clock, count } = this.#deps
    if (!clusters.has(cluster) || clusters.config(cluster).standby.scaleToZero === null) return
    this.#uses.set(cluster, { requests: this.#uses.get(cluster)?.requests ?? 0, lastMs: clock.monotonic() })
    if (this.#busy.has(cluster)) return
    this.#busy.add(cluster)
    try {
      const running = this.#deps.running(cluster)
      if (running?.type === 'scale_in') await this.#callOff(cluster, running.id)
      else if (running === null && count(cluster) === 0) await this.#wake(cluster)
    } finally {
      this.#busy.delete(cluster)
    }
  }

  /** One look at every cluster that may be left alone. Never rejects. */
  async look(): Promise<void> {
    for (const cluster of this.#deps.clusters.ids()) await this.#lookAt(cluster)
  }

  async #wake(cluster: string): Promise<void> {
    const { clock, log, start } = this.#deps
    const failed = this.#failures.get(cluster)
    if (failed && clock.monotonic() < failed.notBeforeMs) return
    try {
      const request = {
        type: 'scale_out',
        target_count: 1,
        immediate: true,
        drain_connections: true,
      } as const
      const { id } = await start(cluster, request, 'demand')
      void this.#deps.ended(id).then(well => (well ? this.#failures.delete(cluster) : this.#failed(cluster)))
    } catch (error) {
      const { code, message } = toTidegateError(error)
      if (code === 'operation_running') return
      this.#failed(cluster)
      log.error({ cluster, code }, `requests wait and no instance can be started: ${message}`)
    }
  }

  /** Past its point of no return it goes on; the threads ask again when it is over. */
  async #callOff(cluster: string, operation: string): Promise<void> {
    await this.#deps.cancel(operation).catch((error: unknown) => {
      this.#deps.log.debug({ cluster, operation, err: error }, 'a scale-in is not called off')
    })
  }

  async #lookAt(cluster: string): Promise<void> {
    const { clusters, clock, log, count, running, start } = this.#deps
    const { standby, scaling } = clusters.config(cluster)
    const { scaleToZero } = standby
    // Through the API somebody may have asked for more than nobody.
    const none = scaleToZero === null || scaling.minInstances > 0
    if (none || count(cluster) === 0 || running(cluster) !== null || this.#busy.has(cluster))
      return void this.#uses.delete(cluster)
    const nowMs = clock.monotonic()
    const backends = clusters.backends(cluster)
    const requests = backends.reduce((sum, backend) => sum + backend.requests, 0)
    const before = this.#uses.get(cluster)
    if (before === undefined || before.requests !== requests || backends.some(inUse))
      return void this.#uses.set(cluster, { requests, lastMs: nowMs })
    if (nowMs - before.lastMs < scaleToZero.idleAfterMs) return
    const request = { type: 'scale_in', target_count: 0, immediate: false, drain_connections: true } as const
    await start(cluster, request, 'idle').catch((error: unknown) => {
      log.warn({ cluster, err: error }, 'an idle cluster keeps its instances for now')
    })
  }

  #failed(cluster: string): void {
    const count = (this.#failures.get(cluster)?.count ?? 0) + 1
    const notBeforeMs = this.#deps.clock.monotonic() + repairBackoffMs(count)
    this.#failures.set(cluster, { count, notBeforeMs })
  }
}

/** Something is bound to it or under way on it. Where sessions cannot be counted their requests count. */
const inUse = ({ in_flight, tunnels, sessions }: BackendView) =>
  in_flight > 0 || tunnels > 0 || (sessions ?? 0) > 0
