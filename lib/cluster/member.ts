/**
 * A member: one backend as a data-plane thread sees it. Its identity is frozen in the table, its live facts are on the board.
 * Nothing is counted twice: the board's cells are the only counters there are.
 */
import type { UpstreamTlsConfig } from '../config/config.ts'
import type { Board, Eligibility } from './board.ts'
import type { TableMember } from './table.ts'

/**
 * How an exchange ended for the member's own record. `ok`: any answer below 500. `server_error`: a 5xx of the backend itself.
 * `failed`: no connection, a reset, a timeout, an answer that is not one. `aborted`: the client left, or we did: it says
 * nothing of the member.
 */
export type MemberOutcome = 'ok' | 'server_error' | 'failed' | 'aborted'

const failureMsMin = 1_000
const failureMsMax = 60_000

export class Member {
  // What a pick looks at comes first: an object lies in memory in this order, and of ten thousand each line of it is far away.
  readonly weight: number
  readonly slot: number
  readonly epoch: number
  readonly #board: Board
  readonly #thread: number
  /** Failures since the last exchange that went well, as this thread saw them. */
  #row = 0
  readonly #now: (() => number) | null
  /** What its answers take is kept, for `peak_ewma`. */
  readonly timed: boolean
  readonly id: string
  readonly incarnation: string
  readonly host: string
  readonly port: number
  readonly zone: string | null
  /** Null: it is spoken to in plain text, and never otherwise. */
  readonly tls: UpstreamTlsConfig | null

  /** `now`: wall clock, milliseconds; null where nobody asks what its answers take. */
  constructor(
    data: TableMember,
    board: Board,
    thread: number,
    now: (() => number) | null = null,
    tls: UpstreamTlsConfig | null = null,
  ) {
    this.id = data.id
    this.incarnation = data.incarnation
    this.host = data.host
    this.port = data.port
    this.weight = data.weight
    this.zone = data.zone ?? null
    this.tls = tls
    this.slot = data.slot
    this.epoch = data.epoch
    this.timed = now !== null
    this.#board = board
    this.#thread = thread
    this.#now = now
  }

  eligibility(): Eligibility {
    return this.#board.eligibility(this.slot, this.epoch)
  }

  /**
   * Counts an exchange in and then asks again whether the member admits it (`bound`: a client that is bound to it).
   * False: it was closed in between, nothing is counted, pick another.
   */
  enter(bound: boolean): boolean {
    this.#board.add(this.#thread, this.slot, 'inFlight', 1)
    const eligibility = this.eligibility()
    if (eligibility === 'any' || eligibility === 'spare' || (bound && eligibility === 'bound')) {
      this.#board.add(this.#thread, this.slot, 'started', 1)
      return true
    }
    this.#board.add(this.#thread, this.slot, 'inFlight', -1)
    return false
  }

  /** `latencyMs`: from the request sent to the head of its answer; left out or negative where there was none. */
  leave(outcome: MemberOutcome, latencyMs = -1): void {
    // First: once nothing is in flight its place on the board may pass to another.
    if (this.#now !== null) this.#noteLatency(outcome, latencyMs, this.#now())
    this.#board.add(this.#thread, this.slot, 'inFlight', -1)
    if (outcome === 'ok') this.#row = 0
    else this.#spoiled(outcome)
  }

  /** A failure without an answer counts as a slow one, twice as slow each time: who refuses at once must not look fast. */
  #noteLatency(outcome: MemberOutcome, latencyMs: number, nowMs: number): void {
    if (latencyMs < 0 && outcome !== 'failed') return
    const tookMs = latencyMs >= 0 ? latencyMs : this.#failureMs(nowMs)
    this.#board.noteLatency(this.#thread, this.slot, tookMs * 1000, nowMs)
  }

  #failureMs(nowMs: number): number {
    return Math.min(failureMsMax, Math.max(failureMsMin, 2 * this.latencyMs(nowMs, false)))
  }

  #spoiled(outcome: Exclude<MemberOutcome, 'ok'>): void {
    if (outcome === 'aborted') return this.#board.add(this.#thread, this.slot, 'aborted', 1)
    this.#board.add(this.#thread, this.slot, outcome === 'failed' ? 'failed' : 'serverErrors', 1)
    this.#board.noteRow(this.#thread, this.slot, ++this.#row)
  }

  /** The exchange became a tunnel: it is counted there from now on. */
  becomeTunnel(): void {
    this.#row = 0
    this.#board.add(this.#thread, this.slot, 'tunnels', 1)
    this.#board.add(this.#thread, this.slot, 'inFlight', -1)
  }

  leaveTunnel(): void {
    this.#board.add(this.#thread, this.slot, 'tunnels', -1)
  }

  /** Exchanges and tunnels on it now, over all threads. */
  load(): number {
    return this.#board.underWay(this.slot)
  }

  /** How long it has served since it was registered or came back; infinite where nobody noted when. */
  servedMs(nowMs: number): number {
    return this.#board.servedMs(this.slot, nowMs)
  }

  /** What its answers take, over all threads; see `Board.latency`. */
  latencyMs(nowMs: number, busy: boolean): number {
    return this.#board.latency(this.slot, nowMs, busy) / 1000
  }
}
