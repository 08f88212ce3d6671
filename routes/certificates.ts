/** The certificates of listeners and of clusters that are in use. Reads only. */
import { z } from '../lib/schema.ts'
import { endpoint } from './endpoint.ts'
import { certificateShape } from './shapes.ts'

export const certificateEndpoints = [
  endpoint({
    id: 'list_certificates',
    method: 'GET',
    path: '/api/v1/certificates',
    summary: 'The certificates that are in use, whose end comes first first',
    answers: {
      200: {
        description: 'The certificates.',
        shape: z.strictObject({ certificates: z.array(certificateShape) }),
      },
    },
    errors: [],
    handle: async (_asked, control) => ({ status: 200, body: { certificates: control.certificates() } }),
  }),
]
