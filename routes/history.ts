/** The audit trail: who did what, when, why, and what came of it; of one cluster or of everything. */
import { strict, z } from '../lib/schema.ts'
import type { HistoryRecord } from '../lib/store/store.ts'
import { countField, endpoint } from './endpoint.ts'
import { historyShape } from './shapes.ts'

const query = strict({ limit: countField(1, 1000, 100) })
const answers = {
  200: { description: 'The audit trail.', shape: z.strictObject({ history: z.array(historyShape) }) },
}

export const historyEndpoints = [
  endpoint({
    id: 'get_cluster_history',
    method: 'GET',
    path: '/api/v1/clusters/{cluster}/history',
    summary: 'Who did what to a cluster, when, why, and what came of it; newest first',
    query,
    answers,
    errors: ['unknown_cluster'],
    handle: async ({ params, query: { limit } }, control) =>
      answer(await control.history(params.cluster ?? '', limit)),
  }),
  endpoint({
    id: 'get_history',
    method: 'GET',
    path: '/api/v1/history',
    summary: 'The same of the whole installation: every cluster, every node, every reload',
    query,
    answers,
    errors: [],
    handle: async ({ query: { limit } }, control) => answer(await control.history(null, limit)),
  }),
]

const answer = (records: readonly HistoryRecord[]) => ({
  status: 200,
  body: { history: records.map(lineOf) },
})

const lineOf = (record: HistoryRecord) => ({
  cluster_id: record.cluster,
  node_id: record.node ?? null,
  backend_id: record.backend ?? null,
  at: new Date(record.atMs).toISOString(),
  actor: record.actor,
  action: record.action ?? null,
  from: record.from,
  to: record.to,
  reason: record.reason,
  outcome: record.outcome ?? null,
  operation_id: record.operation ?? null,
})
