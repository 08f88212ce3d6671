/** Asking for instances: scale and replace. */
import { policyBounds } from '../lib/policy.ts'
import { refuse, strict, z } from '../lib/schema.ts'
import { parseSize } from '../lib/units.ts'
import { endpoint, waitField } from './endpoint.ts'
import { answerOperation } from './outcome.ts'
import { startedShape, unchangedShape } from './shapes.ts'

const errors = [
  'unknown_cluster',
  'not_scalable',
  'operation_running',
  'no_capacity',
  'no_clone_source',
  'hypervisor_unreachable',
  'operation_failed',
  'operation_cancelled',
  'wait_timeout',
] as const

/** A hundred instances of 1,024 CPUs each: what the policy allows is less. */
const targetCpusMax = 102_400

const { rolling_pause_seconds: pause, rolling_max_failure_ratio: failures } = policyBounds

const bytes = (min: number) =>
  z
    .string()
    .transform((value, ctx): number => {
      const parsed = parseSize(value)
      if (!parsed.ok) return refuse(ctx, parsed.message, parsed.fix)
      return parsed.value >= min
        ? parsed.value
        : refuse(ctx, `\`${value}\` is too little`, `at least ${min}B`)
    })
    .meta({ description: 'As `512MiB`.' })

export const scaleEndpoints = [
  endpoint({
    id: 'scale_cluster',
    method: 'POST',
    path: '/api/v1/clusters/{cluster}/scale',
    summary: 'Bring a cluster to a number of instances, or of CPUs',
    query: strict({ wait: waitField }),
    body: strict({
      target_count: z.number().int().exactOptional().meta({
        description: '1 to 100, and within the bounds of the policy.',
      }),
      target_cpus: z.number().int().min(1).max(targetCpusMax).exactOptional().meta({
        description:
          'Instead of a count: the CPUs that all instances have together, at least. Only upwards; who grows and how many are made follows from the policy (`resize_first_cpus`).',
      }),
      operation: z
        .enum(['scale_out', 'scale_in'])
        .optional()
        .meta({ description: 'The direction; refused when it does not lead to the target.' }),
      immediate: z.boolean().default(false).meta({ description: 'Skip cooldowns and grace periods.' }),
      drain_connections: z.boolean().default(true).meta({ description: 'False cuts leaving instances.' }),
    }).superRefine(({ target_count: count, target_cpus: cpus, drain_connections: drain }, ctx) => {
      if (cpus !== undefined && !drain)
        refuse(
          ctx,
          '`drain_connections: false` goes with `target_count`: nobody leaves for more CPUs',
          'leave it out',
          ['drain_connections'],
        )
      if ((count === undefined) === (cpus === undefined))
        refuse(
          ctx,
          'one of `target_count` and `target_cpus` is wanted',
          'say how many instances, or how many CPUs',
          ['target_count'],
        )
    }),
    answers: {
      200: {
        description: 'Ended well (with `wait`), or there was nothing to do.',
        shape: z.union([startedShape, unchangedShape]),
      },
      202: { description: 'Started.', shape: startedShape },
    },
    errors: [
      ...(['target_out_of_bounds', 'resize_unsupported', 'cooling_down'] as const),
      ...(['instances_protected', 'load_returned'] as const),
      ...errors,
    ],
    handle: async ({ params, query, body, actor }, control) => {
      const { target_count: targetCount, target_cpus: targetCpus, immediate } = body
      const common = { cluster: params.cluster ?? '', direction: body.operation ?? null, immediate }
      const count = { targetCount: targetCount!, drainConnections: body.drain_connections }
      const command =
        targetCpus === undefined
          ? ({ kind: 'scale', ...common, ...count } as const)
          : ({ kind: 'scale_to_cpus', ...common, targetCpus } as const)
      return answerOperation(await control.execute(command, actor), query.wait, control)
    },
  }),
  endpoint({
    id: 'replace_instance',
    method: 'POST',
    path: '/api/v1/clusters/{cluster}/replace',
    summary:
      'Make a successor, then drain and destroy the instance; or all of them, at once or batch by batch',
    query: strict({ wait: waitField }),
    body: strict({
      instance_id: z.string().min(1).max(63).exactOptional(),
      all: z.literal(true).exactOptional().meta({
        description: 'Instead of one: all at once, by new ones of the template of now.',
      }),
      rolling: z.literal(true).exactOptional().meta({
        description:
          'Instead of one: all batch by batch, and back to the former template where one does not do well.',
      }),
      batch_size: z
        .union([z.number(), z.string().max(4)])
        .exactOptional()
        .meta({
          description:
            'With `rolling`: a number, or a share as `25%`; at most the disruption budget. Left out: the budget.',
        }),
      pause_seconds: z.number().min(pause.min).max(pause.max).exactOptional().meta({
        description: "With `rolling`: how long a batch serves before it is judged. Left out: the policy's.",
      }),
      max_failure_ratio: z.number().min(failures.min).max(failures.max).exactOptional().meta({
        description:
          "With `rolling`: the share of its exchanges that may fail, 0 to 1. Left out: the policy's.",
      }),
    }).superRefine((value, ctx) => {
      const { instance_id: one, all, rolling, ...wish } = value
      const asked = [one, all, rolling].filter(field => field !== undefined)
      const fix = 'name an instance, or write `all: true` or `rolling: true`'
      if (asked.length !== 1)
        refuse(ctx, 'one of `instance_id`, `all` and `rolling` is wanted', fix, ['instance_id'])
      const [stray] = Object.keys(wish)
      if (rolling === undefined && stray !== undefined)
        refuse(ctx, `\`${stray}\` is for a rolling replace`, 'write `rolling: true`, or leave it out', [
          stray,
        ])
    }),
    answers: {
      200: { description: 'Ended well (with `wait`).', shape: startedShape },
      202: { description: 'Started.', shape: startedShape },
    },
    errors: ['unknown_instance', 'rollback_impossible', 'checkpoint_failed', ...errors],
    handle: async ({ params, query, body, actor }, control) => {
      const cluster = params.cluster ?? ''
      const { instance_id: instanceId, all, rolling, ...wish } = body
      const command =
        instanceId !== undefined
          ? ({ kind: 'replace', cluster, instanceId } as const)
          : all
            ? ({ kind: 'replace_all', cluster } as const)
            : ({ kind: 'replace_rolling', cluster, wish } as const)
      return answerOperation(await control.execute(command, actor), query.wait, control)
    },
  }),
  endpoint({
    id: 'resize_instance',
    method: 'POST',
    path: '/api/v1/clusters/{cluster}/resize',
    summary: 'Give a running instance other CPUs, memory or disk',
    query: strict({ wait: waitField }),
    body: strict({
      instance_id: z.string().min(1).max(63),
      resources: strict({
        cpus: z.number().min(0.1).max(1024).exactOptional(),
        memory: bytes(16 * 2 ** 20).exactOptional(),
        disk: bytes(0).exactOptional(),
      }).meta({ description: 'What is left out stays as it is.' }),
    }),
    answers: {
      200: { description: 'Ended well (with `wait`).', shape: startedShape },
      202: { description: 'Started.', shape: startedShape },
    },
    errors: ['unknown_instance', 'resize_unsupported', ...errors],
    handle: async ({ params, query, body, actor }, control) => {
      const { cpus, memory, disk } = body.resources
      const command = {
        kind: 'resize',
        cluster: params.cluster ?? '',
        instanceId: body.instance_id,
        resources: {
          ...(cpus === undefined ? {} : { cpus }),
          ...(memory === undefined ? {} : { memoryBytes: memory }),
          ...(disk === undefined ? {} : { diskBytes: disk }),
        },
      } as const
      return answerOperation(await control.execute(command, actor), query.wait, control)
    },
  }),
]
