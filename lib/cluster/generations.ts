/**
 * Generations: the table of the newest membership and its way to the data plane, one change after another.
 *
 *   change ──► compile the whole table, number + 1 ──► publish ──► every thread acknowledged ──► resolves
 *
 * It knows nothing of backends: what the table says is `members`' word.
 */
import type { Events } from '../events.ts'
import type { Log } from '../log.ts'
import { type ClusterMembers, compileTable } from './compile.ts'
import type { DataPlanePort } from './ports.ts'
import type { AffinityKey, TableData } from './table.ts'

export interface GenerationsDeps {
  readonly port: DataPlanePort
  readonly events: Events
  readonly log: Log
  readonly affinityKeys: readonly AffinityKey[]
  /** This Tidegate's. */
  readonly zone: string | null
  /** The membership of now. */
  readonly members: () => readonly ClusterMembers[]
}

export class Generations {
  readonly #deps: GenerationsDeps
  #affinityKeys: readonly AffinityKey[]
  #table: TableData
  #changes: Promise<unknown> = Promise.resolve()

  constructor(deps: GenerationsDeps) {
    this.#deps = deps
    this.#affinityKeys = deps.affinityKeys
    this.#table = this.#compile(1, null)
  }

  /** The newest compiled: what a thread that starts now must be given. */
  get table(): TableData {
    return this.#table
  }

  /** Takes the membership of now into a table that is not published: nobody listens yet. */
  recompile(): void {
    this.#table = this.#compile(this.#table.generation + 1, this.#table)
  }

  /** One after another; a change that fails does not stop the next. */
  inTurn<T>(act: () => Promise<T>): Promise<T> {
    const result = this.#changes.then(act)
    this.#changes = result.catch(() => undefined)
    return result
  }

  /** When the data plane does not take the table: undoes the change, sends that as a newer generation, throws the cause. */
  async publishOr(undo: () => void): Promise<void> {
    try {
      await this.#publish()
    } catch (error) {
      undo()
      await this.#publish().catch(again => this.#deps.log.error({ err: again }, 'former table not sent'))
      throw error
    }
  }

  /**
   * New keys go out in two generations: first every thread learns to open with them, then they seal. In one, a cookie that
   * one thread has just sealed could reach another that does not know its key yet.
   */
  setAffinityKeys(keys: readonly AffinityKey[]): Promise<number> {
    return this.inTurn(async () => {
      const before = this.#affinityKeys
      const undo = () => {
        this.#affinityKeys = before
      }
      const fresh = keys.filter(({ id }) => !before.some(known => known.id === id))
      if (fresh.length > 0) {
        this.#affinityKeys = [...before, ...fresh]
        await this.publishOr(undo)
      }
      this.#affinityKeys = keys
      await this.publishOr(undo)
      return this.#table.generation
    })
  }

  #compile(generation: number, previous: TableData | null): TableData {
    const { members, zone } = this.#deps
    return compileTable(generation, members(), this.#affinityKeys, zone, previous)
  }

  async #publish(): Promise<void> {
    const table = this.#compile(this.#table.generation + 1, this.#table)
    this.#table = table
    await this.#deps.port.publish(table)
    const members = table.clusters.reduce((sum, cluster) => sum + cluster.members.length, 0)
    this.#deps.events.publish({ type: 'generation', generation: table.generation, members })
  }
}
