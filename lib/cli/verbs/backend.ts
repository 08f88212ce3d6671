/** `drain`, `ready` and `maint` of CLUSTER/BACKEND. */
import type { BackendView, DrainProof } from '../../cluster/backend.ts'
import { AdminClient, segment } from '../client.ts'
import { CliError, type Context, line, printJson } from '../io.ts'
import { formatDuration, plural } from '../table.ts'

interface One {
  readonly backend: BackendView
}

interface Drained extends One {
  readonly proof: DrainProof
}

/** The longest wait that the admin API gives. */
const waitMs = 600_000
const answerMarginMs = 10_000
const pollEveryMs = 500

export interface DrainOptions {
  /** Null, here and below: the cluster's own. */
  readonly graceMs: number | null
  readonly waitForConnections: boolean
  readonly sessions: string | null
  readonly tunnels: string | null
  readonly closeCode: number | null
  readonly spreadMs: number | null
  readonly wait: boolean
}

export async function drain(context: Context, target: string, options: DrainOptions): Promise<void> {
  const client = new AdminClient(context)
  const path = `${pathOf(target)}/drain`
  const body = bodyOf(options)
  if (!options.wait) return show(context, target, (await client.post<One>(path, body)).backend)
  const drained = client.post<Drained>(`${path}?wait=${waitMs}ms`, body, waitMs + answerMarginMs)
  const { backend, proof } = await watch(context, client, target, drained)
  if (!proof.drained)
    throw new CliError(
      1,
      'wait_timeout',
      `${target} is not drained yet: ${leftText(proof)} left${whenText(proof)}. The drain goes on; see \`tidegate status\`.`,
      { proof },
    )
  if (context.json) return printJson(context.io, { backend, proof })
  const cut = proof.deadline_reached ? ' The deadline came first: some were cut.' : ''
  line(
    context.io.stdout,
    `${target} is drained after ${formatDuration(proof.waited_ms)}: ${leftText(proof)} left.${cut}`,
  )
}

function bodyOf({ graceMs, waitForConnections, sessions, tunnels, closeCode, spreadMs }: DrainOptions) {
  return {
    ...(graceMs === null ? {} : { grace_period_seconds: graceMs / 1000 }),
    ...(waitForConnections ? {} : { wait_for_connections: false }),
    ...(sessions === null ? {} : { sessions }),
    ...(tunnels === null ? {} : { tunnels }),
    ...(closeCode === null ? {} : { close_code: closeCode }),
    ...(spreadMs === null ? {} : { close_spread_seconds: spreadMs / 1000 }),
  }
}

export async function mark(
  context: Context,
  target: string,
  verb: 'ready' | 'maint' | 'protect' | 'unprotect',
): Promise<void> {
  const client = new AdminClient(context)
  const { backend } = await client.post<One>(`${pathOf(target)}/${verb}`)
  show(context, target, backend)
}

function show(context: Context, target: string, backend: BackendView): void {
  if (context.json) return printJson(context.io, { backend })
  const kept = backend.instance?.protected ? ', and protected from scale-in' : ''
  line(context.io.stdout, `${target} is ${backend.state}${kept}.`)
}

/** Shows what is left until the drain's own answer comes. Ctrl-C leaves the drain running. */
async function watch(
  context: Context,
  client: AdminClient,
  target: string,
  drained: Promise<Drained>,
): Promise<Drained> {
  const { io } = context
  const interrupted = Promise.withResolvers<never>()
  let shown = ''
  let polling = false
  let ended = false
  const stopPoll = io.clock.every(pollEveryMs, () => {
    if (polling || context.json) return
    polling = true
    void find(client, target)
      .then(backend => {
        if (backend && !ended) shown = progress(context, target, backend, shown)
      })
      // The drain's own answer tells of a lost connection.
      .catch(() => {})
      .finally(() => {
        polling = false
      })
  })
  const stopSignals = io.onSignal(() => {
    const message = `the drain of ${target} goes on without you. Follow it: tidegate status; take it back: tidegate ready ${target}`
    interrupted.reject(new CliError(1, 'interrupted', message))
  })
  try {
    return await Promise.race([drained, interrupted.promise])
  } finally {
    ended = true
    stopPoll()
    stopSignals()
    if (io.stdout.isTTY && shown !== '') io.stdout.write('\r\u001b[2K')
  }
}

function progress({ io }: Context, target: string, backend: BackendView, shown: string): string {
  const text = `${target} ${backend.state}: ${leftText(backend)} left`
  if (text === shown) return shown
  io.stdout.write(io.stdout.isTTY ? `\r\u001b[2K${text}` : `${text}\n`)
  return text
}

async function find(client: AdminClient, target: string): Promise<BackendView | undefined> {
  const { cluster, backend } = split(target)
  const { backends } = await client.get<{ backends: BackendView[] }>(
    `/api/v1/clusters/${segment(cluster)}/backends`,
  )
  return backends.find(one => one.id === backend)
}

const leftText = (left: Pick<DrainProof, 'in_flight' | 'tunnels' | 'sessions'>): string => {
  const sessions = left.sessions === null ? '' : `, ${plural(left.sessions, 'session')}`
  return `${left.in_flight} in flight, ${plural(left.tunnels, 'tunnel')}${sessions}`
}

/** What the wait is for: the oldest tunnel, and the end of the grace period. */
function whenText({ oldest_tunnel_seconds: oldest, deadline_at, deadline_reached }: DrainProof): string {
  const age = oldest === undefined ? '' : `, the oldest tunnel open for ${formatDuration(oldest * 1000)}`
  const deadline = deadline_at === null || deadline_reached ? '' : `; its time ends at ${deadline_at}`
  return `${age}${deadline}`
}

function pathOf(target: string): string {
  const { cluster, backend } = split(target)
  return `/api/v1/clusters/${segment(cluster)}/backends/${segment(backend)}`
}

function split(target: string): { cluster: string; backend: string } {
  const [cluster, backend, ...rest] = target.split('/')
  if (!cluster || !backend || rest.length > 0)
    throw new CliError(
      2,
      'invalid_request',
      `${target} does not name a backend; write CLUSTER/BACKEND, as web/a.`,
    )
  return { cluster, backend }
}
