/** `status [CLUSTER]`: clusters, how they stand, and their backends; of all of them also what somebody should look at. */
import type { BackendView } from '../../cluster/backend.ts'
import type { CertificateView, ClusterStatus, ClusterView, NodeView } from '../../views.ts'
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
  const nowMs = context.io.clock.now()
  const ending = only === undefined ? await endingSoon(client, nowMs) : []
  const { unknown, orphans } = only === undefined ? await lookAtNodes(client) : { unknown: [], orphans: [] }
  if (context.json)
    return printJson(context.io, {
      clusters: rows.map(one => ({ ...one.cluster, status: one.status, backends: one.backends })),
      ...(only === undefined ? { certificates_ending: ending, nodes_unknown: unknown, orphans } : {}),
    })
  for (const text of statusLines(rows, nowMs)) line(context.io.stdout, text)
  const more = [
    ...nodeLines(unknown, nowMs),
    ...orphanLines(orphans, nowMs),
    ...certificateLines(ending, nowMs),
  ]
  for (const text of more) line(context.io.stdout, text)
}

type UnknownNode = Pick<NodeView, 'node_id' | 'unknown_since' | 'reason'>
type Orphan = NodeView['orphans'][number] & Pick<NodeView, 'node_id'>

/** Nodes that cannot be asked, and what is on the others although nobody wants it. */
async function lookAtNodes(client: AdminClient) {
  const { nodes } = await client.get<{ nodes: NodeView[] }>('/api/v1/nodes')
  const unknown = nodes.filter(({ unknown_since: since }) => since !== null)
  return {
    unknown: unknown.map(
      ({ node_id, unknown_since, reason }): UnknownNode => ({ node_id, unknown_since, reason }),
    ),
    orphans: nodes.flatMap(({ node_id, orphans }) => orphans.map((one): Orphan => ({ node_id, ...one }))),
  }
}

function nodeLines(unknown: readonly UnknownNode[], nowMs: number): readonly string[] {
  if (unknown.length === 0) return []
  const rows = unknown.map(({ node_id: id, unknown_since: since, reason }) => [
    ...[id, formatDuration(Math.max(0, nowMs - Date.parse(since!)))],
    printable(reason ?? '-').slice(0, 100),
  ])
  return section(
    'nodes that cannot be asked (what is on them is taken to be there):',
    ['NODE', 'FOR', 'WHY'],
    rows,
  )
}

function orphanLines(orphans: readonly Orphan[], nowMs: number): readonly string[] {
  if (orphans.length === 0) return []
  const rows = orphans.map(({ id, kind, node_id: node, cluster, collect_at: at, why }) => {
    const when = at === null ? 'not yet' : `in ${formatDuration(Math.max(0, Date.parse(at) - nowMs))}`
    return [id, kind, node, cluster, when, printable(why ?? '-').slice(0, 100)]
  })
  return section('orphans:', ['NAME', 'KIND', 'NODE', 'CLUSTER', 'DESTROYED', 'WHY NOT YET'], rows)
}

const section = (title: string, head: readonly string[], rows: readonly (readonly string[])[]) => [
  ...['', title],
  ...table(head, rows).map(text => `  ${text}`),
]

/** So long before its end a certificate is worth a line. */
const dayMs = 24 * 3_600_000
const soonMs = 30 * dayMs

async function endingSoon(client: AdminClient, nowMs: number): Promise<readonly CertificateView[]> {
  const { certificates } = await client.get<{ certificates: CertificateView[] }>('/api/v1/certificates')
  return certificates.filter(({ not_after: end }) => Date.parse(end) - nowMs < soonMs)
}

function certificateLines(ending: readonly CertificateView[], nowMs: number): readonly string[] {
  if (ending.length === 0) return []
  const rows = ending.map(({ names, not_after: end, file, used_for: use }) => {
    const left = Date.parse(end) - nowMs
    const when = left <= 0 ? 'ended' : `in ${Math.floor(left / dayMs)} days`
    return [printable(names.join(' ')).slice(0, 60), `${end.slice(0, 10)} (${when})`, file, use]
  })
  return section('certificates that end soon:', ['NAMES', 'ENDS', 'FILE', 'USED FOR'], rows)
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
        ? `${instancesText(status)} (${cluster.scaling.min_instances}–${cluster.scaling.max_instances})`
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

/** Fewer than are wanted: some have died and are being made again. */
const instancesText = ({ instances, wanted }: ClusterStatus): string =>
  instances < wanted ? `${instances} of ${wanted}` : `${instances}`

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
function readyLines({ golden, warm_pool: pool, standby = [] }: ClusterStatus): readonly string[] {
  const saved = golden
    ? [`golden snapshot ${printable(golden.snapshot)} on ${printable(golden.node)}, ${golden.made_at}`]
    : []
  const clones = standby.map(({ instance_id: id, of, as_of: asOf }) =>
    printable(asOf === null ? `${id} is being made to stand by` : `${id} stands by for ${of} as of ${asOf}`),
  )
  const warm = pool ? [`warm pool ${pool.ready} of ${pool.size} ${pool.state}`] : []
  return [...saved, ...warm, ...clones]
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
