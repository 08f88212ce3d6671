/** All numbers, for a monitor that comes and asks. Reads only. */
import { endpoint } from './endpoint.ts'

export const metricsEndpoints = [
  endpoint({
    id: 'metrics',
    method: 'GET',
    path: '/metrics',
    summary: 'All numbers, as Prometheus reads them',
    answers: { 200: { description: 'Text.', mediaType: 'text/plain' } },
    errors: [],
    handle: async (_asked, control) => {
      const { contentType, text } = await control.metrics()
      return { status: 200, headers: { 'content-type': contentType }, body: text }
    },
  }),
]
