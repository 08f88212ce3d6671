/** `policy CLUSTER`: shows the scaling policy in force, changes what is given, or goes back to the file's. */
import type { PolicyView } from '../../policy.ts'
import type { PolicyAnswer } from '../../views.ts'
import { AdminClient, segment } from '../client.ts'
import { CliError, type Context, line, printJson } from '../io.ts'
import { table } from '../table.ts'

export interface PolicyOptions {
  readonly change: Partial<PolicyView>
  readonly reset: boolean
}

export async function policy(context: Context, cluster: string, options: PolicyOptions): Promise<void> {
  const client = new AdminClient(context)
  const path = `/api/v1/clusters/${segment(cluster)}/policy`
  const changes = Object.keys(options.change).length > 0
  if (changes && options.reset)
    throw new CliError(2, 'invalid_request', '--reset goes back to the file: leave the other options out.')
  const answer = options.reset
    ? await client.call<PolicyAnswer>(path, { method: 'DELETE' })
    : changes
      ? await client.call<PolicyAnswer>(path, { method: 'PUT', body: options.change })
      : await client.get<PolicyAnswer>(path)
  if (context.json) return printJson(context.io, answer)
  const { cluster_id, source, set_by, set_at, ...fields } = answer
  const from = source === 'file' ? 'from the file' : `set by ${set_by} at ${set_at}`
  line(context.io.stdout, `policy of ${cluster_id}, ${from}`)
  for (const text of table(
    ['KEY', 'VALUE'],
    Object.entries(fields).map(([key, value]) => [key, String(value)]),
  ))
    line(context.io.stdout, text)
}
