/**
 * Counters of the data plane, in shared memory: each thread adds in its own column, control adds the columns up when
 * somebody asks. No labels, no maps and no locks where traffic passes: an increment is one load and one store.
 *
 *   lock words, columns in use │ column of thread 0: [thread facts][row 0][row 1] … │ column of thread 1: … │ room for more
 *
 * A row belongs to a cluster (`CounterRows` says which); row 0 counts what was refused before it was routed.
 *
 * No cell has two writers, so nothing needs to be atomic but the single store. All cells are doubles: they count exactly up
 * to 2^53, and on the processors that Node supports with 64 bits an aligned double is written in one piece.
 */
import { strict as assert } from 'node:assert'
import { threadsMax } from '../../cluster/board.ts'
import { type ErrorCode, errorTable } from '../../errors.ts'
import { Baton } from './baton.ts'
import { type Ending, endingList } from './ending.ts'
import { bucketCount, bucketOf } from './histogram.ts'

/** Rows, the first of which is nobody's: room for 1,000 clusters, and for some that a reload took away. */
export const rowsMax = 1_024

/** `class` 0: no answer was sent. */
const statusClasses = 6
const statusAt = 0
const endingAt = statusAt + statusClasses
const errorAt = endingAt + endingList.length
const errorList = Object.keys(errorTable) as readonly ErrorCode[]
const plainAt = errorAt + errorList.length

/** What a row counts besides statuses, endings, errors and times. */
export const rowCounters = [
  'bytesIn',
  'bytesOut',
  'attempts',
  'retries',
  'hedges',
  'mirrored',
  'mirrorsDropped',
  'splitFallbacks',
  'tunnelsOpened',
] as const
export type RowCounter = (typeof rowCounters)[number]

const durationAt = plainAt + rowCounters.length
/** Buckets, then the sum in milliseconds. */
const headAt = durationAt + bucketCount + 1
const rowUsed = headAt + bucketCount + 1
/** Whole cache lines. */
const rowCells = Math.ceil(rowUsed / 8) * 8

const threadGauges = ['loopUtilization', 'loopDelayMs', 'heapBytes', 'externalBytes'] as const

/** Facts of a thread. The gauges say what is; the others only grow. */
export const threadFacts = [
  'connectionsAccepted',
  'connectionsClosed',
  'connectionsRefused',
  'tlsFull',
  'tlsResumed',
  'tlsFailed',
  'logLines',
  'logDropped',
  'spansSent',
  'spansDropped',
  ...threadGauges,
] as const
export type ThreadFact = (typeof threadFacts)[number]

const threadCells = Math.ceil(threadFacts.length / 8) * 8
const columnCells = threadCells + rowsMax * rowCells
/** Words before the columns, on a cache line of their own: the one baton of the access log, and how many columns are in use. */
const lockBytes = 64
const logBatonWord = 0
const columnsWord = 1

const factIndex = indexed(threadFacts)
const counterIndex = indexed(rowCounters)
const endingIndex = indexed(endingList)
const errorIndex = indexed(errorList)

export interface CountersBuffer {
  readonly sab: SharedArrayBuffer
}

/** A row over all threads. */
export interface RowTotals {
  /** By class: 0 (none), 1 … 5. */
  readonly statuses: readonly number[]
  readonly endings: Readonly<Record<Ending, number>>
  readonly errors: Readonly<Record<ErrorCode, number>>
  readonly counters: Readonly<Record<RowCounter, number>>
  readonly duration: HistogramTotals
  readonly head: HistogramTotals
}

export interface HistogramTotals {
  /** Not cumulative; as many as `bucketBounds`, and one more. */
  readonly buckets: readonly number[]
  readonly sumMs: number
}

export class Counters {
  readonly buffer: CountersBuffer
  readonly #cells: Float64Array
  readonly #locks: Int32Array

  constructor(buffer: CountersBuffer) {
    this.buffer = buffer
    this.#cells = new Float64Array(buffer.sab, lockBytes)
    this.#locks = new Int32Array(buffer.sab, 0, lockBytes / 4)
  }

  /** With `threads` columns in use and room for `most`. */
  static create(threads: number, most: number = threads): Counters {
    const columns = Math.max(1, threads, most)
    assert(columns <= threadsMax, `at most ${threadsMax} threads`)
    // Pages that nobody counts in are never touched, and cost no memory.
    const counters = new Counters({ sab: new SharedArrayBuffer(lockBytes + columns * columnCells * 8) })
    counters.widen(Math.max(1, threads))
    return counters
  }

