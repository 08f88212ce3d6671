/**
 * The limits of one cluster on one event loop: how much may be inside at once over all threads, and who waits for a place.
 *
 *               room, and nobody waits
 *   arrival ────────────────────────────► inside ── leave, or a tunnel ends ──► out
 *      │ no room                         ▲   │
 *      ├──► refused: circuit_open,       │   │ every member that would do is full (`waitForMember`)
 *      │            queue_full           │   ▼
 *      └──────────► waiting ─────────────┴─ held ──► refused: queue_timeout
 *                      └── client left: withdrawn ──┘
 *
 * First come, first served: over threads too, since the loop that frees a place looks whose first waiter came first, and rings there if
 * that is not its own. A loop with waiters also looks by itself every few milliseconds and then takes what is free: a ring that got lost,
 * two that stepped back for each other, or a thread that hangs cost one look and never a place.
 * Who waits for a member stands aside, so that who could be served elsewhere is not kept behind.
 */
import type { Clock } from '../../clock.ts'
import type { LimitsConfig } from '../../config/config.ts'
import type { Bell } from './bell.ts'
import type { CircuitBoard } from './circuit-board.ts'
import { Place, Waitlist } from './waitlist.ts'

/** How often a loop with waiters looks by itself. */
const lookMs = 5
/** Waiters of either kind that may be tried in vain for a place that became free: each may ask a balancer. */
const triesMax = 8

export type CircuitRefusal = 'circuit_open' | 'queue_full'

/** Who waits. */
export interface CircuitClient {
  /** A place is held for it. False: it still cannot be served (every member that would do is full); it waits on, without the place. */
  admitted(): boolean
  /** It waited too long, and waits no more. */
  refused(code: 'queue_timeout'): void
}

export type Waiting = Place<CircuitClient>

export interface CircuitsDeps {
  readonly board: CircuitBoard
  readonly thread: number
  readonly clock: Clock
  readonly bell: Bell
}

/** All circuits of one event loop that have waiters: one tick and one bell for them together. */
export class Circuits {
  readonly deps: CircuitsDeps
  readonly #busy = new Set<Circuit>()
  #cancel: (() => void) | null = null
  #closed = false

  constructor(deps: CircuitsDeps) {
    this.deps = deps
  }

