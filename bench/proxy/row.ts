/** What a row of the bench is, and what it hands back. @pure */
import type { Figure } from './figures.ts'
import type { Settings } from './options.ts'

/** What one round measured: metric → number. */
export type Sample = Readonly<Record<string, number>>

/** A column of a row's table. */
export interface Column {
  readonly metric: string
  readonly label: string
  readonly digits: number
}

/** One line of a row's table: a subject, or a variant of one. */
export interface LaneResult {
  readonly name: string
  /** `HAProxy 2.6.12` */
  readonly version: string
  readonly rounds: readonly Sample[]
  /** Why its numbers count for nothing. */
  readonly faults: readonly string[]
  /** What a reader should know of its numbers. */
  readonly notes: readonly string[]
}

export interface LeftOut {
  readonly name: string
  readonly why: string
}

export interface RowResult {
  readonly id: string
  readonly title: string
  /** What was done, in words and with the command of the load. */
  readonly load: string
  readonly columns: readonly Column[]
  readonly lanes: readonly LaneResult[]
  readonly leftOut: readonly LeftOut[]
  readonly figures: readonly Figure[]
  /** The metric that the plot shows; null: the row is not in the plot. */
  readonly plotted: string | null
}

export interface Row {
  readonly id: string
  readonly title: string
  run(bench: Bench): Promise<RowResult>
}

/** What every row is given. */
export interface Bench {
  readonly settings: Settings
  /** A directory of this run, removed at its end. */
  readonly scratch: string
  readonly origin: OriginPorts
  readonly certificate: { readonly cert: string; readonly key: string; readonly bundle: string }
  /** Progress, for people. */
  say(line: string): void
}

export interface OriginPorts {
  readonly port: number
  /** Speaks WebSocket and sends every message back. */
  readonly echoPort: number
  /** Connections accepted and requests served since the start. */
  counts(): Promise<{ readonly connections: number; readonly requests: number }>
}

export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memoryGiB: number
  readonly system: string
  /** Each side had cores of its own. */
  readonly pinned: boolean
}

/** A whole run. */
export interface BenchResult {
  readonly at: string
  readonly command: string
  readonly machine: Machine
  /** Of everything that took part. */
  readonly versions: Readonly<Record<string, string>>
  readonly settings: Settings
  readonly rows: readonly RowResult[]
}
