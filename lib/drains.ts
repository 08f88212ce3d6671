/**
 * The drains that operators asked for, one a backend. The mark (kept in the store) says that a backend takes no new clients;
 * this says how far its leaving has come. Scaling's own drains are steps of its operations and are not here.
 */
import type { DrainPolicy, DrainProof } from './cluster/backend.ts'
import type { Clusters } from './cluster/clusters.ts'
import type { Log } from './log.ts'

interface Drain {
  readonly abort: AbortController
  readonly ended: Promise<DrainProof | null>
}

export class Drains {
  readonly #clusters: Clusters
  readonly #log: Log
  readonly #drains = new Map<string, Drain>()

  constructor(clusters: Clusters, log: Log) {
    this.#clusters = clusters
    this.#log = log
  }

  /** Starts a drain, or starts it anew with other settings. */
  start(cluster: string, backend: string, policy: DrainPolicy): void {
    this.stop(cluster, backend)
    const abort = new AbortController()
    const ended = this.#clusters.drain(cluster, backend, policy, abort.signal).catch((error: unknown) => {
      if (!abort.signal.aborted) this.#log.error({ cluster, backend, err: error }, 'drain failed')
      return null
    })
    this.#drains.set(key(cluster, backend), { abort, ended })
  }

  /** The backend takes clients again, or leaves: nobody waits for its drain any more. */
  stop(cluster: string, backend: string): void {
    this.#drains.get(key(cluster, backend))?.abort.abort(new Error('the drain was ended'))
    this.#drains.delete(key(cluster, backend))
  }

  /** Resolves with the proof when the drain has ended, or with what is left after `timeoutMs`. */
  async wait(cluster: string, backend: string, timeout: Promise<void>): Promise<DrainProof> {
    const drain = this.#drains.get(key(cluster, backend))
    const proof = drain ? await Promise.race([drain.ended, timeout.then(() => null)]) : null
    return proof ?? this.#clusters.proof(cluster, backend)
  }

  close(): void {
    for (const drain of this.#drains.values()) drain.abort.abort(new Error('shutting down'))
    this.#drains.clear()
  }
}

const key = (cluster: string, backend: string) => `${cluster}/${backend}`
