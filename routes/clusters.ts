/** Clusters: what they are and how they stand. Reads only. */
import { z } from '../lib/schema.ts'
import { endpoint } from './endpoint.ts'
import { clusterShape, statusShape } from './shapes.ts'

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
]
