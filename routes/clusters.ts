/** Clusters: what they are, how they stand, what was done to them. Reads only. */
import { strict, z } from '../lib/schema.ts'
import { countField, endpoint } from './endpoint.ts'
import { clusterShape, historyShape, statusShape } from './shapes.ts'

export const clusterEndpoints = [
  endpoint({
    id: 'list_clusters',
    method: 'GET',
    path: '/api/v1/clusters',
    summary: 'All clusters',
    answers: {
      200: { description: 'Every cluster.', shape: z.strictObject({ clusters: z.array(clusterShape) }) },
    },
    errors: [],
    handle: (_asked, control) => ({ status: 200, body: { clusters: control.clusters() } }),
  }),
  endpoint({
    id: 'get_cluster',
    method: 'GET',
    path: '/api/v1/clusters/{cluster}',
    summary: 'One cluster',
    answers: { 200: { description: 'The cluster.', shape: clusterShape } },
    errors: ['unknown_cluster'],
    handle: ({ params }, control) => ({ status: 200, body: control.cluster(params.cluster ?? '') }),
  }),
  endpoint({
    id: 'get_cluster_status',
    method: 'GET',
    path: '/api/v1/clusters/{cluster}/status',
    summary: 'How a cluster stands: instances, scaling, health, its last operation',
    answers: { 200: { description: 'The status.', shape: statusShape } },
    errors: ['unknown_cluster'],
    handle: async ({ params }, control) => ({
      status: 200,
      body: await control.status(params.cluster ?? ''),
    }),
  }),
  endpoint({
    id: 'get_cluster_history',
    method: 'GET',
    path: '/api/v1/clusters/{cluster}/history',
    summary: 'Who did what to a cluster, when and why; newest first',
    query: strict({ limit: countField(1, 1000, 100) }),
    answers: {
      200: { description: 'The audit trail.', shape: z.strictObject({ history: z.array(historyShape) }) },
    },
    errors: ['unknown_cluster'],
    handle: async ({ params, query }, control) => {
      const records = await control.history(params.cluster ?? '', query.limit)
      const history = records.map(({ cluster, atMs, actor, from, to, reason }) => ({
        cluster_id: cluster,
        at: new Date(atMs).toISOString(),
        actor,
        from,
        to,
        reason,
      }))
      return { status: 200, body: { history } }
    },
  }),
]
