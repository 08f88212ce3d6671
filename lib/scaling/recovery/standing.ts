/**
 * Operations that stand still: their undo, or what comes after their pivot, was tried as often as it may be. They hold no cluster
 * and are tried again, ever more rarely, as soon as the nodes that they need can be asked.
 */
import type { Clock } from '../../clock.ts'
import { TidegateError } from '../../errors.ts'
import type { Held } from '../../hypervisor/driver.ts'
import { limits } from '../limits.ts'
import { nodesOfJournal } from '../restore.ts'
import type { Run } from '../runner.ts'

export class Standing {
  readonly #clock: Clock
  readonly #rows = new Map<string, { readonly run: Run; readonly notBeforeMs: number }>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** `atOnce`: a restart is as good a reason to try again as any. */
  keep(run: Run, atOnce: boolean): void {
    const times = run.entries.filter(entry => entry.kind === 'stuck').length
    const pauseMs = Math.min(limits.stuckPauseMaxMs, limits.stuckPauseBaseMs * 2 ** (times - 1))
    const notBeforeMs = this.#clock.monotonic() + (atOnce ? 0 : pauseMs)
    this.#rows.set(run.record.id, { run, notBeforeMs })
  }

  get(id: string): Run | null {
    return this.#rows.get(id)?.run ?? null
  }

  all(): readonly Run[] {
    return [...this.#rows.values()].map(({ run }) => run)
  }

  drop(id: string): void {
    this.#rows.delete(id)
  }

  of(cluster: string): readonly string[] {
    return [...this.#rows.values()]
      .map(({ run }) => run.record)
      .filter(record => record.cluster === cluster)
      .map(record => record.id)
  }

  /** Those whose pause is over and whose nodes all answered. */
  due(held: ReadonlyMap<string, Held | null>): readonly Run[] {
    const now = this.#clock.monotonic()
    return [...this.#rows.values()]
      .filter(({ notBeforeMs }) => notBeforeMs <= now)
      .map(({ run }) => run)
      .filter(run => nodesOfJournal(run.entries).every(node => held.get(node) !== null))
  }

  /** Nothing new begins where this much is unfinished already. Throws `operation_stuck`. */
  refuseMore(cluster: string, quarantined: readonly string[]): void {
    const ids = [...this.of(cluster), ...quarantined]
    if (ids.length < limits.stuckMax) return
    throw new TidegateError(
      'operation_stuck',
      `${ids.length} operations in cluster \`${cluster}\` are stuck (${ids.join(', ')}); mend what stops them or acknowledge them: tidegate operations ID --acknowledge`,
      { details: { cluster_id: cluster, operations: ids } },
    )
  }
}
