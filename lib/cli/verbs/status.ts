/** `status [CLUSTER]`: clusters, how they stand, and their backends. */
import type { BackendView } from '../../cluster/backend.ts'
import type { ClusterStatus, ClusterView } from '../../views.ts'
import { AdminClient, segment } from '../client.ts'
import { type Context, line, printJson } from '../io.ts'
import { formatDuration, printable, table } from '../table.ts'

interface Row {
  readonly cluster: ClusterView
  readonly status: ClusterStatus
  readonly backends: readonly (BackendView & { readonly address: string })[]
}

export async function status(context: Context, only: string | undefined): Promise<void> {
  const client = new AdminClient(context)
  const clusters =
    only === undefined
      ? (await client.get<{ clusters: ClusterView[] }>('/api/v1/clusters')).clusters
      : [await client.get<ClusterView>(`/api/v1/clusters/${segment(only)}`)]
  const rows = await Promise.all(clusters.map(cluster => rowOf(client, cluster)))
  if (context.json)
    return printJson(context.io, {
      clusters: rows.map(one => ({ ...one.cluster, status: one.status, backends: one.backends })),
    })
  for (const text of statusLines(rows, context.io.clock.now())) line(context.io.stdout, text)
}

async function rowOf(client: AdminClient, cluster: ClusterView): Promise<Row> {
  const base = `/api/v1/clusters/${segment(cluster.cluster_id)}`
  const [status, { backends }] = await Promise.all([
    client.get<ClusterStatus>(`${base}/status`),
    client.get<{ backends: Row['backends'] }>(`${base}/backends`),
  ])
  return { cluster, status, backends }
}

function statusLines(rows: readonly Row[], nowMs: number): string[] {
  const lines = table(
    ['CLUSTER', 'HEALTH', 'SCALING', 'INSTANCES', 'BACKENDS', 'ROUTES', 'LAST OPERATION'],
    rows.map(({ cluster, status }) => [
      cluster.cluster_id,
      status.panic ? `${status.health_status} (panic)` : status.health_status,
      status.scaling_status,
      cluster.scaling
        ? `${status.instances} (${cluster.scaling.min_instances}–${cluster.scaling.max_instances})`
        : '-',
      cluster.backends,
      cluster.routes.map(({ host, path }) => `${host}${path}`).join(' '),
      lastOperation(status, nowMs),
    ]),
  )
  for (const { cluster, status, backends } of rows) {
    lines.push(
      '',
      `${cluster.cluster_id}: ${cluster.balance}, affinity ${cluster.affinity}, generation ${cluster.generation}`,
    )
    lines.push(...readyLines(status).map(text => `  ${text}`))
    if (backends.length === 0) lines.push('  no backends')
    else lines.push(...backendTable(backends).map(text => `  ${text}`))
  }
  return lines
}

const backendTable = (backends: Row['backends']): string[] =>
  table(
    [
      'BACKEND',
      'ADDRESS',
      'STATE',
      'HEALTH',
      'IN FLIGHT',
      'TUNNELS',
      'SESSIONS',
      'REQUESTS',
      'FAILED',
      'NODE',
    ],
    backends.map(one => [
      one.id,
      one.address,
      one.state,
      healthText(one.health),
      one.in_flight,
      one.tunnels,
      one.sessions,
      one.requests,
      one.failures,
      one.instance?.node ?? null,
    ]),
  )

/** What there is before anybody asks for it. */
function readyLines({ golden, warm_pool: pool }: ClusterStatus): readonly string[] {
  const saved = golden
    ? [`golden snapshot ${printable(golden.snapshot)} on ${printable(golden.node)}, ${golden.made_at}`]
    : []
  return pool ? [...saved, `warm pool ${pool.ready} of ${pool.size} ${pool.state}`] : saved
}

/** The reason is worth a column's width only when something is wrong. */
const healthText = ({ status, reason }: BackendView['health']): string =>
  status === 'healthy' ? status : `${status} (${printable(reason).slice(0, 40)})`

function lastOperation({ last_operation: last }: ClusterStatus, nowMs: number): string {
  if (!last) return '-'
  const ago = last.completed_at
    ? `, ${formatDuration(Math.max(0, nowMs - Date.parse(last.completed_at)))} ago`
    : ''
  return `${last.type} ${last.status}${ago}`
}
