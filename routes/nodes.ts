/** Hypervisor nodes and what they hold, and the checks behind `tidegate doctor`. Reads only. */
import { z } from '../lib/schema.ts'
import { endpoint } from './endpoint.ts'
import { diagnosisShape, nodeShape } from './shapes.ts'

export const nodeEndpoints = [
  endpoint({
    id: 'list_nodes',
    method: 'GET',
    path: '/api/v1/nodes',
    summary: 'Nodes with the instances and snapshots that they hold',
    answers: { 200: { description: 'The nodes.', shape: z.strictObject({ nodes: z.array(nodeShape) }) } },
    errors: [],
    handle: async (_asked, control) => ({ status: 200, body: { nodes: await control.nodes() } }),
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
