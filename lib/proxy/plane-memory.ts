/**
 * What the event loops share: the board, and the memory of limits and counters. Each loop has what a table needs of it before the
 * table, and a column of its own before it is made.
 */
import { randomBytes } from 'node:crypto'
import type { Clock } from '../clock.ts'
import { type Board, threadsMax } from '../cluster/board.ts'
import type { TableData } from '../cluster/table.ts'
import type { DataPlaneInit, ToThread } from './messages.ts'
import { Observation } from './observe/observation.ts'
import type { ObserveSettings } from './observe/observer.ts'
import { type SharedData, SharedLimits, sweepEveryMs } from './resilience/shared-limits.ts'

/** For those who embed a data plane and say nothing of it. */
export const unobserved: ObserveSettings = {
  accessLog: null,
  tracing: { propagate: true, generate: 'auto', sample: 1, otlp: null },
}

/** How many columns there is to be room for: a reload may start threads where there are any. */
export const columnsMax = (threads: number): number => (threads === 0 ? 1 : threadsMax)

export interface PlaneMemoryDeps {
  readonly threads: number
  readonly board: Board
  readonly clock: Clock
  /** Left out: nobody reads the counters. */
  readonly observation?: Observation
}

export class PlaneMemory {
  readonly #board: Board
  readonly #limits: SharedLimits
  readonly #observation: Observation
  readonly #cancelSweep: () => void
  /** What each loop was sent last. */
  readonly #sent = new WeakMap<object, SharedData>()

  constructor({ threads, board, clock, observation }: PlaneMemoryDeps, tell: (message: ToThread) => void) {
    this.#board = board
    this.#limits = new SharedLimits(Math.max(1, threads), randomBytes, columnsMax(threads))
    this.#cancelSweep = clock.every(sweepEveryMs, () => this.#limits.sweep(clock.now()))
    this.#observation = observation ?? new Observation(threads, unobserved, columnsMax(threads))
    this.#observation.onChange(update => tell({ type: 'observe', update }))
  }

  /** For a loop that starts with this table. */
  init(table: TableData): Pick<DataPlaneInit, 'limits' | 'observe'> {
    this.#observation.assign(table.clusters)
    return { limits: this.#limits.of(table), observe: this.#observation.init() }
  }

  /** Before this table is sent to anybody. */
  assign(table: TableData): void {
    this.#observation.assign(table.clusters)
  }

  /** Before this table is sent to this loop. */
  sendAhead(loop: { send(message: ToThread): void }, table: TableData): void {
    const limits = this.#limits.of(table)
    if (this.#sent.get(loop) === limits) return
    this.#sent.set(loop, limits)
    loop.send({ type: 'limits', limits })
  }

  /** Before a loop of that number is made: it counts in a column of its own. */
  widen(thread: number): void {
    this.#board.widen(thread + 1)
    this.#limits.widen(thread + 1)
    this.#observation.counters.widen(thread + 1)
  }

  /** What the loop held is gone with it. */
  gone(thread: number): void {
    this.#board.wipeThread(thread)
    this.#limits.wipeThread(thread)
    this.#observation.threadGone(thread)
  }

  close(): void {
    this.#cancelSweep()
  }
}
