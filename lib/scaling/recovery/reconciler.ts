/**
 * One round of reconcile after another: what stands still goes on, members are mended, orphans go, clusters come up to as many as are wanted,
 * nodes are emptied. Each part by itself: what fails in one does not keep the others from their work, and is tried again next time.
 */
import type { Held } from '../../hypervisor/driver.ts'
import type { InstanceRecord } from '../../store/store.ts'
import { limits } from '../limits.ts'
import type { ScalingNumbers } from '../numbers.ts'
import { parallel } from '../parallel.ts'
import type { World } from '../world.ts'
import type { Orphan } from './orphans.ts'
import type { Quarantine } from './quarantine.ts'
import { collectOrphans, mendMembership } from './reconcile.ts'
import type { Repairs } from './repairs.ts'

export interface ReconcilerDeps {
  readonly world: World
  readonly quarantine: Quarantine
  readonly repairs: Repairs
  readonly busy: (cluster: string) => boolean
  readonly closed: () => boolean
  /** Takes up unfinished operations that nobody works on. */
  readonly takeUp: () => Promise<void>
  /** Tries again what stands still, where the nodes that it needs can be asked. */
  readonly tryAgain: (held: ReadonlyMap<string, Held | null>) => void
  /** Has clones take the places of the dead; resolves to those whose place nobody takes. */
  readonly failOver: (cluster: string, dead: readonly InstanceRecord[]) => Promise<readonly InstanceRecord[]>
  readonly emptyNodes: () => Promise<void>
}

export class Reconciler {
  readonly #deps: ReconcilerDeps
  #under: Promise<void> | null = null
  #orphans: readonly Orphan[] = []
  /** Orphans whose end is in the history. */
  readonly #told = new Set<string>()
  #last: { readonly endedAtMs: number; readonly tookMs: number } | null = null

  constructor(deps: ReconcilerDeps) {
    this.#deps = deps
  }

  /** One round at a time; a call during a round joins it. */
  round(): Promise<void> {
    const { clock } = this.#deps.world
    const begunAtMs = clock.monotonic()
    this.#under ??= this.#round().finally(() => {
      this.#under = null
      this.#last = { endedAtMs: clock.monotonic(), tookMs: clock.monotonic() - begunAtMs }
    })
    return this.#under
  }

  /** As the last round left them. */
  get orphans(): readonly Orphan[] {
    return this.#orphans
  }

  /** Everything that `/metrics` tells of scaling. */
  numbers(running: (cluster: string) => boolean, stuck: (cluster: string) => number): ScalingNumbers {
    const { clusters, clock, reality, tally } = this.#deps.world
    const last = this.#last
    return {
      operations: tally.operations.rows(),
      durations: tally.durations.rows(),
      phases: tally.phases.rows(),
      retries: tally.retries.rows(),
      rollbacks: tally.rollbacks.rows(),
      stucks: tally.stuck.rows(),
      orphansDestroyed: tally.orphans.rows(),
      clusters: clusters.ids().map(cluster => ({
        ...{ cluster, running: running(cluster) ? 1 : 0, stuck: stuck(cluster) },
        repairs: this.#deps.repairs.of(cluster)?.inARow ?? 0,
      })),
      orphans: this.#orphans.map(({ node, kind, collectAtMs }) => ({
        node,
        kind,
        kept: collectAtMs === null,
      })),
      nodes: reality.nodes().map(({ id }) => {
        const since = reality.silentSince(id)
        return { node: id, unknownMs: since === null ? null : clock.now() - since }
      }),
      reconcile: last && { ageMs: clock.monotonic() - last.endedAtMs, tookMs: last.tookMs },
      flaws: this.#deps.quarantine.flaws,
    }
  }

  /** Resolves when no round is under way. Never rejects. */
  async settled(): Promise<void> {
    await this.#under?.catch(() => {})
  }

  async #round(): Promise<void> {
    const { world, quarantine, busy, closed, failOver } = this.#deps
    const { reality, clusters } = world
    await this.attempt('unfinished operations', this.#deps.takeUp)
    // Taken before the look: who becomes a member after it is not in it, and is not dead for that.
    const known = world.members.all()
    const held = await reality.inspectAll()
    await this.attempt('the number of this life', () =>
      world.epochs.begin(world.store, world.installation, held),
    )
    const all = new Set([...clusters.ids(), ...known.map(record => record.cluster)])
    await severalAtOnce([...all], cluster =>
      this.attempt(`members of ${cluster}`, () =>
        mendMembership(world, cluster, { known, held }, { busy: () => busy(cluster), failOver }),
      ),
    )
    this.#deps.tryAgain(held)
    await this.attempt('orphans', async () => {
      const left = await collectOrphans(world, held, await quarantine.heldBack(), this.#told)
      // What a node held that cannot be asked is taken to be there still.
      this.#orphans = [...left, ...this.#orphans.filter(({ node }) => held.get(node) === null)]
    })
    await severalAtOnce(clusters.ids(), async cluster => {
      if (!busy(cluster) && !closed()) await this.#deps.repairs.bringUp(cluster)
    })
    await this.#deps.emptyNodes()
  }

  async attempt(what: string, work: () => Promise<unknown>): Promise<void> {
    try {
      await work()
    } catch (error) {
      this.#deps.world.log.error({ err: error }, `reconcile: ${what} could not be looked after`)
    }
  }
}

/** After a start each of many clusters may have something to be mended, and each of them waits for its store and its nodes. */
const severalAtOnce = (clusters: readonly string[], work: (cluster: string) => Promise<void>) =>
  parallel(clusters, limits.clustersAtOnceMax, new AbortController().signal, work)
