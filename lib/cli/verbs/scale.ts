/** `scale CLUSTER --to N` or `--cpus N`, `replace CLUSTER INSTANCE` and `resize`: start an operation and follow it to its end. */
import type { OperationView } from '../../scaling/operation.ts'
import type { ClusterStatus } from '../../views.ts'
import { AdminClient, segment } from '../client.ts'
import { follow, verdict } from '../follow.ts'
import { CliError, type Context, line, printJson } from '../io.ts'

type Started =
  | ({ readonly operation_id: string } & OperationView)
  | { readonly operation_id: null; readonly message: string; readonly cluster: ClusterStatus }

export interface ScaleOptions {
  readonly to?: number
  readonly cpus?: number
  readonly immediate: boolean
  readonly drain: boolean
  readonly wait: boolean
}

export async function scale(context: Context, cluster: string, options: ScaleOptions): Promise<void> {
  const { to, cpus, immediate, drain } = options
  if ((to === undefined) === (cpus === undefined))
    throw new CliError(
      2,
      'invalid_request',
      'write --to N for so many instances, or --cpus N for so many CPUs.',
    )
  if (cpus !== undefined && !drain)
    throw new CliError(2, 'invalid_request', '--no-drain goes with --to: nobody leaves for more CPUs.')
  const body =
    cpus === undefined
      ? { target_count: to, immediate, drain_connections: drain }
      : { target_cpus: cpus, immediate }
  await operate(context, `/api/v1/clusters/${segment(cluster)}/scale`, body, options.wait)
}

export interface ReplaceOptions {
  readonly wait: boolean
  readonly all: boolean
  readonly rolling: boolean
  readonly batch?: number | string
  /** Milliseconds. */
  readonly pause?: number
  readonly maxFailureRatio?: number
}

export async function replace(
  context: Context,
  cluster: string,
  instance: string | undefined,
  options: ReplaceOptions,
): Promise<void> {
  const { all, rolling, batch, pause, maxFailureRatio: ratio } = options
  if ([instance !== undefined, all, rolling].filter(Boolean).length !== 1)
    throw new CliError(2, 'invalid_request', 'name an instance, or write --all or --rolling.')
  if (!rolling && [batch, pause, ratio].some(given => given !== undefined))
    throw new CliError(2, 'invalid_request', '--batch, --pause and --max-failure-ratio go with --rolling.')
  const wish = {
    ...(batch === undefined ? {} : { batch_size: batch }),
    ...(pause === undefined ? {} : { pause_seconds: pause / 1000 }),
    ...(ratio === undefined ? {} : { max_failure_ratio: ratio }),
  }
  await operate(
    context,
    `/api/v1/clusters/${segment(cluster)}/replace`,
    rolling ? { rolling: true, ...wish } : all ? { all: true } : { instance_id: instance },
    options.wait,
  )
}

export async function resize(
  context: Context,
  cluster: string,
  instance: string,
  { wait, ...resources }: { readonly wait: boolean; readonly cpus?: number; readonly memory?: string },
): Promise<void> {
  await operate(
    context,
    `/api/v1/clusters/${segment(cluster)}/resize`,
    { instance_id: instance, resources },
    wait,
  )
}

async function operate(context: Context, path: string, body: unknown, wait: boolean): Promise<void> {
  const client = new AdminClient(context)
  const started = await client.post<Started>(path, body)
  if (started.operation_id === null) {
    if (context.json) printJson(context.io, started)
    else line(context.io.stdout, started.message)
    return
  }
  if (!wait) {
    if (context.json) printJson(context.io, started)
    else
      line(
        context.io.stdout,
        `${started.type} started. Follow it: tidegate operations ${started.id} --follow`,
      )
    return
  }
  const ended = await follow(context, client, started)
  verdict(ended)
  if (context.json) printJson(context.io, ended)
}
