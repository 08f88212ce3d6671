/** What stands ready in a cluster before anybody asks for it, as it is shown. */
import type { GoldenValue } from '../facts.ts'
import type { World } from '../world.ts'
import { goldenOf, keepsGolden } from './golden.ts'
import type { PoolItem } from './pool.ts'

export interface ReadyView {
  /** Null: there is none, or it is of other inputs than those of now. */
  readonly golden: {
    readonly snapshot: string
    readonly node: string
    readonly bytes: number
    readonly made_at: string
  } | null
  /** Null: the cluster has none. */
  readonly warm_pool: {
    readonly size: number
    readonly state: 'paused' | 'ready'
    /** Could be taken now; the others are being made, or are on their way out. */
    readonly ready: number
    readonly instances: readonly string[]
  } | null
  /** The clones that stand by. Absent: the cluster asks for none and has none. */
  readonly standby?: readonly StandbyView[]
}

export interface StandbyView {
  readonly instance_id: string
  /** Whose place it takes when that dies. */
  readonly of: string
  /** ISO 8601: the instant of its memory; null: it is being made, or on its way out. */
  readonly as_of: string | null
}

export async function readyView(world: World, cluster: string): Promise<ReadyView> {
  const config = world.clusters.config(cluster)
  const golden = keepsGolden(config) ? await goldenOf(world, cluster) : null
  const { warmPool } = config.standby
  const items = world.pools.warm(cluster)
  const clones = world.pools.clones(cluster).map(standbyView)
  return {
    ...(config.standby.clones || clones.length > 0 ? { standby: clones } : {}),
    golden: golden && shown(golden),
    warm_pool: warmPool && {
      ...warmPool,
      ready: items.filter(({ state }) => state === 'kept').length,
      instances: items.map(({ name }) => name),
    },
  }
}

const standbyView = ({ name, of = '', state, as_of_ms: asOfMs }: PoolItem): StandbyView => ({
  instance_id: name,
  of,
  as_of: state === 'kept' && asOfMs !== undefined ? new Date(asOfMs).toISOString() : null,
})

const shown = ({ snapshot, node, bytes, made_at_ms }: GoldenValue) => ({
  snapshot,
  node,
  bytes,
  made_at: new Date(made_at_ms).toISOString(),
})

export interface WarmCounts {
  readonly ready: number
  readonly making: number
}

/** Null: the cluster has no warm pool. */
export function warmCounts({ clusters, pools }: World, cluster: string): WarmCounts | null {
  if (clusters.config(cluster).standby.warmPool === null) return null
  const items = pools.warm(cluster)
  const ready = items.filter(({ state }) => state === 'kept').length
  return { ready, making: items.length - ready }
}