  /** In use; those of threads that have left still count. */
  get columns(): number {
    return Atomics.load(this.#locks, columnsWord)
  }

  /** Control, before a thread counts in a new column. */
  widen(columns: number): void {
    assert(columns * columnCells <= this.#cells.length, 'no room for so many threads')
    Atomics.store(this.#locks, columnsWord, Math.max(columns, this.columns))
  }

  /** What thread `thread` counts with. */
  column(thread: number): CounterColumn {
    assert(thread < this.columns, 'a column for each thread')
    return new CounterColumn(this.#cells.subarray(thread * columnCells, (thread + 1) * columnCells))
  }

  /** Who has it may write to the access log. */
  logBaton(thread: number): Baton {
    return new Baton(this.#locks, logBatonWord, thread)
  }

  row(row: number): RowTotals {
    const sums = new Array<number>(rowUsed).fill(0)
    const { columns } = this
    for (let thread = 0; thread < columns; thread++) {
      const start = thread * columnCells + threadCells + row * rowCells
      for (let i = 0; i < rowUsed; i++) sums[i]! += this.#cells[start + i]!
    }
    const histogram = (at: number): HistogramTotals => ({
      buckets: sums.slice(at, at + bucketCount),
      sumMs: sums[at + bucketCount]!,
    })
    return {
      statuses: sums.slice(statusAt, statusAt + statusClasses),
      endings: named(endingList, sums, endingAt),
      errors: named(errorList, sums, errorAt),
      counters: named(rowCounters, sums, plainAt),
      duration: histogram(durationAt),
      head: histogram(headAt),
    }
  }

  /** One thread's own facts: gauges do not add up. */
  thread(thread: number): Readonly<Record<ThreadFact, number>> {
    const start = thread * columnCells
    return named(threadFacts, this.#cells, start)
  }

  /** Control, after a thread died: its connections are closed, its gauges nothing, and it writes no log. */
  wipeThread(thread: number): void {
    const start = thread * columnCells
    this.#cells[start + factIndex.connectionsClosed] = this.#cells[start + factIndex.connectionsAccepted]!
    for (const gauge of threadGauges) this.#cells[start + factIndex[gauge]] = 0
    this.logBaton(thread).give()
  }

  /** Control, before a row counts for another cluster. A thread that still counts for the old one may be lost a count. */
  clearRow(row: number): void {
    const { columns } = this
    for (let thread = 0; thread < columns; thread++) {
      const start = thread * columnCells + threadCells + row * rowCells
      this.#cells.fill(0, start, start + rowCells)
    }
  }
}

/** One thread's column: the only writer of its cells. */
export class CounterColumn {
  readonly #cells: Float64Array

  constructor(cells: Float64Array) {
    this.#cells = cells
  }

  add(row: number, counter: RowCounter, n: number): void {
    this.#cells[threadCells + row * rowCells + plainAt + counterIndex[counter]]! += n
  }

  /** An exchange or a tunnel is over. */
  over(row: number, status: number, ended: Ending, error: ErrorCode | null, durationMs: number): void {
    const cells = this.#cells
    const start = threadCells + row * rowCells
    cells[start + statusAt + (status < 600 ? (status / 100) | 0 : statusClasses - 1)]! += 1
    cells[start + endingAt + endingIndex[ended]]! += 1
    if (error !== null) cells[start + errorAt + errorIndex[error]]! += 1
    const bucket = start + durationAt + bucketOf(durationMs)
    cells[bucket]! += 1
    cells[start + durationAt + bucketCount]! += durationMs
  }

  /** From the request's head to the head of the backend's answer. */
  head(row: number, ms: number): void {
    const start = threadCells + row * rowCells + headAt
    this.#cells[start + bucketOf(ms)]! += 1
    this.#cells[start + bucketCount]! += ms
  }

  fact(fact: ThreadFact, n: number): void {
    this.#cells[factIndex[fact]]! += n
  }

  gauge(fact: (typeof threadGauges)[number], value: number): void {
    this.#cells[factIndex[fact]] = value
  }
}

function indexed<Name extends string>(names: readonly Name[]): Readonly<Record<Name, number>> {
  return Object.fromEntries(names.map((name, i) => [name, i])) as Record<Name, number>
}

function named<Name extends string>(
  names: readonly Name[],
  values: ArrayLike<number>,
  at: number,
): Readonly<Record<Name, number>> {
  return Object.fromEntries(names.map((name, i) => [name, values[at + i]!])) as Record<Name, number>
}
