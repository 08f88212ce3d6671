/** An operation as it is asked for and as it is shown: views over its record and journal. @pure */
import type { JournalEntry, Json, OperationRecord } from '../store/store.ts'
import { cancelStep, phaseOf, recoverStep } from './phase.ts'

export type OperationRequest =
  | {
      readonly type: 'scale_out' | 'scale_in'
      readonly target_count: number
      /** Leaving instances get no grace period: their clients are told at once. */
      readonly immediate: boolean
      /** False: leaving instances are cut without a drain. */
      readonly drain_connections: boolean
    }
  | { readonly type: 'replace'; readonly instance_id: string }

/** An operation on the wire. */
export interface OperationView {
  readonly id: string
  readonly cluster_id: string
  readonly type: string
  readonly status: 'running' | 'completed' | 'failed' | 'cancelled'
  readonly phase: string
  readonly request: Json
  readonly actor: string
  /** ISO 8601. */
  readonly created_at: string
  readonly completed_at: string | null
  readonly error: { readonly code: string; readonly message: string; readonly details: Json } | null
  readonly steps: readonly StepView[]
  /** Instances that it made or removed. */
  readonly instances: readonly string[]
}

export interface StepView {
  readonly step: string
  /** `running` `done` `failed` `reverting` `reverted` `revert_failed` `requested` */
  readonly status: string
  readonly started_at: string
  readonly ended_at: string | null
  readonly duration_ms: number | null
  /** How often it was started; more than 1 only after the pivot or after a restart. */
  readonly attempts: number
  readonly data: Json
}

export function operationView(record: OperationRecord, journal: readonly JournalEntry[]): OperationView {
  return {
    id: record.id,
    cluster_id: record.cluster,
    type: record.type,
    status: record.outcome ?? 'running',
    phase: phaseOf(journal),
    request: record.request,
    actor: record.actor,
    created_at: iso(record.createdAtMs),
    completed_at: record.endedAtMs === null ? null : iso(record.endedAtMs),
    error: errorOf(record, journal),
    steps: stepViews(journal),
    instances: instancesOf(journal),
  }
}

/** Why an operation did not do what was asked. Null while it may still, and when it did. */
export function errorOf(
  record: OperationRecord,
  journal: readonly JournalEntry[],
): { readonly code: string; readonly message: string; readonly details: Json } | null {
  if (record.outcome === null || record.outcome === 'completed') return null
  if (record.outcome === 'cancelled') {
    const why = journal.find(entry => entry.kind === 'cancel_requested')?.data as Fault | undefined
    const {
      code = 'operation_cancelled',
      message = 'cancelled on request and undone',
      details = {},
    } = why ?? {}
    return { code, message, details }
  }
  const failures = journal.filter(entry => entry.kind === 'failed')
  // Undone: the first failure turned it back. Not undone: it gave up after the last one.
  const undone = journal.some(entry => entry.kind === 'reverting') || failures.length === 1
  const cause = undone ? failures[0] : failures.at(-1)
  const left = journal.filter(entry => entry.kind === 'revert_failed')
  const fault = (cause ?? left.at(-1))?.data as Fault | undefined
  const message = fault?.message ?? 'the operation failed'
  const details = { step: (cause ?? left.at(-1))?.step ?? null, ...(fault?.details ?? {}) }
  if (left.length === 0) return { code: fault?.code ?? 'operation_failed', message, details }
  const steps = [...new Set(left.map(entry => entry.step))]
  return {
    code: fault?.code ?? 'operation_failed',
    message: `${message}; not everything could be undone (${steps.join(', ')}): what is left is collected later`,
    details: { ...details, left: steps },
  }
}

interface Fault {
  readonly code?: string
  readonly message?: string
  readonly details?: { readonly [key: string]: Json }
}

function stepViews(journal: readonly JournalEntry[]): readonly StepView[] {
  const views = new Map<string, StepView>()
  for (const entry of journal) views.set(entry.step, folded(views.get(entry.step), entry))
  return [...views.values()]
}

function folded(view: StepView | undefined, entry: JournalEntry): StepView {
  const at = iso(entry.atMs)
  if (entry.kind === 'started')
    return {
      ...open(entry, at),
      status: 'running',
      attempts: (view?.attempts ?? 0) + 1,
    }
  if (!view || entry.step === cancelStep || entry.step === recoverStep) {
    const status = entry.kind === 'cancel_requested' ? 'requested' : entry.kind
    return { ...open(entry, at), status, ended_at: at, duration_ms: 0 }
  }
  if (entry.kind === 'reverting') return { ...view, status: 'reverting' }
  if (entry.kind === 'reverted') return { ...view, status: 'reverted' }
  if (entry.kind === 'revert_failed') return { ...view, status: 'revert_failed', data: entry.data }
  const duration = entry.atMs - Date.parse(view.started_at)
  return { ...view, status: entry.kind, ended_at: at, duration_ms: duration, data: entry.data }
}

const open = (entry: JournalEntry, at: string): StepView => ({
  step: entry.step,
  status: entry.kind,
  started_at: at,
  ended_at: null,
  duration_ms: null,
  attempts: 1,
  data: entry.data,
})

function instancesOf(journal: readonly JournalEntry[]): readonly string[] {
  const data = (step: string) =>
    journal.findLast(entry => entry.step === step && entry.kind === 'done')?.data as
      | { items?: { name: string }[]; victims?: { id: string }[] }
      | undefined
  const made = data('allocate')?.items?.map(item => item.name) ?? []
  const removed = data('plan')?.victims?.map(victim => victim.id) ?? []
  return [...made, ...removed]
}

const iso = (ms: number) => new Date(ms).toISOString()
