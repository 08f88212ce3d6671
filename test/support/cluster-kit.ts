/** Clusters on a real board, with a data plane of this thread that really routes but moves no bytes. */
import { Board } from '../../lib/cluster/board.ts'
import { Clusters, type ClustersDeps } from '../../lib/cluster/clusters.ts'
import type { Verdict } from '../../lib/cluster/health.ts'
import type { Closing, DataPlanePort } from '../../lib/cluster/ports.ts'
import type { TableData } from '../../lib/cluster/table.ts'
import type { ClusterConfig } from '../../lib/config/config.ts'
import { Events, type TidegateEvent } from '../../lib/events.ts'
import { silentLog } from '../../lib/log.ts'
import { plainResilience } from '../../lib/proxy/resilience/plain.ts'
import { RouteTable } from '../../lib/proxy/route-table.ts'
import { drainPolicy } from './drain-policy.ts'
import { healthConfig } from './health-config.ts'
import { ManualClock } from './manual-clock.ts'
import { plainBalance } from './plain-balance.ts'

export const affinityKey = (id: number, fill = id) => ({ id, key: new Uint8Array(32).fill(fill) })

export function clusterConfig(over: Partial<ClusterConfig> = {}): ClusterConfig {
  return {
    id: 'web',
    routes: [{ host: '*', path: '/' }],
    balance: 'round_robin',
    ...plainBalance,
    affinity: { method: 'cookie', name: 'tidegate', ttlSeconds: 3600 },
    backends: [],
    protocol: 'http1',
    tls: null,
    instance: null,
    drain: drainPolicy(),
    health: healthConfig(),
    outlier: null,
    standby: { scaleToZero: null, warmPool: null },
    scaling: {
      minInstances: 1,
      maxInstances: 10,
      targetCpuUtilization: 0.6,
      scaleInCooldownSeconds: 300,
      scaleOutCooldownSeconds: 60,
    },
    timeouts: { connectMs: 1000, headerMs: 1000, idleMs: 1000, tunnelIdleMs: 1000 },
    resilience: plainResilience,
    ...over,
  }
}

export const backend = (id: string, over: object = {}) => ({
  id,
  host: '127.0.0.1',
  port: 8000,
  weight: 1,
  incarnation: `life-of-${id}`,
  instance: null,
  verified: true,
  mark: null,
  ...over,
})

/** The thread's side: takes tables, counts what it is told, and acknowledges when the test lets it. */
export class LocalPlane implements DataPlanePort {
  readonly board: Board
  readonly told: string[] = []
  readonly generations: number[] = []
  table: RouteTable | null = null
  /** Called with each table before it is taken; a rejection is a data plane that fails. */
  beforeTaking: (table: TableData) => void | Promise<void> = () => undefined

  constructor(board: Board) {
    this.board = board
  }

  take(table: TableData): void {
    this.table = new RouteTable(table, this.board, 0, this.table ?? undefined)
    this.generations.push(table.generation)
  }

  async publish(table: TableData): Promise<void> {
    await this.beforeTaking(table)
    this.take(table)
  }

  closeTunnels(slot: number, _epoch: number, { code, spreadMs }: Closing): void {
    this.told.push(`close ${slot} ${code}${spreadMs === 0 ? '' : ` over ${spreadMs}`}`)
  }

  keepTunnels(slot: number): void {
    this.told.push(`keep ${slot}`)
  }

  cut(slot: number, _epoch: number, what: 'tunnels' | 'exchanges' | 'all'): void {
    this.told.push(`cut ${slot}${what === 'all' ? '' : ` ${what}`}`)
  }

  ids(cluster: string): readonly string[] {
    const route = this.table?.match('any', '/')
    return route?.id === cluster ? route.members.map(member => member.id) : []
  }

  member(id: string) {
    for (const member of this.table?.members() ?? []) if (member.id === id) return member
    throw new Error(`no member ${id}`)
  }
}

export function clusterKit(configs: readonly ClusterConfig[], over: Partial<ClustersDeps> = {}) {
  const clock = new ManualClock()
  const board = Board.create(1)
  const plane = new LocalPlane(board)
  const events = new Events(() => clock.now())
  const seen: TidegateEvent[] = []
  events.subscribe(({ event }) => seen.push(event))
  /** What checks answer, by port; 200 where nothing is said. */
  const health = new Map<number, Verdict>()
  const checks: number[] = []
  const clusters = new Clusters({
    configs,
    board,
    port: plane,
    clock,
    events,
    log: silentLog,
    affinityKeys: [affinityKey(1)],
    probe: async ({ port }) => {
      checks.push(port)
      return health.get(port) ?? { ok: true, reason: 'answered 200' }
    },
    random: () => 0.5,
    ...over,
  })
  /** The moves of a backend's shown state: `null>warming`, `warming>ready`. */
  const moves = (id: string) =>
    seen.flatMap(event =>
      event.type === 'backend_state' && event.backend === id ? [`${event.from}>${event.to}`] : [],
    )
  return { clock, board, plane, clusters, seen, health, checks, moves }
}
