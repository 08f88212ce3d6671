/** An operation as lines of text: the list that a terminal redraws, and the single lines that a log gets. @pure */
import type { OperationView, StepView } from '../scaling/operation.ts'
import { formatDuration, printable } from './table.ts'

const marks: Readonly<Record<string, string>> = {
  running: '…',
  done: '✓',
  failed: '✗',
  reverting: '↺',
  reverted: '↺',
  revert_failed: '✗',
  requested: '!',
  stuck: '!',
  resumed: '↻',
  acknowledged: '✓',
}

/** The whole list, newest state of each step. */
export function operationLines(operation: OperationView, nowMs: number): string[] {
  return [titleLine(operation), ...operation.steps.map(step => `  ${stepText(step, nowMs, operation)}`)]
}

/** The lines of steps that changed since `before`: what is added to output that cannot be redrawn. */
export function changedLines(before: OperationView | null, after: OperationView, nowMs: number): string[] {
  const seen = new Map(before?.steps.map((step, i) => [`${i}`, `${step.step} ${step.status}`]) ?? [])
  const lines = before ? [] : [titleLine(after)]
  for (const [i, step] of after.steps.entries())
    if (seen.get(`${i}`) !== `${step.step} ${step.status}`) lines.push(`  ${stepText(step, nowMs, after)}`)
  return lines
}

export function endLine(operation: OperationView): string {
  const took = operation.completed_at
    ? ` in ${formatDuration(Date.parse(operation.completed_at) - Date.parse(operation.created_at))}`
    : ''
  const reason = operation.error ? `: ${printable(operation.error.message)}` : ''
  const status = operation.status === 'stuck' ? 'is stuck' : operation.status
  return `${operation.type} of ${operation.cluster_id} ${status}${took}${reason}`
}

/** What a person can do about an operation that is stuck. */
export function remedyLines(operation: OperationView): string[] {
  const { remedies = [] } = (operation.error?.details ?? {}) as { readonly remedies?: readonly string[] }
  return operation.status === 'stuck' ? remedies.map(text => `  → ${printable(text)}`) : []
}

export const titleLine = ({ type, cluster_id, id, phase, rolling }: OperationView): string => {
  const batch = rolling && rolling.batch > 0 ? `  batch ${rolling.batch} of ${rolling.batches}` : ''
  return `${type} ${cluster_id}  operation ${id}  ${phase}${batch}`
}

/** What the checkpoint of a batch saw, or which operation is at work on it. */
function batchText(step: StepView, { rolling }: OperationView): string {
  const row = rolling?.rows.find(({ batch }) => step.step === `batch_${batch}`)
  if (!row) return ''
  const { checkpoint, operation_id: id } = row
  if (checkpoint === null || row.status !== 'passed') return id === null ? '' : `  operation ${id}`
  const { exchanges, failed, max_failure_ratio: max } = checkpoint
  return `  ${failed} of ${exchanges} exchanges failed (at most ${Math.round(max * 1000) / 10} %)`
}

function stepText(step: StepView, nowMs: number, operation: OperationView): string {
  const mark = marks[step.status] ?? '·'
  const ms = step.duration_ms ?? Math.max(0, nowMs - Date.parse(step.started_at))
  const status = step.status === 'done' || step.status === 'running' ? '' : `  ${step.status}`
  const attempts = step.attempts > 1 ? `  attempt ${step.attempts}` : ''
  return `${mark} ${printable(step.step).padEnd(20)} ${formatDuration(ms).padStart(10)}${status}${attempts}${batchText(step, operation)}`
}
