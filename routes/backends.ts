/** Backends of a cluster: their state, static ones in and out, drain, ready and maintenance. */
import type { BackendView, DrainPolicy } from '../lib/cluster/backend.ts'
import { TidegateError } from '../lib/errors.ts'
import { refuse, strict, z } from '../lib/schema.ts'
import { formatAddress, parseAddress } from '../lib/units.ts'
import type { CommandResult } from '../lib/views.ts'
import { endpoint, waitField } from './endpoint.ts'
import { type BackendRow, backendShape, proofShape } from './shapes.ts'

const one = z.strictObject({ backend: backendShape })
const base = '/api/v1/clusters/{cluster}/backends'
const unknown = ['unknown_cluster', 'unknown_backend'] as const

const newAddress = z
  .string()
  .transform((value, ctx) => {
    const parsed = parseAddress(value, 1)
    return parsed.ok ? parsed.value : refuse(ctx, parsed.message, parsed.fix)
  })
  .meta({ description: '`host:port`, or `[IPv6]:port`.' })

const seconds = z.number().min(0).max(86_400).optional()

const drainBody = strict({
  grace_period_seconds: seconds.meta({ description: 'How long what is left may go on.' }),
  wait_for_connections: z.boolean().optional().meta({ description: 'False: a grace period of zero.' }),
  notify_clients: z
    .boolean()
    .optional()
    .meta({ description: 'True is `tunnels: close`, false is `tunnels: cut`.' }),
  sessions: z.enum(['keep', 'repin', 'cut']).optional().meta({
    description:
      'Bound clients go elsewhere at once (`cut`) or at the deadline; `keep` waits until then for their sessions to end.',
  }),
  tunnels: z
    .enum(['keep', 'close', 'cut'])
    .optional()
    .meta({ description: 'WebSockets are told by the deadline, cut at it, or left to end by themselves.' }),
  close_code: z.union([z.literal(1001), z.literal(1012)]).optional(),
  close_spread_seconds: seconds.meta({
    description: 'The last part of the grace period, over which WebSockets are told.',
  }),
}).transform((body, ctx) => {
  const { notify_clients: notify, tunnels } = body
  if (notify === undefined || tunnels === undefined || notify === (tunnels === 'close')) return body
  return refuse(
    ctx,
    `\`notify_clients: ${notify}\` contradicts \`tunnels: ${tunnels}\``,
    'leave `notify_clients` out',
    ['notify_clients'],
  )
})

