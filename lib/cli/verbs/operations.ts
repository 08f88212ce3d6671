/** `operations [ID] [--follow]` and `history [CLUSTER]`: what was done, and what is being done. */
import type { OperationView } from '../../scaling/operation.ts'
import { AdminClient, segment } from '../client.ts'
import { follow, verdict } from '../follow.ts'
import { CliError, type Context, line, printJson } from '../io.ts'
import { endLine, operationLines, remedyLines } from '../steps.ts'
import { formatDuration, printable, table } from '../table.ts'

export interface OperationsOptions {
  readonly follow: boolean
  readonly cancel: boolean
  readonly acknowledge: boolean
  readonly cluster?: string | undefined
  readonly limit: number
}

export async function operations(
  context: Context,
  id: string | undefined,
  options: OperationsOptions,
): Promise<void> {
  const client = new AdminClient(context)
  if (id !== undefined) return one(context, client, id, options)
  for (const act of ['cancel', 'acknowledge'] as const)
    if (options[act]) throw new CliError(2, 'invalid_request', `--${act} needs the ID of an operation.`)
  const query = new URLSearchParams({ limit: String(options.limit) })
  if (options.cluster !== undefined) query.set('cluster', options.cluster)
  const answer = await client.get<{ operations: OperationView[] }>(`/api/v1/operations?${query}`)
  if (options.follow) {
    const running = answer.operations.find(({ status }) => status === 'running')
    if (!running) throw new CliError(1, 'unknown_operation', 'no operation is running: nothing to follow.')
    return one(context, client, running.id, options)
  }
  if (context.json) return printJson(context.io, answer)
  for (const text of listLines(answer.operations, context.io.clock.now())) line(context.io.stdout, text)
}

export async function history(
  context: Context,
  cluster: string | undefined,
  options: { readonly limit: number },
): Promise<void> {
  const client = new AdminClient(context)
  const whose = cluster === undefined ? '/api/v1/history' : `/api/v1/clusters/${segment(cluster)}/history`
  const answer = await client.get<{ history: HistoryLine[] }>(`${whose}?limit=${options.limit}`)
  if (context.json) return printJson(context.io, answer)
  if (answer.history.length === 0) return line(context.io.stdout, 'nothing was done yet')
  const rows = answer.history.map(one => [
    one.at,
    printable(one.actor),
    ...(cluster === undefined ? [printable(one.cluster_id ?? one.node_id ?? '-')] : []),
    one.outcome ?? '-',
    shortened(printable(one.reason)),
  ])
  const whom = cluster === undefined ? ['OF'] : []
  for (const text of table(['AT', 'WHO', ...whom, 'OUTCOME', 'WHAT'], rows)) line(context.io.stdout, text)
}

interface HistoryLine {
  readonly at: string
  readonly actor: string
  readonly cluster_id: string | null
  readonly node_id: string | null
  readonly outcome: string | null
  readonly reason: string
}

/** The audit trail's reason may end in an application's log; `--json` has it whole. */
const shortened = (text: string): string => (text.length > 160 ? `${text.slice(0, 157)}...` : text)

async function one(
  context: Context,
  client: AdminClient,
  id: string,
  options: OperationsOptions,
): Promise<void> {
  const path = `/api/v1/operations/${segment(id)}`
  if (options.cancel && options.acknowledge)
    throw new CliError(2, 'invalid_request', '--cancel and --acknowledge cannot be asked together.')
  const act = options.cancel ? 'cancel' : options.acknowledge ? 'acknowledge' : null
  const operation = act
    ? await client.post<OperationView>(`${path}/${act}`)
    : await client.get<OperationView>(path)
  if (options.follow) {
    const ended = await follow(context, client, operation)
    if (!options.cancel) verdict(ended)
    if (context.json) printJson(context.io, ended)
    return
  }
  if (context.json) return printJson(context.io, operation)
  for (const text of operationLines(operation, context.io.clock.now())) line(context.io.stdout, text)
  if (operation.status === 'running') return
  line(context.io.stdout, endLine(operation))
  for (const text of remedyLines(operation)) line(context.io.stdout, text)
}

function listLines(list: readonly OperationView[], nowMs: number): string[] {
  if (list.length === 0) return ['no operations yet']
  return table(
    ['ID', 'CLUSTER', 'TYPE', 'STATUS', 'PHASE', 'STARTED', 'TOOK', 'BY'],
    list.map(one => [
      one.id,
      one.cluster_id,
      one.type,
      one.status,
      one.phase,
      one.created_at,
      formatDuration((one.completed_at ? Date.parse(one.completed_at) : nowMs) - Date.parse(one.created_at)),
      printable(one.actor),
    ]),
  )
}
