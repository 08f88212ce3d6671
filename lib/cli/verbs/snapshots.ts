/** `snapshots [--remove ID]`: what the nodes hold, who uses it; removes one that nobody uses. */
import type { SnapshotView } from '../../scaling/readiness/snapshots.ts'
import { AdminClient, segment } from '../client.ts'
import { type Context, line, printJson } from '../io.ts'
import { printable, table } from '../table.ts'

const MiB = 1024 ** 2

export async function snapshots(context: Context, options: { readonly remove?: string }): Promise<void> {
  const client = new AdminClient(context)
  if (options.remove !== undefined) {
    await client.call(`/api/v1/snapshots/${segment(options.remove)}`, { method: 'DELETE' })
    if (context.json) return printJson(context.io, { removed: options.remove })
    return line(context.io.stdout, `${options.remove} is removed.`)
  }
  const answer = await client.get<{ snapshots: SnapshotView[] }>('/api/v1/snapshots')
  if (context.json) return printJson(context.io, answer)
  if (answer.snapshots.length === 0) return line(context.io.stdout, 'no snapshots')
  const rows = answer.snapshots.map(one => [
    printable(one.id),
    one.kind,
    one.cluster_id,
    one.node_id,
    (one.bytes / MiB).toFixed(1),
    one.complete ? 'yes' : 'no',
    one.created_at,
    one.used_by.map(({ kind, id }) => `${kind} ${printable(id)}`).join(', ') || '-',
  ])
  const heads = ['ID', 'KIND', 'CLUSTER', 'NODE', 'MIB', 'WHOLE', 'TAKEN', 'USED BY']
  for (const text of table(heads, rows)) line(context.io.stdout, text)
}
