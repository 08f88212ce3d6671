/**
 * The control side: the shared memory that the event loops limit with, made once for each cluster and sent ahead of the table that needs it.
 *
 * A cluster keeps its place and its counts from one table to the next, whatever else of it changes. A place whose cluster is gone is given
 * out again only when nothing is inside it any more: an exchange of the former cluster still counts itself out there.
 */
import { strict as assert } from 'node:assert'
import type { TableCluster } from '../../cluster/table.ts'
import { CircuitBoard, type CircuitBuffer, circuitsMax } from './circuit-board.ts'
import { type RateBuffer, RateTable } from './rate-table.ts'

/** What matters of a cluster here. */
export type Guarded = Pick<TableCluster, 'id' | 'resilience'>

/** Plain data, posted to a thread ahead of the table that needs it. */
export interface SharedData {
  readonly circuits: CircuitBuffer
  readonly clusters: Readonly<Record<string, ClusterShared>>
}

export interface ClusterShared {
  /** Its place on the circuit board. */
  readonly circuit: number
  /** Null: the cluster has no rate limit. */
  readonly rate: RateBuffer | null
}

/** How often `sweep` is to be called: the whole of a table then has its turn in 16 minutes (see `rate-table`). */
export const sweepEveryMs = 30_000
const sweepShare = 1 / 32

const noRate = { clientsMax: 0, rate: null, table: null }

interface Held {
  readonly circuit: number
  readonly clientsMax: number
  readonly rate: RateBuffer | null
  /** The same memory, for the sweep. */
  readonly table: RateTable | null
}

export class SharedLimits {
  readonly #board: CircuitBoard
  readonly #secret: (bytes: number) => Uint8Array
  #held = new Map<string, Held>()
  #data: SharedData
  /** Places that were given out once and belong to nobody now. */
  readonly #left = new Set<number>()
  #used = 0

  /** `secret`: so many bytes that nobody can guess. `most`: threads that there may ever be. */
  constructor(threads: number, secret: (bytes: number) => Uint8Array, most: number = threads) {
    this.#board = CircuitBoard.create(threads, most)
    this.#secret = secret
    this.#data = this.#dataOf(this.#held)
  }

  /**
   * What the loops need before they are given `table`: the same object as before when nothing of it has changed. Clusters that are
   * not in the table lose their place.
   */
  of(table: { readonly clusters: readonly Guarded[] }): SharedData {
    const held = new Map<string, Held>()
    let changed = table.clusters.length !== this.#held.size
    const ids = new Set(table.clusters.map(({ id }) => id))
    for (const [id, { circuit }] of this.#held) if (!ids.has(id)) this.#left.add(circuit)
    for (const { id, resilience } of table.clusters) {
      const before = this.#held.get(id)
      const clientsMax = resilience.rateLimit?.clientsMax ?? 0
      const kept = before?.clientsMax === clientsMax
      held.set(id, kept ? before : { circuit: before?.circuit ?? this.#place(), ...this.#rate(clientsMax) })
      changed ||= !kept
    }
    this.#held = held
    if (changed) this.#data = this.#dataOf(held)
    return this.#data
  }

  /** What is inside and waiting now, over all threads; null for a cluster that is not in the table. */
  counts(cluster: string): { requests: number; tunnels: number; pending: number } | null {
    const held = this.#held.get(cluster)
    if (held === undefined) return null
    const total = (count: 'requests' | 'tunnels' | 'pending') => this.#board.total(held.circuit, count)
    return { requests: total('requests'), tunnels: total('tunnels'), pending: total('pending') }
  }

  /** Before a thread counts in a new column. */
  widen(columns: number): void {
    this.#board.widen(columns)
  }

  /** After a thread died: what it held inside is gone with it. */
  wipeThread(thread: number): void {
    this.#board.wipeThread(thread)
  }

  /** Every `sweepEveryMs`. `nowMs`: wall clock. */
  sweep(nowMs: number): void {
    for (const { table } of this.#held.values()) table?.sweep(nowMs, sweepShare)
  }

  #dataOf(held: ReadonlyMap<string, Held>): SharedData {
    const clusters: Record<string, ClusterShared> = {}
    for (const [id, { circuit, rate }] of held) clusters[id] = { circuit, rate }
    return { circuits: this.#board.buffer, clusters }
  }

  #rate(clientsMax: number): Omit<Held, 'circuit'> {
    if (clientsMax === 0) return noRate
    const rate = RateTable.create(clientsMax, this.#secret(16))
    return { clientsMax, rate, table: new RateTable(rate) }
  }

  #place(): number {
    for (const circuit of this.#left) {
      if (!this.#board.quiet(circuit)) continue
      this.#left.delete(circuit)
      return circuit
    }
    assert(this.#used < circuitsMax, 'every place of a circuit is taken')
    return this.#used++
  }
}
