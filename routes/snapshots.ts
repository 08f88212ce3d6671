/** Snapshots: what the nodes hold, who uses it, and removing what nobody does. */
import { z } from '../lib/schema.ts'
import { endpoint } from './endpoint.ts'
import { snapshotShape } from './shapes.ts'

export const snapshotEndpoints = [
  endpoint({
    id: 'list_snapshots',
    method: 'GET',
    path: '/api/v1/snapshots',
    summary: 'Snapshots, and who uses them',
    answers: {
      200: { description: 'The snapshots.', shape: z.strictObject({ snapshots: z.array(snapshotShape) }) },
    },
    errors: [],
    handle: async (_asked, control) => ({ status: 200, body: { snapshots: await control.snapshots() } }),
  }),
  endpoint({
    id: 'remove_snapshot',
    method: 'DELETE',
    path: '/api/v1/snapshots/{snapshot}',
    summary: 'Remove a snapshot that nobody uses',
    answers: { 204: { description: 'It is gone.' } },
    errors: ['unknown_snapshot', 'snapshot_in_use', 'hypervisor_unreachable', 'hypervisor_failed'],
    handle: async ({ params, actor }, control) => {
      await control.execute({ kind: 'remove_snapshot', snapshot: params.snapshot ?? '' }, actor)
      return { status: 204 }
    },
  }),
]
