/**
 * What stands before each cluster on one event loop: its budget, hedging, circuit and rate limit, kept from one table to the next.
 * A cluster without limits has none of their parts, and its requests pay for none.
 */
import type { Clock } from '../../clock.ts'
import type { LimitsConfig, ResilienceConfig, RetriesConfig } from '../../config/config.ts'
import { openBell } from './bell.ts'
import { Budget } from './budget.ts'
import { Circuit, Circuits } from './circuit.ts'
import { CircuitBoard } from './circuit-board.ts'
import { Hedge } from './hedge.ts'
import { noLimits, plainResilience } from './plain.ts'
import { RateLimit } from './rate-limit.ts'
import type { ClusterShared, Guarded, SharedData } from './shared-limits.ts'

export interface Guard {
  readonly retries: RetriesConfig
  /** Null: no retry is configured that would need it. */
  readonly budget: Budget | null
  readonly hedge: Hedge | null
  readonly limits: LimitsConfig
  readonly circuit: Circuit | null
  readonly rate: RateLimit | null
}

/** For a table that came without shared memory. */
export const plainGuard: Guard = Object.freeze({
  retries: plainResilience.retries,
  budget: null,
  hedge: null,
  limits: noLimits,
  circuit: null,
  rate: null,
})

export class Guards {
  #threads: number
  readonly #clock: Clock
  readonly #circuits: Circuits
  #shared: SharedData
  #held = new Map<string, Guard>()

  constructor(shared: SharedData, thread: number, clock: Clock) {
    const board = new CircuitBoard(shared.circuits)
    this.#shared = shared
    this.#threads = board.threads
    this.#clock = clock
    this.#circuits = new Circuits({ board, thread, clock, bell: openBell(board, thread) })
  }

  /** Among so many loops it is divided from now on what is granted to all together. */
  share(threads: number): void {
    this.#threads = threads
    for (const { budget, retries } of this.#held.values()) budget?.grant(retries.budgetMinPerSecond / threads)
  }

  /** From control, before the table that needs it. */
  take(shared: SharedData): void {
    this.#shared = shared
  }

  /** After a table was built: those that are not in it are over. */
  keep(clusters: readonly Guarded[]): void {
    const kept = new Set(clusters.map(({ id }) => id))
    for (const [id, guard] of this.#held) {
      if (kept.has(id)) continue
      guard.hedge?.close()
      this.#held.delete(id)
    }
  }

  of(cluster: Guarded): Guard {
    const before = this.#held.get(cluster.id)
    const guard = this.#build(cluster, this.#shared.clusters[cluster.id], before)
    this.#held.set(cluster.id, guard)
    return guard
  }

  close(): void {
    this.#circuits.close()
    for (const { hedge } of this.#held.values()) hedge?.close()
  }

  #build({ resilience }: Guarded, shared: ClusterShared | undefined, before: Guard | undefined): Guard {
    const { retries, limits } = resilience
    const budget = this.#budget(resilience, before)
    const sameHedge = before?.hedge && before.budget === budget && same(before.hedge.config, resilience.hedge)
    if (!sameHedge) before?.hedge?.close()
    return Object.freeze({
      retries,
      budget,
      hedge: sameHedge
        ? before.hedge
        : resilience.hedge && budget && new Hedge(resilience.hedge, budget, this.#clock),
      limits,
      circuit: shared === undefined ? null : this.#circuit(limits, shared.circuit, before?.circuit ?? null),
      rate: shared === undefined ? null : rateOf(resilience.rateLimit, shared, before?.rate ?? null),
    })
  }

  #budget({ retries, hedge }: ResilienceConfig, before: Guard | undefined): Budget | null {
    const needed =
      hedge !== null ||
      retries.perTryTimeoutMs !== null ||
      retries.on.some(condition => condition !== 'connect' && condition !== 'reused')
    if (!needed) return null
    const { budgetRatio, budgetMinPerSecond } = retries
    const kept =
      before?.retries.budgetRatio === budgetRatio && before.retries.budgetMinPerSecond === budgetMinPerSecond
    // Each loop sees its own part of the requests; the few that are granted besides are divided too.
    return (kept ? before.budget : null) ?? new Budget(budgetRatio, budgetMinPerSecond / this.#threads)
  }

  /** Kept once it is there: exchanges of the former table still count themselves out. */
  #circuit(limits: LimitsConfig, index: number, before: Circuit | null): Circuit | null {
    before?.setLimits(limits)
    if (before) return before
    const { requests, requestsPerMember, connections } = limits
    if (requests === 0 && requestsPerMember === 0 && connections === 0) return null
    return new Circuit(this.#circuits, index, limits)
  }
}

function rateOf(
  config: ResilienceConfig['rateLimit'],
  { rate }: ClusterShared,
  before: RateLimit | null,
): RateLimit | null {
  if (config === null || rate === null) return null
  return before?.buffer.sab === rate.sab && same(before.config, config) ? before : new RateLimit(config, rate)
}

/** Of flat configuration values, which come anew with each table. */
function same(a: object, b: object | null): boolean {
  if (b === null) return false
  const other = b as Record<string, unknown>
  return Object.entries(a).every(([key, value]) => other[key] === value)
}