export const backendEndpoints = [
  endpoint({
    id: 'list_backends',
    method: 'GET',
    path: base,
    summary: 'Backends with their state, health and load',
    answers: {
      200: { description: 'The backends.', shape: z.strictObject({ backends: z.array(backendShape) }) },
    },
    errors: ['unknown_cluster'],
    handle: ({ params }, control) => ({
      status: 200,
      body: { backends: control.backends(params.cluster ?? '').map(row) },
    }),
  }),
  endpoint({
    id: 'register_backend',
    method: 'POST',
    path: base,
    summary: 'Register a static backend',
    body: strict({
      id: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/),
      address: newAddress,
      weight: z.number().int().min(1).max(1000).default(1),
      zone: z
        .string()
        .regex(
          /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/,
          'lower-case letters, digits and `-`, at most 63, as "fra-1"',
        )
        .optional()
        .meta({ description: 'Where it is, for `zone_preference`. Left out: elsewhere.' }),
    }),
    answers: { 201: { description: 'Registered; it serves when its checks pass.', shape: one } },
    errors: ['unknown_cluster', 'backend_exists'],
    handle: async ({ params, body, actor }, control) => {
      const { id: backend, address, weight, zone } = body
      const command = {
        kind: 'register_backend',
        ...of(params.cluster, backend),
        ...address,
        weight,
        ...(zone === undefined ? {} : { zone }),
      } as const
      return { status: 201, body: { backend: viewOf(await control.execute(command, actor)) } }
    },
  }),
  endpoint({
    id: 'deregister_backend',
    method: 'DELETE',
    path: `${base}/{backend}`,
    summary: 'Deregister a static backend; what is in flight on it may end',
    answers: { 204: { description: 'It takes no requests any more.' } },
    errors: [...unknown, 'backend_is_instance'],
    handle: async ({ params, actor }, control) => {
      await control.execute({ kind: 'deregister_backend', ...of(params.cluster, params.backend) }, actor)
      return { status: 204 }
    },
  }),
  endpoint({
    id: 'drain_backend',
    method: 'POST',
    path: `${base}/{backend}/drain`,
    summary: 'Give it no new clients and let those it has finish',
    query: strict({ wait: waitField }),
    body: drainBody
      .optional()
      .meta({ description: "What is left out is taken from the cluster's own drain settings." }),
    answers: {
      200: {
        description: 'With `wait`: what is left on it. `proof.drained` says whether the drain has ended.',
        shape: z.strictObject({ backend: backendShape, proof: proofShape }),
      },
      202: { description: 'The drain has begun.', shape: one },
    },
    errors: unknown,
    handle: async ({ params, query, body, actor }, control) => {
      const { cluster, backend } = of(params.cluster, params.backend)
      const command = { kind: 'drain_backend', cluster, backend, policy: policyOf(body ?? {}) } as const
      const result = await control.execute(command, actor)
      if (query.wait === undefined) return { status: 202, body: { backend: viewOf(result) } }
      const proof = await control.waitDrained(cluster, backend, query.wait)
      return { status: 200, body: { backend: row(control.backend(cluster, backend)), proof } }
    },
  }),
  endpoint({
    id: 'read_drain',
    method: 'GET',
    path: `${base}/{backend}/drain`,
    summary: 'What is left on it, and until when; changes nothing',
    query: strict({ wait: waitField }),
    answers: {
      200: {
        description: 'At once, or with `wait` when its drain has ended.',
        shape: z.strictObject({ backend: backendShape, proof: proofShape }),
      },
    },
    errors: unknown,
    handle: async ({ params, query }, control) => {
      const { cluster, backend } = of(params.cluster, params.backend)
      const proof = await control.waitDrained(cluster, backend, query.wait ?? 0)
      return { status: 200, body: { backend: row(control.backend(cluster, backend)), proof } }
    },
  }),
  endpoint({
    id: 'ready_backend',
    method: 'POST',
    path: `${base}/{backend}/ready`,
    summary: 'Take back a drain or maintenance',
    answers: { 200: { description: 'It serves as soon as its checks pass.', shape: one } },
    errors: unknown,
    handle: async ({ params, actor }, control) => {
      const command = { kind: 'ready_backend', ...of(params.cluster, params.backend) } as const
      return { status: 200, body: { backend: viewOf(await control.execute(command, actor)) } }
    },
  }),
  ...[true, false].map(on => {
    const verb = on ? 'protect' : 'unprotect'
    return endpoint({
      id: `${verb}_backend`,
      method: 'POST',
      path: `${base}/{backend}/${verb}`,
      summary: on ? 'Let no scale-in choose this instance' : 'Let scale-in choose this instance again',
      answers: { 200: { description: 'It is so, and kept over restarts.', shape: one } },
      errors: ['unknown_cluster', 'unknown_instance'],
      handle: async ({ params, actor }, control) => {
        const command = {
          kind: 'protect_backend',
          ...of(params.cluster, params.backend),
          protected: on,
        } as const
        const backend = viewOf(await control.execute(command, actor))
        return { status: 200, body: { backend } }
      },
    })
  }),
  endpoint({
    id: 'maint_backend',
    method: 'POST',
    path: `${base}/{backend}/maint`,
    summary: 'Take it out of rotation at once, for its bound clients too',
    answers: { 200: { description: 'It is in maintenance.', shape: one } },
    errors: unknown,
    handle: async ({ params, actor }, control) => {
      const command = { kind: 'maint_backend', ...of(params.cluster, params.backend) } as const
      return { status: 200, body: { backend: viewOf(await control.execute(command, actor)) } }
    },
  }),
]

type DrainBody = z.output<typeof drainBody>

/** Only what was said: the rest is the cluster's own. */
function policyOf(body: DrainBody): Partial<DrainPolicy> {
  const {
    grace_period_seconds: grace,
    wait_for_connections,
    sessions,
    close_code,
    close_spread_seconds,
  } = body
  const { notify_clients: notify } = body
  const tunnels = body.tunnels ?? (notify === undefined ? undefined : notify ? 'close' : 'cut')
  return {
    ...(grace === undefined ? {} : { gracePeriodMs: Math.round(grace * 1000) }),
    ...(wait_for_connections === undefined ? {} : { waitForConnections: wait_for_connections }),
    ...(sessions === undefined ? {} : { sessions }),
    ...(tunnels === undefined ? {} : { tunnels }),
    ...(close_code === undefined ? {} : { closeCode: close_code }),
    ...(close_spread_seconds === undefined ? {} : { closeSpreadMs: Math.round(close_spread_seconds * 1000) }),
  }
}

const of = (cluster = '', backend = '') => ({ cluster, backend })

const row = (view: BackendView): BackendRow => ({ ...view, address: formatAddress(view.host, view.port) })

function viewOf(result: CommandResult): BackendRow {
  if (result.result !== 'backend') throw new TidegateError('internal', 'The command gave no backend.')
  return row(result.backend)
}
