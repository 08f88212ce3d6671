/** Hypervisor nodes: what they hold and have free, emptying them, and the checks behind `tidegate doctor`. */
import { TidegateError } from '../lib/errors.ts'
import { strict, z } from '../lib/schema.ts'
import type { CommandResult } from '../lib/views.ts'
import { endpoint, waitField } from './endpoint.ts'
import { diagnosisShape, nodeShape } from './shapes.ts'

const one = z.strictObject({ node: nodeShape })

export const nodeEndpoints = [
  endpoint({
    id: 'list_nodes',
    method: 'GET',
    path: '/api/v1/nodes',
    summary: 'Nodes with what they hold, what they have free and whether they take new instances',
    answers: { 200: { description: 'The nodes.', shape: z.strictObject({ nodes: z.array(nodeShape) }) } },
    errors: [],
    handle: async (_asked, control) => ({ status: 200, body: { nodes: await control.nodes() } }),
  }),
  endpoint({
    id: 'get_node',
    method: 'GET',
    path: '/api/v1/nodes/{node}',
    summary: 'One node, with the progress of its drain',
    answers: { 200: { description: 'The node.', shape: one } },
    errors: ['unknown_node'],
    handle: async ({ params }, control) => ({
      status: 200,
      body: { node: await control.node(params.node ?? '') },
    }),
  }),
  endpoint({
    id: 'drain_node',
    method: 'POST',
    path: '/api/v1/nodes/{node}/drain',
    summary: 'Replace what is on it by instances elsewhere, and place nothing new on it',
    query: strict({ wait: waitField }),
    answers: {
      200: {
        description: 'With `wait`: how far it has come. `node.state` says whether it is drained.',
        shape: one,
      },
      202: { description: 'It has begun; there is room for everything elsewhere.', shape: one },
    },
    errors: ['unknown_node', 'no_capacity', 'hypervisor_unreachable', 'store_unavailable'],
    handle: async ({ params, query, actor }, control) => {
      const id = params.node ?? ''
      const node = nodeOf(await control.execute({ kind: 'drain_node', node: id }, actor))
      if (query.wait === undefined) return { status: 202, body: { node } }
      return { status: 200, body: { node: await control.waitNodeDrained(id, query.wait) } }
    },
  }),
  endpoint({
    id: 'ready_node',
    method: 'POST',
    path: '/api/v1/nodes/{node}/ready',
    summary: 'Take back a drain: it takes new instances again, and who is still there stays',
    answers: { 200: { description: 'It takes new instances.', shape: one } },
    errors: ['unknown_node', 'store_unavailable'],
    handle: async ({ params, actor }, control) => {
      const command = { kind: 'ready_node', node: params.node ?? '' } as const
      return { status: 200, body: { node: nodeOf(await control.execute(command, actor)) } }
    },
  }),
  endpoint({
    id: 'diagnose',
    method: 'GET',
    path: '/api/v1/diagnose',
    summary: 'Whether the drivers can do their work here, with what to do where they cannot',
    answers: {
      200: { description: 'The checks.', shape: z.strictObject({ checks: z.array(diagnosisShape) }) },
    },
    errors: [],
    handle: async (_asked, control) => ({ status: 200, body: { checks: await control.diagnose() } }),
  }),
]

function nodeOf(result: CommandResult) {
  if (result.result !== 'node') throw new TidegateError('internal', 'The command gave no node.')
  return result.node
}
