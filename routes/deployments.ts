/** Scaling in the words of deployments and replicas, for clients that speak them: the same operation as `scale`. */
import { strict, z } from '../lib/schema.ts'
import { endpoint, waitField } from './endpoint.ts'
import { answerOperation } from './outcome.ts'
import { deploymentShape } from './shapes.ts'

const waitMsDefault = 60_000

export const deploymentEndpoints = [
  endpoint({
    id: 'scale_deployment',
    method: 'POST',
    path: '/api/v1/deployments/{cluster}/scale',
    summary: 'Bring a cluster to a number of replicas, and answer when they are there',
    query: strict({ wait: waitField.default(waitMsDefault) }),
    body: strict({ replicas: z.number().int().min(1).max(100) }),
    answers: { 200: { description: 'They are there, or were already.', shape: deploymentShape } },
    errors: [
      ...(['unknown_cluster', 'not_scalable', 'target_out_of_bounds', 'operation_running'] as const),
      ...(['no_capacity', 'no_clone_source', 'hypervisor_unreachable'] as const),
      ...(['operation_failed', 'operation_cancelled'] as const),
      ...(['cooling_down', 'instances_protected', 'load_returned', 'wait_timeout'] as const),
    ],
    handle: async ({ params, query, body: { replicas }, actor }, control) => {
      const id = params.cluster ?? ''
      const before = control.cluster(id).instances
      const asked = { targetCount: replicas, immediate: false, drainConnections: true } as const
      const result = await control.execute({ kind: 'scale', cluster: id, direction: null, ...asked }, actor)
      const { headers = {} } = await answerOperation(result, query.wait, control)
      const message =
        result.result === 'unchanged' ? `Already at ${replicas} replicas` : said(before, replicas)
      const body = { success: true, deployment_id: id, status: 'running', replicas, message }
      return { status: 200, body, headers }
    },
  }),
]

const said = (from: number, to: number): string =>
  to > from
    ? `Scaled up to ${to} replicas (${to - from} added)`
    : `Scaled down to ${to} replicas (${from - to} removed)`
