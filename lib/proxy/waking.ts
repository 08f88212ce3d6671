/**
 * Who waits on one event loop for a cluster that has no instance now (`scaling.scale_to_zero`), or for the clone of one that died
 * (`scaling.standby`). Whoever comes first has control
 * told, which makes one; all of the cluster's are let go as soon as somebody takes new clients, in the order in which they came.
 *
 *   nobody serves ──► waiting ── a member takes new clients ──► let go: picks again
 *        │               ├── too long ─────────────────────────► refused: queue_timeout
 *        │               └── the client left ──────────────────► forgotten
 *        └── too many wait already ────────────────────────────► refused: queue_full
 *
 * Of a request that waits only the head is held, and what its connection or stream takes by itself: no body is read. Nothing here
 * is on the way of a request that finds a member.
 */
import type { Clock } from '../clock.ts'
import type { WakeConfig } from '../config/config.ts'
import { Place, Waitlist } from './resilience/waitlist.ts'

/** How often a loop with waiters looks whether somebody serves. */
const lookMs = 5
/** How often control is told again: an operation may have failed, or the demand come while the last instance was leaving. */
const tellEveryMs = 250

export interface WakeClient {
  /** Somebody serves: it picks again, and may have to wait anew. */
  woken(): void
  unwoken(code: 'queue_full' | 'queue_timeout', reason: string): void
}

export interface WakingDeps {
  readonly clock: Clock
  /** How many threads share the bound on waiters. */
  readonly threads: number
  /** Somebody takes new clients there now. */
  readonly serves: (cluster: string) => boolean
  /** Tells control who is waited for. */
  readonly tell: (wanted: readonly Wanted[]) => void
}

export interface Wanted {
  readonly cluster: string
  /** On this event loop. */
  readonly waiting: number
}

export class Waking {
  readonly #deps: WakingDeps
  #threads: number
  readonly #lists = new Map<string, Waitlist<WakeClient>>()
  /** Who was let go and finds nobody waits no longer than at first. */
  readonly #deadlines = new WeakMap<WakeClient, number>()
  #cancel: (() => void) | null = null
  #toldMs = 0

  constructor(deps: WakingDeps) {
    this.#deps = deps
    this.#threads = deps.threads
  }

  /** Among so many threads the bound is shared from now on. */
  share(threads: number): void {
    this.#threads = threads
  }

  /** Returns what forgets the client. It is refused at once, within this call, where too many wait or its time is over. */
  wait(cluster: string, config: WakeConfig, client: WakeClient): () => void {
    const nowMs = this.#deps.clock.monotonic()
    const deadlineMs = this.#deadlines.get(client) ?? nowMs + config.waitTimeoutMs
    const list = this.#lists.get(cluster) ?? new Waitlist<WakeClient>()
    const most = Math.max(1, Math.ceil(config.maxWaiting / Math.max(1, this.#threads)))
    if (deadlineMs <= nowMs) this.#late(client)
    else if (list.length >= most) client.unwoken('queue_full', full)
    else {
      this.#deadlines.set(client, deadlineMs)
      const place = new Place(client, deadlineMs)
      list.add(place)
      this.#lists.set(cluster, list)
      this.#watch(list.length === 1)
      return () => {
        place.list?.remove(place)
      }
    }
    return () => {}
  }

  /** The loop ends: nobody waits any more. */
  close(): void {
    this.#cancel?.()
    this.#cancel = null
    this.#lists.clear()
  }

  /** `anew`: the first of its cluster. */
  #watch(anew: boolean): void {
    this.#cancel ??= this.#deps.clock.every(lookMs, () => this.#look())
    if (anew) this.#tell()
  }

  #look(): void {
    const nowMs = this.#deps.clock.monotonic()
    for (const [cluster, list] of this.#lists) {
      if (list.length > 0 && this.#deps.serves(cluster)) letGo(list)
      for (let place = list.first; place !== null && place.deadlineMs <= nowMs; place = list.first) {
        list.remove(place)
        this.#late(place.who)
      }
      if (list.length === 0) this.#lists.delete(cluster)
    }
    if (this.#lists.size === 0) {
      this.#cancel?.()
      this.#cancel = null
    } else if (nowMs - this.#toldMs >= tellEveryMs) this.#tell()
  }

  #late(client: WakeClient): void {
    client.unwoken('queue_timeout', late)
  }

  #tell(): void {
    this.#toldMs = this.#deps.clock.monotonic()
    this.#deps.tell([...this.#lists].map(([cluster, { length }]) => ({ cluster, waiting: length })))
  }
}

/** Whether a request that finds nobody waits. One that failed may be sent again, or it would not look for a member any more. */
export function waits({ afterFailure }: WakeConfig, sent: boolean, failed: boolean): boolean {
  return failed ? afterFailure === true : !sent
}

/** Those who are there now: who comes to wait again stands behind. */
function letGo(list: Waitlist<WakeClient>): void {
  for (let left = list.length; left > 0; left--) {
    const place = list.first
    if (place === null) return
    list.remove(place)
    place.who.woken()
  }
}

const full = 'The service is being started, and too many wait for it. Try again shortly.'
const late = 'The service could not be started in time. Try again shortly.'
