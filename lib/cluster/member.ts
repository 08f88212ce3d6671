/**
 * A member: one backend as a data-plane thread sees it. Its identity is frozen in the table, its live facts are on the board.
 * Nothing is counted twice: the board's cells are the only counters there are.
 */
import type { Board, Eligibility } from './board.ts'
import type { TableMember } from './table.ts'

/** How an exchange ended for the member's own record. `aborted`: the client left, which says nothing of the member. */
export type MemberOutcome = 'ok' | 'failed' | 'aborted'

export class Member {
  readonly id: string
  readonly incarnation: string
  readonly host: string
  readonly port: number
  readonly weight: number
  readonly slot: number
  readonly epoch: number
  readonly #board: Board
  readonly #thread: number

  constructor(data: TableMember, board: Board, thread: number) {
    this.id = data.id
    this.incarnation = data.incarnation
    this.host = data.host
    this.port = data.port
    this.weight = data.weight
    this.slot = data.slot
    this.epoch = data.epoch
    this.#board = board
    this.#thread = thread
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
    if (eligibility === 'any' || (bound && eligibility === 'bound')) {
      this.#board.add(this.#thread, this.slot, 'started', 1)
      return true
    }
    this.#board.add(this.#thread, this.slot, 'inFlight', -1)
    return false
  }

  leave(outcome: MemberOutcome): void {
    this.#board.add(this.#thread, this.slot, 'inFlight', -1)
    if (outcome === 'failed') this.#board.add(this.#thread, this.slot, 'failed', 1)
  }

  /** The exchange became a tunnel: it is counted there from now on. */
  becomeTunnel(): void {
    this.#board.add(this.#thread, this.slot, 'tunnels', 1)
    this.#board.add(this.#thread, this.slot, 'inFlight', -1)
  }

  leaveTunnel(): void {
    this.#board.add(this.#thread, this.slot, 'tunnels', -1)
  }

  /** Exchanges and tunnels on it now, over all threads. */
  load(): number {
    return this.#board.total(this.slot, 'inFlight') + this.#board.total(this.slot, 'tunnels')
  }
}
