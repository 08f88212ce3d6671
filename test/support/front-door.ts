/** Both planes without scaling: clusters of static backends behind real listeners. */
import type { Test } from 'tap'
import { type Clock, systemClock } from '../../lib/clock.ts'
import { Board } from '../../lib/cluster/board.ts'
import { Clusters } from '../../lib/cluster/clusters.ts'
import type { AffinityKey } from '../../lib/cluster/table.ts'
import type { ClusterConfig, ListenerConfig } from '../../lib/config/config.ts'
import { Events, type StampedEvent } from '../../lib/events.ts'
import { silentLog } from '../../lib/log.ts'
import { Plane } from '../../lib/proxy/plane.ts'
import type { TlsKeeper } from '../../lib/proxy/tls/keeper.ts'
import { clusterConfig } from './cluster-kit.ts'
import { drainPolicy } from './drain-policy.ts'
import { healthConfig } from './health-config.ts'

export interface FrontDoor {
  readonly clusters: Clusters
  readonly plane: Plane
  readonly board: Board
  readonly port: number
  readonly events: readonly StampedEvent[]
}

export interface FrontDoorOptions {
  readonly threads: number
  readonly listeners?: readonly ListenerConfig[]
  readonly clock?: Clock
  readonly tls?: TlsKeeper
}

const keys: readonly AffinityKey[] = [{ id: 1, key: new Uint8Array(32).fill(7) }]

export async function frontDoor(
  t: Test,
  configs: readonly ClusterConfig[],
  options: FrontDoorOptions,
): Promise<FrontDoor> {
  const clock = options.clock ?? systemClock
  const events = new Events(clock.now)
  const seen: StampedEvent[] = []
  events.subscribe(event => seen.push(event))
  const board = Board.create(options.threads)
  const plane = new Plane({
    threads: options.threads,
    listeners: options.listeners ?? [{ host: '127.0.0.1', port: 0 }],
    trustedProxies: [],
    debugHeaders: true,
    board,
    clock,
    events,
    log: silentLog,
    onSessions: sightings => clusters.noteSessions(sightings),
    ...(options.tls ? { tls: () => options.tls!.material() } : {}),
  })
  options.tls?.onChange(material => plane.renewTls(material))
  const clusters = new Clusters({
    configs,
    board,
    port: plane,
    clock,
    events,
    log: silentLog,
    affinityKeys: keys,
  })
  t.teardown(() => clusters.close())
  clusters.start([])
  const listeners = await plane.start(clusters.table())
  t.teardown(() => plane.stop(0))
  return { clusters, plane, board, port: listeners[0]!.port, events: seen }
}

/** A cluster for every host and path, with the given static backends, by round robin and without affinity unless told otherwise. */
export function clusterOf(
  ports: Readonly<Record<string, number>>,
  over: Partial<ClusterConfig> = {},
): ClusterConfig {
  return clusterConfig({
    affinity: { method: 'none' },
    backends: Object.entries(ports).map(([id, port]) => ({ id, host: '127.0.0.1', port, weight: 1 })),
    drain: drainPolicy({ gracePeriodMs: 1_000 }),
    health: healthConfig({ intervalMs: 1_000, healthyThreshold: 1 }),
    timeouts: { connectMs: 2_000, headerMs: 10_000, idleMs: 10_000, tunnelIdleMs: 60_000 },
    ...over,
  })
}
