/**
 * What happens, as data, for the event stream, the log and progress display. @pure
 * Every event is plain JSON in the wire's snake_case, stamped and numbered when it is published.
 */
export type TidegateEvent =
  | {
      readonly type: 'operation_started'
      readonly cluster: string
      readonly operation_id: string
      readonly operation: string
      readonly target: number | null
    }
  | {
      readonly type: 'operation_step'
      readonly cluster: string
      readonly operation_id: string
      readonly phase: string
      readonly step: string
      readonly status: string
      readonly detail: string | null
    }
  | {
      readonly type: 'operation_ended'
      readonly cluster: string
      readonly operation_id: string
      readonly outcome: string
      readonly error: { readonly code: string; readonly message: string } | null
    }
  /** It stands still until reality is mended or a person acknowledges it. */
  | {
      readonly type: 'operation_stuck'
      readonly cluster: string
      readonly operation_id: string
      readonly message: string
    }
  /** After an undo the cluster is not as it was before. */
  | {
      readonly type: 'rollback_differs'
      readonly cluster: string
      readonly operation_id: string
      readonly differences: readonly unknown[]
    }
  /** Repairs in a row did not last: they failed, or who they made, or who took a place, died soon. */
  | {
      readonly type: 'repairs_in_vain'
      readonly cluster: string
      readonly in_a_row: number
      readonly wanted: number
      /** Before the next. */
      readonly pause_ms: number
      /** Why the last failed; null: it went well, and its instances died. */
      readonly error: { readonly code: string; readonly message: string } | null
    }
  | {
      readonly type: 'backend_state'
      readonly cluster: string
      readonly backend: string
      readonly from: string | null
      readonly to: string | null
      readonly reason: string
    }
  | {
      readonly type: 'backend_health'
      readonly cluster: string
      readonly backend: string
      readonly from: string
      readonly to: string
      readonly reason: string
    }
  | {
      readonly type: 'cluster_panic'
      readonly cluster: string
      readonly panic: boolean
      /** Of its backends in rotation. */
      readonly well: number
      readonly degraded: number
      readonly backends: number
    }
  | {
      readonly type: 'node_state'
      readonly node: string
      readonly from: string
      readonly to: string
      readonly reason: string
    }
  | { readonly type: 'generation'; readonly generation: number; readonly members: number }
  | {
      readonly type: 'thread'
      readonly thread: number
      readonly status: 'started' | 'crashed' | 'replaced' | 'stopped'
      readonly detail: string | null
    }
  /** Certificate files that changed; `use` names the place of the configuration, as `listeners[0].tls`. */
  | {
      readonly type: 'tls'
      readonly use: string
      readonly status: 'renewed' | 'refused'
      readonly detail: string | null
    }
  /** The configuration was taken in anew, or `error` says why it was not and nothing changed. */
  | {
      readonly type: 'reloaded'
      readonly changes: readonly string[]
      readonly error: { readonly code: string; readonly message: string } | null
    }

export interface StampedEvent {
  readonly seq: number
  /** ISO 8601. */
  readonly at: string
  readonly event: TidegateEvent
}

/** A bounded fan-out: the newest `keep` events are kept for late subscribers, a subscriber that throws is dropped. */
export class Events {
  readonly #now: () => number
  readonly #keep: number
  readonly #subscribers = new Set<(event: StampedEvent) => void>()
  #recent: StampedEvent[] = []
  #seq = 0

  constructor(now: () => number, keep = 512) {
    this.#now = now
    this.#keep = keep
  }

  publish(event: TidegateEvent): void {
    const stamped = { seq: ++this.#seq, at: new Date(this.#now()).toISOString(), event }
    this.#recent.push(stamped)
    if (this.#recent.length > this.#keep) this.#recent = this.#recent.slice(-this.#keep)
    for (const subscriber of this.#subscribers) {
      try {
        subscriber(stamped)
      } catch {
        this.#subscribers.delete(subscriber)
      }
    }
  }

  /** Calls `fn` for each later event, and first for the kept ones after `since` (a `seq`) when given. Returns the way out. */
  subscribe(fn: (event: StampedEvent) => void, since?: number): () => void {
    if (since !== undefined) for (const event of this.#recent) if (event.seq > since) fn(event)
    this.#subscribers.add(fn)
    return () => this.#subscribers.delete(fn)
  }
}
