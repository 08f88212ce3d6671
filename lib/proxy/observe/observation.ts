/**
 * The control side of what the data plane tells: the counters of all threads, which row is whose, and what threads are told to do.
 * Threads have an `Observer` each.
 */
import { randomBytes } from 'node:crypto'
import type { Prepared } from '../plane-settings.ts'
import { CounterRows, type Rows } from './counter-rows.ts'
import { Counters } from './counters.ts'
import { prepareStandardOutput } from './log-file.ts'
import type { ObserveInit, ObserveSettings, ObserveUpdate } from './observer.ts'

export class Observation {
  readonly counters: Counters
  readonly #rows: CounterRows
  readonly #instanceId = randomBytes(8).toString('hex')
  #settings: ObserveSettings
  #tell: (update: ObserveUpdate) => void = () => {}

  /** A whole configuration will do as settings. `most`: threads that there may ever be. */
  constructor(threads: number, settings: ObserveSettings, most: number = threads) {
    this.counters = Counters.create(threads, most)
    this.#rows = new CounterRows(row => this.counters.clearRow(row))
    this.#settings = this.#taken(settings)
  }

  /** Called with what every thread has to be told, when it has changed. */
  onChange(tell: (update: ObserveUpdate) => void): void {
    this.#tell = tell
  }

  /** Before a table with these clusters is published: a cluster that is new gets its row first. */
  assign(clusters: readonly { readonly id: string }[]): void {
    const before = this.#rows.current()
    if (clusters.length === before.size && clusters.every(({ id }) => before.has(id))) return
    this.#rows.assign(clusters.map(({ id }) => id))
    this.#tell(this.#update())
  }

  /** Cluster id → row, of now. */
  rows(): Rows {
    return this.#rows.current()
  }

  /** For a thread that starts. */
  init(): ObserveInit {
    return { ...this.#update(), counters: this.counters.buffer, instanceId: this.#instanceId }
  }

  /** Its part of a reload. Files that stay the same are opened anew by it. */
  async prepare(settings: ObserveSettings): Promise<Prepared> {
    const commit = async () => {
      this.#settings = this.#taken(settings)
      this.#tell(this.#update())
    }
    return { commit, undo: async () => {} }
  }

  /** A reload that changes nothing: whoever moved the log away may have asked for it. */
  async look(): Promise<void> {
    this.#tell(this.#update())
  }

  threadGone(thread: number): void {
    this.counters.wipeThread(thread)
  }

  #update(): ObserveUpdate {
    return { ...this.#settings, rows: new Map(this.#rows.current()) }
  }

  #taken({ accessLog, tracing }: ObserveSettings): ObserveSettings {
    if (accessLog?.path === '-') prepareStandardOutput()
    return { accessLog, tracing }
  }
}
