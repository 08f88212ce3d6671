/**
 * Who lives where on the board. A slot is given out with a new epoch each time, so that whatever still knows a former
 * tenant reads "admits nobody" from it.
 *
 * A slot comes back only when it shows nothing in flight after it was closed; until then it rests and is looked at again
 * when one is needed. Its gauges are then level, and are not cleared: an exchange of a former tenant that enters, sees
 * itself refused and steps back must find the count it left.
 */
import { strict as assert } from 'node:assert'
import { TidegateError } from '../errors.ts'
import { type Board, slotsMax } from './board.ts'

const epochMax = 2 ** 24 - 1

export interface Tenancy {
  readonly slot: number
  readonly epoch: number
}

export class Slots {
  readonly #board: Board
  readonly #limit: number
  /** By slot; of those that were never used there is none. */
  readonly #epochs: number[] = []
  /** Slots below this one have been used. */
  #used = 0
  /** Oldest first: a slot rests as long as possible. */
  readonly #free: number[] = []
  readonly #resting = new Set<number>()
  readonly #taken = new Set<number>()

  constructor(board: Board, limit = slotsMax) {
    assert(limit <= slotsMax)
    this.#board = board
    this.#limit = limit
  }

  /** Throws `no_capacity` when every slot is taken. The tenancy starts closed (`none`). */
  allocate(): Tenancy {
    const slot = this.#free.shift() ?? this.#fresh() ?? this.#rested()
    if (slot === undefined)
      throw new TidegateError('no_capacity', `at most ${this.#limit} backends can be registered at once`)
    const last = this.#epochs[slot] ?? 0
    const epoch = last >= epochMax ? 1 : last + 1
    this.#epochs[slot] = epoch
    this.#taken.add(slot)
    this.#board.forgetTenant(slot)
    this.#board.admit(slot, epoch, 'none')
    return { slot, epoch }
  }

  /** Closes the tenancy and takes the slot back, at once or as soon as nothing is in flight there. Twice is harmless. */
  release({ slot, epoch }: Tenancy): void {
    if (this.#epochs[slot] !== epoch || !this.#taken.delete(slot)) return
    this.#board.admit(slot, epoch, 'none')
    if (this.#quiet(slot)) this.#free.push(slot)
    else this.#resting.add(slot)
  }

  #fresh(): number | undefined {
    return this.#used < this.#limit ? this.#used++ : undefined
  }

  #rested(): number | undefined {
    for (const slot of this.#resting) {
      if (!this.#quiet(slot)) continue
      this.#resting.delete(slot)
      return slot
    }
    return undefined
  }

  #quiet(slot: number): boolean {
    return this.#board.total(slot, 'inFlight') === 0 && this.#board.total(slot, 'tunnels') === 0
  }
}
