/**
 * What operations came to since the process began: how long they and their phases took, how they ended, how often something was tried
 * again or taken back. Kept by the journal as it writes; read by `/metrics`. @pure
 */
import type { JournalEntry, OperationRecord } from '../store/store.ts'
import { phaseOfStep, trace, triedAgain } from './phase.ts'

/** Upper bounds of the buckets, seconds: from a clone on this machine to a drain that takes its time. */
const tallyBounds = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600] as const

const msPerSecond = 1_000

export interface Durations {
  /** Upper bounds of the buckets, seconds. */
  readonly bounds: readonly number[]
  /** One more than there are bounds. Not cumulative. */
  readonly buckets: readonly number[]
  readonly sumSeconds: number
}

/** One row of a counter or a histogram, by its labels. */
export interface Tallied<T> {
  readonly labels: Readonly<Record<string, string>>
  readonly value: T
}

class Histograms {
  readonly #rows = new Map<
    string,
    { labels: Record<string, string>; buckets: number[]; sumSeconds: number }
  >()

  add(labels: Record<string, string>, ms: number): void {
    const key = JSON.stringify(labels)
    let row = this.#rows.get(key)
    if (!row) {
      row = { labels, buckets: Array.from({ length: tallyBounds.length + 1 }, () => 0), sumSeconds: 0 }
      this.#rows.set(key, row)
    }
    const seconds = Math.max(0, ms) / msPerSecond
    const bucket = tallyBounds.findIndex(bound => seconds <= bound)
    row.buckets[bucket < 0 ? tallyBounds.length : bucket]!++
    row.sumSeconds += seconds
  }

  rows(): readonly Tallied<Durations>[] {
    return [...this.#rows.values()].map(({ labels, ...value }) => ({
      labels,
      value: { ...value, bounds: tallyBounds },
    }))
  }
}

class Counters {
  readonly #rows = new Map<string, { labels: Record<string, string>; value: number }>()

  add(labels: Record<string, string>, value = 1): void {
    const key = JSON.stringify(labels)
    const row = this.#rows.get(key)
    if (row) row.value += value
    else this.#rows.set(key, { labels, value })
  }

  rows(): readonly Tallied<number>[] {
    return [...this.#rows.values()]
  }
}

export class Tally {
  readonly operations = new Counters()
  readonly durations = new Histograms()
  readonly phases = new Histograms()
  readonly retries = new Counters()
  readonly rollbacks = new Counters()
  readonly stuck = new Counters()
  readonly orphans = new Counters()

  /** An entry that was written. */
  written({ cluster, type }: OperationRecord, journal: readonly JournalEntry[]): void {
    const entry = journal.at(-1)!
    if (entry.kind === 'failed' && triedAgain(entry))
      this.retries.add({ type, phase: phaseOfStep(entry.step) ?? 'unknown' })
    if (entry.kind === 'revert_failed') this.retries.add({ type, phase: 'rolling_back' })
    if (entry.kind === 'stuck') this.stuck.add({ cluster, type })
  }

  /** Of an operation that has ended, with whatever a former process did of it. */
  ended(record: OperationRecord, journal: readonly JournalEntry[]): void {
    const { cluster, type, outcome, createdAtMs, endedAtMs } = record
    this.operations.add({ cluster, type, outcome: outcome ?? 'failed' })
    this.durations.add({ type }, (endedAtMs ?? createdAtMs) - createdAtMs)
    const spans = trace(record, journal)
    if (spans.some(({ phase }) => phase === 'rolling_back')) this.rollbacks.add({ cluster, type })
    for (const [index, { phase, fromMs }] of spans.entries()) {
      const next = spans[index + 1]
      if (next) this.phases.add({ type, phase }, next.fromMs - fromMs)
    }
  }
}
