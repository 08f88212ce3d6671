/** Liveness and readiness: for supervisors and load balancers in front of this one. @pure */
import { z } from '../lib/schema.ts'
import { endpoint } from './endpoint.ts'

const readiness = z.strictObject({ ready: z.boolean(), reason: z.string() })

export const healthEndpoints = [
  endpoint({
    id: 'health',
    method: 'GET',
    path: '/healthz',
    summary: 'Whether the process lives',
    answers: { 200: { description: 'It lives.', shape: z.strictObject({ status: z.literal('ok') }) } },
    errors: [],
    handle: () => ({ status: 200, body: { status: 'ok' } }),
  }),
  endpoint({
    id: 'readiness',
    method: 'GET',
    path: '/readyz',
    summary: 'Whether traffic is served',
    answers: {
      200: { description: 'Traffic is served.', shape: readiness },
      503: { description: 'Not yet, or no more; `reason` says why.', shape: readiness },
    },
    errors: [],
    handle: (_asked, control) => {
      const { ready, reason } = control.ready()
      return { status: ready ? 200 : 503, body: { ready, reason } }
    },
  }),
]
