/** Operations: their journal as people read it, and asking one to stop. */
import { TidegateError } from '../lib/errors.ts'
import { strict, z } from '../lib/schema.ts'
import { countField, endpoint } from './endpoint.ts'
import { operationShape } from './shapes.ts'

export const operationEndpoints = [
  endpoint({
    id: 'list_operations',
    method: 'GET',
    path: '/api/v1/operations',
    summary: 'Operations, newest first',
    query: strict({ cluster: z.string().max(64).optional(), limit: countField(1, 1000, 100) }),
    answers: {
      200: { description: 'The operations.', shape: z.strictObject({ operations: z.array(operationShape) }) },
    },
    errors: ['unknown_cluster'],
    handle: async ({ query }, control) => {
      const { cluster, limit } = query
      const operations = await control.operations({ limit, ...(cluster === undefined ? {} : { cluster }) })
      return { status: 200, body: { operations } }
    },
  }),
  endpoint({
    id: 'get_operation',
    method: 'GET',
    path: '/api/v1/operations/{operation}',
    summary: 'One operation with its steps and their times',
    answers: { 200: { description: 'The operation.', shape: operationShape } },
    errors: ['unknown_operation'],
    handle: async ({ params }, control) => ({
      status: 200,
      body: await control.operation(params.operation ?? ''),
    }),
  }),
  endpoint({
    id: 'cancel_operation',
    method: 'POST',
    path: '/api/v1/operations/{operation}/cancel',
    summary: 'Ask an operation to stop and undo what it did',
    answers: {
      202: { description: 'It was asked; read the operation to see its end.', shape: operationShape },
    },
    errors: ['unknown_operation', 'operation_not_cancellable'],
    handle: async ({ params, actor }, control) => {
      const command = { kind: 'cancel_operation', operation: params.operation ?? '' } as const
      const result = await control.execute(command, actor)
      if (result.result !== 'operation') throw new TidegateError('internal', 'Cancelling gave no operation.')
      return { status: 202, body: result.operation }
    },
  }),
  endpoint({
    id: 'acknowledge_operation',
    method: 'POST',
    path: '/api/v1/operations/{operation}/acknowledge',
    summary: 'End a stuck operation as it stands; what is left of it is collected as an orphan',
    answers: { 200: { description: 'It has ended.', shape: operationShape } },
    errors: ['unknown_operation', 'operation_not_stuck'],
    handle: async ({ params, actor }, control) => {
      const command = { kind: 'acknowledge_operation', operation: params.operation ?? '' } as const
      const result = await control.execute(command, actor)
      if (result.result !== 'operation')
        throw new TidegateError('internal', 'Acknowledging gave no operation.')
      return { status: 200, body: result.operation }
    },
  }),
]
