/** A cluster's scaling policy: which is in force, where it comes from, and setting another. */

import { TidegateError } from '../lib/errors.ts'
import { policyBounds, protections } from '../lib/policy.ts'
import { strict, z } from '../lib/schema.ts'
import type { CommandResult } from '../lib/views.ts'
import { endpoint } from './endpoint.ts'
import { policyAnswerShape } from './shapes.ts'

const path = '/api/v1/clusters/{cluster}/policy'

const whole = (key: keyof typeof policyBounds) => {
  const { min, max } = policyBounds[key]
  return z.number().int().min(min).max(max).exactOptional()
}
const { target_cpu_utilization: cpu, rolling_max_failure_ratio: failures } = policyBounds

const body = strict({
  min_instances: whole('min_instances'),
  max_instances: whole('max_instances'),
  target_cpu_utilization: z.number().min(cpu.min).max(cpu.max).exactOptional(),
  scale_in_cooldown_seconds: whole('scale_in_cooldown_seconds'),
  scale_out_cooldown_seconds: whole('scale_out_cooldown_seconds'),
  disruption_budget: whole('disruption_budget').meta({
    description: 'Instances that a node drain or a rolling replacement takes away at once.',
  }),
  rolling_pause_seconds: whole('rolling_pause_seconds').meta({
    description: 'How long a batch of a rolling replace serves before it is judged.',
  }),
  rolling_max_failure_ratio: z.number().min(failures.min).max(failures.max).exactOptional().meta({
    description: 'The share of its exchanges that may fail.',
  }),
  scale_in_cancel_in_flight: whole('scale_in_cancel_in_flight').meta({
    description: 'Exchanges per remaining instance at which a scale-in is given up; 0: never.',
  }),
  resize_first_cpus: whole('resize_first_cpus').meta({
    description: 'Asked for CPUs, instances grow to so many each before others are made; 0: others are made.',
  }),
  resize_first_memory_mib: whole('resize_first_memory_mib').meta({
    description: 'The memory that an instance has at that many CPUs, MiB; 0: memory stays.',
  }),
  protect: z.enum(protections).exactOptional(),
})

export const policyEndpoints = [
  endpoint({
    id: 'get_policy',
    method: 'GET',
    path,
    summary: 'The scaling policy in force, and whether the file or the API set it',
    answers: { 200: { description: 'The policy.', shape: policyAnswerShape } },
    errors: ['unknown_cluster'],
    handle: ({ params }, control) => ({ status: 200, body: control.policy(params.cluster ?? '') }),
  }),
  endpoint({
    id: 'set_policy',
    method: 'PUT',
    path,
    summary: 'Change the scaling policy; what is left out stays',
    body,
    answers: { 200: { description: 'In force, and kept.', shape: policyAnswerShape } },
    errors: ['unknown_cluster', 'store_unavailable'],
    handle: async ({ params, body, actor }, control) => {
      const command = { kind: 'set_policy', cluster: params.cluster ?? '', policy: body } as const
      return answer(await control.execute(command, actor))
    },
  }),
  endpoint({
    id: 'reset_policy',
    method: 'DELETE',
    path,
    summary: "Back to the file's policy",
    answers: { 200: { description: "The file's is in force.", shape: policyAnswerShape } },
    errors: ['unknown_cluster', 'store_unavailable'],
    handle: async ({ params, actor }, control) =>
      answer(await control.execute({ kind: 'reset_policy', cluster: params.cluster ?? '' }, actor)),
  }),
]

function answer(result: CommandResult) {
  if (result.result !== 'policy') throw new TidegateError('internal', 'The command made no policy.')
  return { status: 200, body: result.policy }
}