  /** Somebody begins to wait there. */
  watch(circuit: Circuit): void {
    if (this.#closed) return
    this.#busy.add(circuit)
    this.deps.bell.listen(() => this.#look())
    this.#cancel ??= this.deps.clock.every(lookMs, () => this.#look())
  }

  /** Nobody is served any more: the loop ends. */
  close(): void {
    this.#closed = true
    this.#cancel?.()
    this.#cancel = null
    this.deps.bell.close()
  }

  #look(): void {
    for (const circuit of this.#busy) if (!circuit.look()) this.#busy.delete(circuit)
    if (this.#busy.size > 0 || this.#cancel === null) return
    this.#cancel()
    this.#cancel = null
  }
}

export class Circuit {
  readonly #all: Circuits
  readonly #board: CircuitBoard
  readonly #thread: number
  readonly #index: number
  readonly #waiting = new Waitlist<CircuitClient>()
  readonly #held = new Waitlist<CircuitClient>()
  #limits: LimitsConfig
  #serving = false
  /** Who of `held` is asked next; null: the first. */
  #turn: Waiting | null = null

  /** `index`: the cluster's place on the circuit board. */
  constructor(all: Circuits, index: number, limits: LimitsConfig) {
    this.#all = all
    this.#board = all.deps.board
    this.#thread = all.deps.thread
    this.#index = index
    this.#limits = limits
  }

  get limits(): LimitsConfig {
    return this.#limits
  }

  /** How many wait here, on this loop. */
  get pending(): number {
    return this.#waiting.length + this.#held.length
  }

  /** Holds from now on; who waits keeps its own deadline. */
  setLimits(limits: LimitsConfig): void {
    this.#limits = limits
  }

  /** True: it is inside, and `leave` or `becomeTunnel` follows. False: `wait`. */
  enter(): boolean {
    if (this.#waiting.length > 0 || !this.#take()) return false
    if (this.#board.threads === 1 || this.#board.oldest(this.#index) === -1) return true
    // Somebody waits on another thread and was here before.
    this.#board.add(this.#thread, this.#index, 'requests', -1)
    return false
  }

  /** After `enter` said no. The place's owner is told, or withdraws it. */
  wait(client: CircuitClient): Waiting | CircuitRefusal {
    return this.#queue(client, this.#waiting)
  }

  /** Inside, but every member that would do is full: gives the place back and waits for a member. */
  waitForMember(client: CircuitClient): Waiting | CircuitRefusal {
    this.#board.add(this.#thread, this.#index, 'requests', -1)
    return this.#queue(client, this.#held)
  }

  /** The client is gone. Harmless when it was admitted or refused before. */
  withdraw(place: Waiting): void {
    if (place.list === this.#held) this.#remove(this.#held, place)
    else if (place.list === this.#waiting) this.#remove(this.#waiting, place)
  }

  leave(): void {
    this.#board.add(this.#thread, this.#index, 'requests', -1)
    this.#freed()
  }

  /** It counts as a connection only from now on; `leaveTunnel` follows. */
  becomeTunnel(): void {
    this.#board.add(this.#thread, this.#index, 'tunnels', 1)
    this.leave()
  }

  leaveTunnel(): void {
    this.#board.add(this.#thread, this.#index, 'tunnels', -1)
    this.#freed()
  }

  /** Ends the waits that took too long and serves what can be served. False: nobody waits any more. */
  look(): boolean {
    const nowMs = this.#all.deps.clock.monotonic()
    this.#expire(this.#waiting, nowMs)
    this.#expire(this.#held, nowMs)
    this.#serve()
    return this.pending > 0
  }

  /** Counts itself in, and out again when that is too many. */
  #take(): boolean {
    const { requests, connections } = this.#limits
    const board = this.#board
    board.add(this.#thread, this.#index, 'requests', 1)
    if (requests === 0 && connections === 0) return true
    const inside = board.total(this.#index, 'requests')
    if (
      (requests === 0 || inside <= requests) &&
      (connections === 0 || inside + board.total(this.#index, 'tunnels') <= connections)
    )
      return true
    board.add(this.#thread, this.#index, 'requests', -1)
    return false
  }

  #queue(client: CircuitClient, list: Waitlist<CircuitClient>): Waiting | CircuitRefusal {
    const { pending, queueTimeoutMs } = this.#limits
    if (pending === 0) return 'circuit_open'
    this.#board.add(this.#thread, this.#index, 'pending', 1)
    if (this.#board.total(this.#index, 'pending') > pending) {
      this.#board.add(this.#thread, this.#index, 'pending', -1)
      return 'queue_full'
    }
    const { clock } = this.#all.deps
    const place = new Place(client, clock.monotonic() + queueTimeoutMs)
    list.add(place)
    if (list === this.#waiting && list.first === place) this.#tellSince(clock.now())
    this.#all.watch(this)
    return place
  }

  #remove(list: Waitlist<CircuitClient>, place: Waiting): void {
    const wasFirst = list.first === place
    list.remove(place)
    this.#board.add(this.#thread, this.#index, 'pending', -1)
    if (list === this.#waiting && wasFirst) this.#tellFirst()
  }

  /** The first waiter is another one: when it came is its deadline less the wait. */
  #tellFirst(): void {
    const first = this.#waiting.first
    if (first === null) return this.#tellSince(null)
    const { clock } = this.#all.deps
    const waitedMs = this.#limits.queueTimeoutMs - (first.deadlineMs - clock.monotonic())
    this.#tellSince(clock.now() - waitedMs)
  }

  #tellSince(sinceMs: number | null): void {
    this.#board.setSince(this.#thread, this.#index, sinceMs)
  }

  #freed(): void {
    const oldest = this.#board.threads === 1 ? -1 : this.#board.oldest(this.#index)
    if (oldest !== -1 && oldest !== this.#thread) {
      this.#all.deps.bell.ring(oldest)
      return this.#serve('held')
    }
    if (this.pending > 0) this.#serve()
  }

  /** What leaves inside of `admitted` finds this at work: the loops below come to it, or the next look does. */
  #serve(only: 'held' | 'all' = 'all'): void {
    if (this.#serving) return
    this.#serving = true
    try {
      this.#serveHeld()
      if (only === 'all') this.#serveWaiting()
    } finally {
      this.#serving = false
    }
  }

  /** Those who wait for a member are asked in turn: which of them a place is good for is not known here. */
  #serveHeld(): void {
    let place = this.#turn?.list === this.#held ? this.#turn : this.#held.first
    // Each once at most: who is put back may come to stand behind.
    for (let left = Math.min(triesMax, this.#held.length); left > 0 && place !== null; left--) {
      const after: Waiting | null = place.after
      if (!this.#take()) break
      this.#remove(this.#held, place)
      if (!place.who.admitted()) this.#putBack(place)
      // The one behind may have left meanwhile: the next time begins anew.
      place = after?.list === this.#held ? after : null
    }
    this.#turn = place
  }

  #serveWaiting(): void {
    for (let left = triesMax; left > 0; ) {
      const place = this.#waiting.first
      if (place === null || !this.#take()) return
      this.#remove(this.#waiting, place)
      if (place.who.admitted()) continue
      this.#putBack(place)
      left--
    }
  }

  /** Its place is free again; it waits for a member now, no longer than before. */
  #putBack(place: Waiting): void {
    this.#board.add(this.#thread, this.#index, 'requests', -1)
    this.#board.add(this.#thread, this.#index, 'pending', 1)
    this.#held.add(place)
  }

  #expire(list: Waitlist<CircuitClient>, nowMs: number): void {
    for (let place = list.first; place !== null && place.deadlineMs <= nowMs; place = list.first) {
      this.#remove(list, place)
      place.who.refused('queue_timeout')
    }
  }
}
