/** `nodes`, `drain-node NODE` and `ready-node NODE`: what nodes have free, emptying one, taking that back. */
import type { NodeView } from '../../views.ts'
import { AdminClient, segment } from '../client.ts'
import { CliError, type Context, line, printJson } from '../io.ts'
import { plural, printable, table } from '../table.ts'

interface One {
  readonly node: NodeView
}

const pollMs = 1_000
const GiB = 1024 ** 3

export async function nodes(context: Context): Promise<void> {
  const answer = await new AdminClient(context).get<{ nodes: NodeView[] }>('/api/v1/nodes')
  if (context.json) return printJson(context.io, answer)
  const rows = answer.nodes.map(one => [
    one.node_id,
    one.driver,
    one.zone,
    one.state,
    String(one.instances.length),
    one.free ? `${one.free.cpus}/${one.capacity.cpus}` : '-',
    one.free ? `${gibs(one.free.memory_bytes)}/${gibs(one.capacity.memory_bytes)}` : '-',
    one.free ? `${gibs(one.free.disk_bytes)}/${gibs(one.capacity.disk_bytes)}` : '-',
    String(one.load),
    one.price ? String(one.price.hourly) : '-',
  ])
  const head = [
    'NODE',
    'DRIVER',
    'ZONE',
    'STATE',
    'INSTANCES',
    'CPUS',
    'GiB MEMORY',
    'GiB DISK',
    'LOAD',
    'HOURLY',
  ]
  for (const text of table(head, rows)) line(context.io.stdout, text)
}

export async function readyNode(context: Context, id: string): Promise<void> {
  const answer = await new AdminClient(context).post<One>(`${pathOf(id)}/ready`)
  if (context.json) return printJson(context.io, answer)
  line(context.io.stdout, `${id} is ${answer.node.state}.`)
}

/** Follows it to its end. Ctrl-C leaves it going on. */
export async function drainNode(
  context: Context,
  id: string,
  { wait }: { readonly wait: boolean },
): Promise<void> {
  const client = new AdminClient(context)
  let answer = await client.post<One>(`${pathOf(id)}/drain`)
  if (wait) answer = await follow(context, client, id, answer)
  if (context.json) return printJson(context.io, answer)
  line(context.io.stdout, wait ? `${id} is ${answer.node.state}.` : told(id, answer.node))
}

async function follow(context: Context, client: AdminClient, id: string, first: One): Promise<One> {
  const { io } = context
  const interrupted = new AbortController()
  const stopSignals = io.onSignal(() => interrupted.abort())
  let answer = first
  let shown = ''
  try {
    while (answer.node.drain && answer.node.state !== 'drained') {
      const text = told(id, answer.node)
      if (text !== shown && !context.json) line(io.stdout, text)
      shown = text
      await io.clock.sleep(pollMs, interrupted.signal).catch(() => {
        const message = `the drain of ${id} goes on without you. Follow it: tidegate nodes; take it back: tidegate ready-node ${id}`
        throw new CliError(1, 'interrupted', message)
      })
      answer = await client.get<One>(pathOf(id))
    }
  } finally {
    stopSignals()
  }
  if (answer.node.drain === null)
    throw new CliError(1, 'operation_cancelled', `somebody took the drain of ${id} back.`)
  return answer
}

function told(id: string, { drain, state }: NodeView): string {
  if (!drain) return `${id} is ${state}.`
  const why = drain.blocked
    .map(({ cluster_id, message }) => `; ${cluster_id}: ${printable(message)}`)
    .join('')
  return `${id} ${state}: ${drain.left} of ${plural(drain.instances, 'instance')} left${why}`
}

const gibs = (bytes: number): string => (bytes / GiB).toFixed(1)
const pathOf = (id: string): string => `/api/v1/nodes/${segment(id)}`
