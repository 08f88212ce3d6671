/** How an operation becomes an answer: 202 while it runs, 200 when it ended well, its own error when it did not. */
import { type ErrorCode, errorTable, TidegateError } from '../lib/errors.ts'
import type { OperationView } from '../lib/scaling/operation.ts'
import type { CommandResult } from '../lib/views.ts'
import type { Answer } from './endpoint.ts'
import type { ControlPort } from './ports.ts'

/** Answers a command that starts an operation; waits for its end when `waitMs` is given. */
export async function answerOperation(
  result: CommandResult,
  waitMs: number | undefined,
  control: ControlPort,
): Promise<Answer> {
  if (result.result === 'unchanged') {
    const { message, cluster } = result
    return { status: 200, body: { operation_id: null, unchanged: true, message, cluster } }
  }
  if (result.result !== 'operation') throw new TidegateError('internal', 'The command made no operation.')
  const { operation } = result
  if (waitMs === undefined) return { status: 202, body: started(operation), headers: locationOf(operation) }
  return {
    status: 200,
    body: started(await ended(operation.id, waitMs, control)),
    headers: locationOf(operation),
  }
}

/** The operation when it has completed; otherwise its error, with its id in the details. */
async function ended(id: string, waitMs: number, control: ControlPort): Promise<OperationView> {
  const operation = await control.waitOperation(id, waitMs)
  if (operation.status === 'completed') return operation
  if (operation.status === 'running') {
    const message = `Operation ${id} still runs; read /api/v1/operations/${id}.`
    throw new TidegateError('wait_timeout', message, { details: { operation_id: id } })
  }
  const fallback = operation.status === 'cancelled' ? 'operation_cancelled' : 'operation_failed'
  const code =
    operation.error && operation.error.code in errorTable ? (operation.error.code as ErrorCode) : fallback
  const message = operation.error?.message ?? `Operation ${id} was ${operation.status}.`
  const details = { ...asGroup(operation.error?.details), operation_id: id }
  throw new TidegateError(code, message, { details })
}

const started = (operation: OperationView) => ({ operation_id: operation.id, ...operation })
const locationOf = ({ id }: OperationView) => ({ location: `/api/v1/operations/${id}` })

const asGroup = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : {}
