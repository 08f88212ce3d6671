/**
 * Who takes the place of the dead where a clone stands by: an ordinary operation, begun as soon as a look at the nodes has found them
 * dead. Until it has ended they stay members, so that their clients wait for it and are not scattered. Where it cannot be begun, or
 * a clone does not serve, the next one has its turn; without one the dead leave as they would have.
 */
import { toTidegateError } from '../../errors.ts'
import type { InstanceRecord } from '../../store/store.ts'
import type { OperationRequest } from '../operation.ts'
import type { World } from '../world.ts'

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

export class Failovers {
  readonly #world: World
  readonly #deps: FailoverDeps

  constructor(world: World, deps: FailoverDeps) {
    this.#world = world
    this.#deps = deps
  }

  /** Those of the dead of a cluster whose place nobody takes. */
  async begin(cluster: string, dead: readonly InstanceRecord[]): Promise<readonly InstanceRecord[]> {
    const { pools, log, clusters } = this.#world
    const replaced = clusters.has(cluster) ? dead.filter(({ id }) => pools.standbyOf(cluster, id)) : []
    const [first] = replaced
    if (!first || this.#deps.busy(cluster)) return first ? [] : dead
    const standbys = replaced.map(({ id }) => pools.standbyOf(cluster, id)!.name)
    const ids = replaced.map(({ id }) => id)
    const request = { type: 'failover', instance_id: first.id, instance_ids: ids } as const
    try {
      const { ended } = await this.#deps.begin(cluster, request, 'reconcile')
      void ended.then(fault => this.#ended(cluster, standbys, fault?.code ?? null))
    } catch (error) {
      const { code, message } = toTidegateError(error)
      log.error({ cluster, code, instances: ids }, `no clone can take the place of the dead: ${message}`)
      return code === 'operation_running' ? [] : dead
    }
    return dead.filter(one => !replaced.includes(one))
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
