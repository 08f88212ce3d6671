/**
 * Who takes the place of the dead where a clone stands by: an ordinary operation, begun as soon as a look at the nodes has found them
 * dead. Until it has ended they stay members, so that their clients wait for it and are not scattered. Where it cannot be begun, or
 * a clone does not serve, the next one has its turn; without one the dead leave as they would have.
 *
 * Of a memory that ends its instance the clone dies too. So an heir has to last, as a repair has: the more heirs in a row did not, the longer
 * the next must have lived to hand on what it has. One that dies sooner leaves as if nobody stood by, and what is made in its place is a repair.
 *
 *            its clone takes its place            it dies, and had lived for the pause of its row: 0, 5 s … 5 min
 *   dead ─────────────────────────► heir ──────────────────────────────────────────────────► dead, one more in a row
 *                                    │ └─ it dies sooner: an alarm, nobody takes its place
 *                                    └─ it lasted a minute, or twice the pause: as good as any
 */
import { toTidegateError } from '../../errors.ts'
import type { InstanceRecord } from '../../store/store.ts'
import { limits } from '../limits.ts'
import type { OperationRequest } from '../operation.ts'
import type { World } from '../world.ts'
import { provenMs, repairBackoffMs } from './repairs.ts'
import { wantedNow } from './wanted.ts'

export interface FailoverDeps {
  readonly busy: (cluster: string) => boolean
  /** Begins an operation; resolves when it has begun. */
  readonly begin: (
    cluster: string,
    request: OperationRequest,
    actor: string,
  ) => Promise<{ readonly ended: Promise<{ readonly code: string } | null> }>
  readonly discard: (cluster: string, standby: string) => Promise<void>
  /** The nodes are to be looked at again. */
  readonly again: () => void
}

/** Of one that took a place. */
interface Heir {
  /** Those before it in a row that took the place and died too soon. */
  readonly inARow: number
  /** Monotonic. */
  readonly sinceMs: number
}

export class Failovers {
  readonly #world: World
  readonly #deps: FailoverDeps
  /** By name: those on probation. */
  readonly #heirs = new Map<string, Heir>()

  constructor(world: World, deps: FailoverDeps) {
    this.#world = world
    this.#deps = deps
  }

  /** Those of the dead of a cluster whose place nobody takes. */
  async begin(cluster: string, dead: readonly InstanceRecord[]): Promise<readonly InstanceRecord[]> {
    const { pools, log, clusters } = this.#world
    const stoodFor = clusters.has(cluster) ? dead.filter(({ id }) => pools.standbyOf(cluster, id)) : []
    if (stoodFor.length > 0 && this.#deps.busy(cluster)) return []
    this.#forgetProven()
    const replaced = stoodFor.filter(({ id }) => !this.#diedTooSoon(id))
    for (const { id } of stoodFor) if (this.#diedTooSoon(id)) this.#alarm(cluster, id)
    const [first] = replaced
    if (!first) return dead
    const standbys = replaced.map(({ id }) => pools.standbyOf(cluster, id)!.name)
    const ids = replaced.map(({ id }) => id)
    const request = { type: 'failover', instance_id: first.id, instance_ids: ids } as const
    try {
      const { ended } = await this.#deps.begin(cluster, request, 'reconcile')
      void ended.then(fault => {
        if (fault === null)
          for (const [index, id] of ids.entries()) this.#inherits(cluster, id, standbys[index]!)
        return this.#ended(cluster, standbys, fault?.code ?? null)
      })
    } catch (error) {
      const { code, message } = toTidegateError(error)
      log.error({ cluster, code, instances: ids }, `no clone can take the place of the dead: ${message}`)
      return code === 'operation_running' ? [] : dead
    }
    return dead.filter(one => !replaced.includes(one))
  }

  #inherits(cluster: string, dead: string, heir: string): void {
    const before = this.#heirs.get(dead)
    this.#heirs.delete(dead)
    const inARow = before === undefined ? 0 : before.inARow + 1
    this.#heirs.set(heir, { inARow, sinceMs: this.#world.clock.monotonic() })
    if (inARow >= limits.repairsAlarm) this.#alarm(cluster, heir)
  }

  #forgetProven(): void {
    const now = this.#world.clock.monotonic()
    for (const [name, { inARow, sinceMs }] of this.#heirs)
      if (now - sinceMs >= provenMs(inARow)) this.#heirs.delete(name)
  }

  /** The first heir of all may die at once: once is no row. */
  #diedTooSoon(id: string): boolean {
    const heir = this.#heirs.get(id)
    return heir !== undefined && this.#world.clock.monotonic() < heir.sinceMs + repairBackoffMs(heir.inARow)
  }

  #alarm(cluster: string, heir: string): void {
    const { log, events } = this.#world
    const { inARow } = this.#heirs.get(heir)!
    const message = `${inARow + 1} in a row that took the place of a dead instance died soon, ${heir} is the last; what they remember may be what ends them`
    const told = {
      ...{ cluster, in_a_row: inARow + 1, wanted: wantedNow(this.#world, cluster) },
      ...{ pause_ms: repairBackoffMs(inARow), error: { code: 'instance_died', message } },
    }
    log.error(told, message)
    events.publish({ type: 'repairs_in_vain', ...told })
  }

  /** A clone that did not serve is not tried again. */
  async #ended(cluster: string, standbys: readonly string[], fault: string | null): Promise<void> {
    if (fault !== null && fault !== 'shutting_down' && fault !== 'store_unavailable')
      for (const name of standbys)
        await this.#deps
          .discard(cluster, name)
          .catch(error => this.#world.log.warn({ cluster, err: error }, 'a clone that stood by is left'))
    this.#deps.again()
  }
}
