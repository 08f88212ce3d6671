/**
 * The drains that operators asked for, one a backend. The mark (kept in the store, with the deadline) says that a backend takes
 * no new clients; this says how far its leaving has come. Scaling's own drains are steps of its operations and are not here.
 *
 *   start ──► draining ── nothing left before the deadline ──► drained ── the deadline ──► sealed: bound clients go elsewhere
 *                 └────── the deadline ────────────────────────────────────────────────────────▲
 */
import type { Clock } from './clock.ts'
import type { DrainPolicy, DrainProof } from './cluster/backend.ts'
import type { Clusters } from './cluster/clusters.ts'
import type { Log } from './log.ts'
import type { MarkRecord } from './store/store.ts'

interface Drain {
  readonly abort: AbortController
  readonly ended: Promise<DrainProof | null>
}

export class Drains {
  readonly #clusters: Clusters
  readonly #clock: Clock
  readonly #log: Log
  readonly #drains = new Map<string, Drain>()

  constructor(clusters: Clusters, clock: Clock, log: Log) {
    this.#clusters = clusters
    this.#clock = clock
    this.#log = log
  }

  /** Starts a drain, or starts it anew with other settings. */
  start(cluster: string, backend: string, policy: DrainPolicy): void {
    this.stop(cluster, backend)
    const abort = new AbortController()
    const graceMs = policy.waitForConnections ? policy.gracePeriodMs : 0
    const deadline = this.#clock.monotonic() + graceMs
    const failed = (error: unknown): null => {
      if (!abort.signal.aborted) this.#log.error({ cluster, backend, err: error }, 'drain failed')
      return null
    }
    const ended = this.#clusters.drain(cluster, backend, policy, abort.signal).catch(failed)
    void ended
      .then(async proof => {
        if (proof === null) return
        await this.#clock.sleep(Math.max(0, deadline - this.#clock.monotonic()), abort.signal)
        this.#clusters.seal(cluster, backend)
      })
      .catch(failed)
    this.#drains.set(key(cluster, backend), { abort, ended })
  }

  /** After a restart: what a former process began goes on, with what is left of its time. */
  resume(marks: readonly MarkRecord[]): void {
    for (const { cluster, backend, drain } of marks) {
      if (!drain || !this.#clusters.has(cluster, backend)) continue
      const gracePeriodMs = Math.max(0, drain.deadlineAtMs - this.#clock.now())
      this.start(cluster, backend, { ...drain.policy, gracePeriodMs })
    }
  }

  /** The backend takes clients again, or leaves: nobody waits for its drain any more. */
  stop(cluster: string, backend: string): void {
    this.#drains.get(key(cluster, backend))?.abort.abort(new Error('the drain was ended'))
    this.#drains.delete(key(cluster, backend))
  }

  /** Resolves to what is left when the drain has ended, or when the time is over. */
  async wait(cluster: string, backend: string, timeout: Promise<void>): Promise<DrainProof> {
    const drain = this.#drains.get(key(cluster, backend))
    if (drain) await Promise.race([drain.ended, timeout])
    const oldestMs = await this.#clusters.oldestTunnelMs(cluster, backend)
    const proof = this.#clusters.proof(cluster, backend)
    return oldestMs === null ? proof : { ...proof, oldest_tunnel_seconds: Math.round(oldestMs / 1000) }
  }

  close(): void {
    for (const drain of this.#drains.values()) drain.abort.abort(new Error('shutting down'))
    this.#drains.clear()
  }
}

const key = (cluster: string, backend: string) => `${cluster}/${backend}`
