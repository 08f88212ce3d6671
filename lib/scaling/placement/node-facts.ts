/** A node as scaling sees it: what is free, what was promised, what it carries, and whether it takes new instances. */
import type { NodeConfig, Resources } from '../../config/config.ts'
import type { Held } from '../../hypervisor/driver.ts'
import type { Orphan } from '../recovery/orphans.ts'
import type { World } from '../world.ts'
import type { NodeDrains, NodeDrainView } from './node-drains.ts'
import { freeOf, loadOn } from './rooms.ts'

export type NodeState = 'ready' | 'draining' | 'drained' | 'unreachable'

export interface NodeFacts {
  readonly state: NodeState
  /** Null: nobody could be asked. */
  readonly free: Resources | null
  readonly promised: Resources
  /** Exchanges and tunnels on it. */
  readonly load: number
  readonly drain: NodeDrainView | null
  /** ISO 8601; null: it answers. */
  readonly unknown_since: string | null
  readonly orphans: readonly OrphanView[]
}

/** What carries our tag and nobody claims, as the last round of reconcile left it. Times are ISO 8601. */
export interface OrphanView {
  readonly id: string
  readonly kind: 'instance' | 'snapshot'
  readonly cluster: string
  readonly operation: string
  readonly created_at: string
  /** Null: not as long as `why` holds. */
  readonly collect_at: string | null
  /** Why not yet; null: in the next round. */
  readonly why: string | null
}

export function nodeFacts(
  world: World,
  drains: NodeDrains,
  config: NodeConfig,
  held: Held | null,
  orphans: readonly Orphan[],
): NodeFacts {
  const since = world.reality.silentSince(config.id) ?? world.clock.now()
  const drain = drains.view(config.id)
  const marked =
    drain === null ? 'ready' : drain.drained_at !== null && drain.left === 0 ? 'drained' : 'draining'
  const promised = world.promises.on(config.id).reduce(
    (sum, { resources }) => ({
      cpus: sum.cpus + resources.cpus,
      memoryBytes: sum.memoryBytes + resources.memoryBytes,
      diskBytes: sum.diskBytes + resources.diskBytes,
    }),
    { cpus: 0, memoryBytes: 0, diskBytes: 0 },
  )
  return {
    state: held === null ? 'unreachable' : marked,
    free: held === null ? null : freeOf(world, config, held),
    promised,
    load: loadOn(world, config.id),
    drain,
    unknown_since: held === null ? iso(since) : null,
    orphans: orphans.filter(({ node }) => node === config.id).map(orphanView),
  }
}

const orphanView = (orphan: Orphan): OrphanView => ({
  id: orphan.name,
  kind: orphan.kind,
  cluster: orphan.cluster,
  operation: orphan.operation,
  created_at: iso(orphan.createdAtMs),
  collect_at: orphan.collectAtMs === null ? null : iso(orphan.collectAtMs),
  why: orphan.why,
})

const iso = (ms: number) => new Date(ms).toISOString()
