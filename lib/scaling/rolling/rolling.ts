/**
 * A rolling replace: which instances leave together, and how far it has come. @pure
 *
 *   asked ──► picture, plan ──► batch 1 ──► batch 2 ──► … ──► batch n ──► COMPLETED
 *                                  │           │                 │
 *                                  └───────────┴────────┬────────┘ a batch failed, or its checkpoint was not met,
 *                                                       │ or somebody cancelled
 *                                                       ▼
 *        FAILED ◄── restore ◄── … ◄── batch k − 1 back ◄── batch k taken back    an undo gives up: stuck ── mended ──► goes on
 *        CANCELLED  (compare with the picture)
 *
 * It is an operation like any other, with a journal and `next`; only that each of its steps is a whole operation: a batch is a
 * replace on trial, which undoes itself, and taking back a batch that had passed is a replace by what was there before. So a crash
 * between batches or within one leaves what a crash in a replace leaves, and the batch is begun again.
 */
import { TidegateError } from '../../errors.ts'
import type { JournalEntry, OperationRecord } from '../../store/store.ts'
import type { CheckpointData } from './checkpoint.ts'

/** As it is stored. */
export type RollingRequest = {
  readonly batch_size: number
  readonly pause_seconds: number
  readonly max_failure_ratio: number
  /** The instances of each batch, all of one former template. */
  readonly batches: readonly (readonly string[])[]
  /** The version of the template that each batch was made from. */
  readonly former: readonly string[]
  /** The version of the template that the new ones are made from. */
  readonly template: string
}

/** What the step `plan` of a rolling replace leaves for the others. */
export type RollingPlan = {
  /** The golden snapshots that are kept of former templates, by version. */
  readonly golden: Readonly<Record<string, { readonly node: string; readonly snapshot: string }>>
  readonly names: readonly string[]
}

/** What a batch that passed left. */
export type BatchData = {
  readonly batch: number
  readonly batches: number
  /** Null: nobody of it was left to be replaced. */
  readonly operation_id: string | null
  readonly replaced: readonly string[]
  readonly by: readonly string[]
  readonly checkpoint: CheckpointData | null
}

/** How many instances leave at once. Throws `invalid_request` with the field and the fix. */
export function batchSizeOf(wish: number | string | undefined, instances: number, budget: number): number {
  if (wish === undefined) return Math.min(budget, instances)
  const share = typeof wish === 'string' ? /^(\d{1,3})%$/.exec(wish) : null
  if (typeof wish === 'string' && share === null)
    throw refused('batch_size', `\`${wish}\` is neither a number nor a share`, 'write 2, or "25%"')
  if (share && (Number(share[1]) < 1 || Number(share[1]) > 100))
    throw refused('batch_size', `\`${wish}\` is out of bounds`, 'from 1% to 100%')
  if (!share && (!Number.isInteger(wish) || Number(wish) < 1 || Number(wish) > 100))
    throw refused('batch_size', `\`${wish}\` is out of bounds`, 'a whole number from 1 to 100, or "25%"')
  // Of few instances a small share is still one.
  const size = share ? Math.max(1, Math.floor((instances * Number(share[1])) / 100)) : Number(wish)
  if (size <= budget) return Math.min(size, instances)
  throw refused(
    'batch_size',
    `${share ? `${wish} of ${instances} instances is ${size}, which` : size} is more than scaling.disruption_budget (${budget})`,
    `at most ${budget}, or raise the budget: tidegate policy CLUSTER --disruption-budget ${size}`,
  )
}

/** The batches, in order; a batch has instances of one version only, so that it can be taken back in one operation. */
export function batchesOf(
  instances: readonly { readonly id: string; readonly template: string }[],
  size: number,
): readonly (readonly string[])[] {
  const versions = [...new Set(instances.map(({ template }) => template))]
  return versions.flatMap(version => {
    const ids = instances.filter(({ template }) => template === version).map(({ id }) => id)
    return Array.from({ length: Math.ceil(ids.length / size) }, (_, n) => ids.slice(n * size, (n + 1) * size))
  })
}

const batchPrefix = 'batch_'
export const batchStep = (batch: number): string => `${batchPrefix}${batch}`

/** Null: it is not a batch. */
export function batchOf(step: string): number | null {
  const found = /^batch_(\d{1,3})$/.exec(step)
  return found ? Number(found[1]) : null
}

/** How far it has come, on the wire. */
export interface RollingView {
  readonly batches: number
  /** The one it is at, from 1; after its end the last it was at. 0: none yet. */
  readonly batch: number
  /** Batches that passed and were not taken back. */
  readonly passed: number
  readonly rows: readonly {
    readonly batch: number
    readonly status: 'waiting' | 'running' | 'passed' | 'failed' | 'taking_back' | 'taken_back'
    readonly instances: readonly string[]
    /** The newest operation that works or worked on it. */
    readonly operation_id: string | null
    readonly replaced_by: readonly string[]
    readonly checkpoint: CheckpointData | null
  }[]
}

/** `parts`: the operations that it consists of, the newest first. */
export function rollingView(
  record: OperationRecord,
  journal: readonly JournalEntry[],
  parts: readonly { readonly operation: string; readonly batch: number; readonly back: boolean }[],
): RollingView {
  const { batches } = record.request as unknown as RollingRequest
  const rows = batches.map((instances, index) => {
    const entries = journal.filter(entry => entry.step === batchStep(index + 1))
    const done = entries.findLast(entry => entry.kind === 'done')
    const data = (done?.data ?? null) as unknown as BatchData | null
    const last = entries.at(-1)?.kind
    return {
      batch: index + 1,
      status: last === undefined ? ('waiting' as const) : statuses[last],
      instances,
      operation_id: parts.find(part => part.batch === index + 1)?.operation ?? data?.operation_id ?? null,
      replaced_by: data?.by ?? [],
      checkpoint: data?.checkpoint ?? null,
    }
  })
  const begun = rows.filter(({ status }) => status !== 'waiting').length
  return {
    batches: batches.length,
    batch: begun,
    passed: rows.filter(({ status }) => status === 'passed').length,
    rows,
  }
}

const statuses: Readonly<Record<JournalEntry['kind'], RollingView['rows'][number]['status']>> = {
  started: 'running',
  done: 'passed',
  failed: 'failed',
  reverting: 'taking_back',
  reverted: 'taken_back',
  revert_failed: 'taking_back',
  cancel_requested: 'running',
  stuck: 'taking_back',
  resumed: 'taking_back',
  acknowledged: 'failed',
}

export function refused(field: string, message: string, fix: string): TidegateError {
  return new TidegateError('invalid_request', `${field}: ${message}; ${fix}`, { details: { field } })
}
