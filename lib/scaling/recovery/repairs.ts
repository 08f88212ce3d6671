/**
 * Bringing a cluster up to as many instances as are wanted, by an ordinary operation. Who dies soon after he was made is not made
 * again and again at full speed: the more repairs in a row did not last, the longer the pause before the next.
 *
 *             fewer than wanted                 it has ended
 *   enough ─────────────────────► being mended ──────────────► on probation ── it lasted ──► enough
 *                                      ▲                          │ fewer again, or it failed
 *                                      └─ pause: 5 s … 5 min ─────┘   (none after the first that went well; an alarm after the fifth)
 */
import { TidegateError, toTidegateError } from '../../errors.ts'
import type { Write } from '../../store/store.ts'
import { limits } from '../limits.ts'
import type { OperationRequest } from '../operation.ts'
import { commit, type World } from '../world.ts'
import { wantedNow } from './wanted.ts'

interface Fault {
  readonly code: string
  readonly message: string
}

/** Begins an operation; resolves when it has begun, with the promise of its end: null when it went well, else why not. */
export type BeginRepair = (
  cluster: string,
  request: OperationRequest,
  actor: string,
) => Promise<{ readonly ended: Promise<Fault | null> }>

/** Of a cluster whose last repair is on probation. */
export interface Repaired {
  /** Repairs in a row that failed, or after which somebody had to be made again too soon. */
  readonly inARow: number
  /** Monotonic: of the last one. */
  readonly endedAtMs: number
  /** Why it failed; null: it went well. */
  readonly fault: Fault | null
}

export class Repairs {
  readonly #world: World
  readonly #begin: BeginRepair
  readonly #rows = new Map<string, Repaired>()

  constructor(world: World, begin: BeginRepair) {
    this.#world = world
    this.#begin = begin
  }

  /** How many instances the cluster is brought back to. */
  wanted(cluster: string): number {
    return wantedNow(this.#world, cluster)
  }

  /** That so many are wanted which are there: nobody is made for those who have died. `line` goes with it. */
  async settleFor(cluster: string, count: number, line: Write): Promise<void> {
    if (this.#world.wanted.get(cluster) === count) return
    await commit(this.#world, [this.#world.wanted.write(cluster, count), line])
  }

  /** Null: nothing is on probation there. */
  of(cluster: string): Repaired | null {
    const row = this.#rows.get(cluster)
    if (row && this.#world.clock.monotonic() - row.endedAtMs < provenMs(row.inARow)) return row
    this.#rows.delete(cluster)
    return null
  }

  /** Returns as soon as the operation has begun. A cluster that has enough, or whose pause is not over, is left alone. */
  async bringUp(cluster: string): Promise<void> {
    const { members, clock, log } = this.#world
    const count = members.of(cluster).length
    const wanted = this.wanted(cluster)
    const last = this.of(cluster)
    if (count >= wanted) return
    if (last && clock.monotonic() < last.endedAtMs + repairBackoffMs(last.inARow)) return
    // That somebody is missing again is what tells that the last one did not last.
    const before = last === null ? 0 : last.inARow + (last.fault === null ? 1 : 0)
    try {
      const { ended } = await this.#beginWithRoom(cluster, count, wanted)
      void ended.then(fault => this.#ended(cluster, before, fault))
    } catch (error) {
      const { code, message } = toTidegateError(error)
      // Somebody else was quicker.
      if (code === 'operation_running') return
      log.error(
        { cluster, code },
        `cluster has ${count} of ${wanted} instances and cannot be repaired: ${message}`,
      )
      this.#ended(cluster, before, { code, message })
    }
  }

  /** As many as there is room for: few are better than none. */
  async #beginWithRoom(cluster: string, count: number, wanted: number): ReturnType<BeginRepair> {
    const to = (target_count: number) =>
      this.#begin(
        cluster,
        { type: 'scale_out', target_count, immediate: true, drain_connections: true, repair: true },
        'reconcile',
      )
    try {
      return await to(wanted)
    } catch (error) {
      const room = error instanceof TidegateError && error.code === 'no_capacity' ? error.details : {}
      const { found = 0 } = room as { readonly found?: number }
      if (found === 0) throw error
      return to(count + found)
    }
  }

  #ended(cluster: string, before: number, fault: Fault | null): void {
    const { clock, clusters, log, events } = this.#world
    const inARow = before + (fault === null ? 0 : 1)
    this.#rows.set(cluster, { inARow, endedAtMs: clock.monotonic(), fault })
    if (inARow < limits.repairsAlarm || !clusters.has(cluster)) return
    const told = {
      ...{ cluster, in_a_row: inARow, wanted: this.wanted(cluster) },
      ...{ pause_ms: repairBackoffMs(inARow), error: fault },
    }
    log.error(told, `${inARow} repairs in a row did not last: ${whyNot(fault)}`)
    events.publish({ type: 'repairs_in_vain', ...told })
  }
}

/** Why a repair that was the last of a row did not help, in people's words. */
export const whyNot = (fault: Fault | null): string => fault?.message ?? 'its instances died soon after'

/** How long something is left alone that failed `failures` times in a row. */
export function repairBackoffMs(failures: number): number {
  if (failures === 0) return 0
  return Math.min(limits.repairBackoffMaxMs, limits.repairBackoffBaseMs * 2 ** (failures - 1))
}

/** How long nobody may have to be made again for a repair to have lasted. */
export function provenMs(inARow: number): number {
  return Math.max(limits.repairProvenMs, 2 * repairBackoffMs(inARow))
}
