/** Bringing a cluster up to its minimum by an ordinary operation, with ever longer pauses while that fails. */
import { toTidegateError } from '../../errors.ts'
import { limits } from '../limits.ts'
import type { World } from '../world.ts'

/** Begins a scale-out to `target`; resolves when it has begun, with the promise of its end and whether it ended well. */
export type BeginRepair = (cluster: string, target: number) => Promise<{ readonly well: Promise<boolean> }>

export class Repairs {
  readonly #world: World
  readonly #begin: BeginRepair
  readonly #failures = new Map<string, { readonly count: number; readonly notBeforeMs: number }>()

  constructor(world: World, begin: BeginRepair) {
    this.#world = world
    this.#begin = begin
  }

  /** Returns as soon as the operation has begun. A cluster that has enough, or whose pause is not over, is left alone. */
  async bringToMinimum(cluster: string): Promise<void> {
    const { clusters, members, clock } = this.#world
    const { instance, scaling } = clusters.config(cluster)
    if (!instance || members.of(cluster).length >= scaling.minInstances) return
    const failed = this.#failures.get(cluster)
    if (failed && clock.monotonic() < failed.notBeforeMs) return
    try {
      const { well } = await this.#begin(cluster, scaling.minInstances)
      void well.then(ended => (ended ? this.#failures.delete(cluster) : this.#failed(cluster)))
    } catch (error) {
      this.#failed(cluster)
      const { code, message } = toTidegateError(error)
      this.#world.log.error(
        { cluster, code },
        `cluster is below its minimum and cannot be repaired: ${message}`,
      )
    }
  }

  #failed(cluster: string): void {
    const count = (this.#failures.get(cluster)?.count ?? 0) + 1
    this.#failures.set(cluster, {
      count,
      notBeforeMs: this.#world.clock.monotonic() + repairBackoffMs(count),
    })
  }
}

/** How long a cluster is left alone whose repair failed `failures` times in a row. */
export function repairBackoffMs(failures: number): number {
  if (failures === 0) return 0
  return Math.min(limits.repairBackoffMaxMs, limits.repairBackoffBaseMs * 2 ** (failures - 1))
}
