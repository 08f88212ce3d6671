/**
 * The operations that this process works on. A cluster has room for one at a time, and beside it for a rolling replace, which does
 * nothing by itself but to have ordinary ones done.
 */
import type { OperationRecord } from '../store/store.ts'
import type { Run } from './runner.ts'

/** `driven` resolves when it ended or stands still, and never rejects; null: it waits for `recover`. */
export interface Active {
  readonly run: Run
  driven: Promise<void> | null
}

type Whose = Pick<OperationRecord, 'cluster' | 'type'>

export class UnderWay {
  readonly #ordinary = new Map<string, Active>()
  readonly #rolling = new Map<string, Active>()

  add(run: Run): Active {
    const active = { run, driven: null }
    this.#place(run.record).set(run.record.cluster, active)
    return active
  }

  /** Where it has its place only. */
  drop(run: Run): void {
    const { record } = run
    if (this.#place(record).get(record.cluster)?.run === run) this.#place(record).delete(record.cluster)
  }

  /** The place that an operation would have is taken. */
  taken(record: Whose): boolean {
    return this.#place(record).has(record.cluster)
  }

  ordinary(cluster: string): OperationRecord | null {
    return this.#ordinary.get(cluster)?.run.record ?? null
  }

  rolling(cluster: string): OperationRecord | null {
    return this.#rolling.get(cluster)?.run.record ?? null
  }

  get(id: string): Active | null {
    return this.all().find(({ run }) => run.record.id === id) ?? null
  }

  all(): readonly Active[] {
    return [...this.#ordinary.values(), ...this.#rolling.values()]
  }

  #place({ type }: Whose): Map<string, Active> {
    return type === 'rolling_replace' ? this.#rolling : this.#ordinary
  }
}
