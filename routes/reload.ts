/** Taking the configuration file in again while everything serves. */
import { TidegateError } from '../lib/errors.ts'
import { endpoint } from './endpoint.ts'
import { reloadShape } from './shapes.ts'

export const reloadEndpoints = [
  endpoint({
    id: 'reload',
    method: 'POST',
    path: '/api/v1/reload',
    summary: 'Read the configuration file again and take it in, all of it or nothing',
    answers: { 200: { description: 'Taken in, or there was nothing to change.', shape: reloadShape } },
    errors: [
      'invalid_config',
      'reload_refused',
      'port_in_use',
      'template_invalid',
      'no_capacity',
      'store_unavailable',
    ],
    handle: async ({ actor }, control) => {
      const result = await control.execute({ kind: 'reload' }, actor)
      if (result.result !== 'reloaded') throw new TidegateError('internal', 'The command reloaded nothing.')
      return { status: 200, body: result.reload }
    },
  }),
]
