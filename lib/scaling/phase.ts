/**
 * The phase of an operation: the progress label people see. @pure
 * Derived from the journal for display; never stored, never decided by.
 *
 *   requested ► validating ► collecting_metrics ► planning ► allocating ► preparing ► configuring ► verifying ► finalizing ► COMPLETED
 *       │            │               │               │  └─(scale_in)────────►│  │          │ └─(scale_in)─────────►▲    │
 *       └────────────┴───────────────┴───────┬───────┴───────────┴───────────┘──┴──────────┴────────────┘          │    │
 *                                            │ a step failed, a restart          │ somebody cancelled              │    │ patience
 *                                            ▼                                   ▼                                 │    ▼ ended
 *                                          failed ────────────────────────► rolling_back ─► ROLLED_BACK            │  FAILED
 *                                            │                               │  ▲   │ └───► CANCELLED              │    │
 *                                            │          an undo gives up,    ▼  │   └─────► FAILED (not as before)  │    ▼
 *                                            └──────────────────────────►  stuck ──────────────────────────────────┘  stuck
 *                                                                            └ acknowledged ► FAILED
 *
 * Capitals are ends. A phase never comes back but through `stuck`, and entries that say the same again change nothing.
 */
import type { JournalEntry, OperationRecord } from '../store/store.ts'
import { batchOf } from './rolling/rolling.ts'

const forward = [
  'requested',
  'validating',
  'collecting_metrics',
  'planning',
  'allocating',
  'preparing',
  'configuring',
  'verifying',
  'replacing',
  'finalizing',
] as const

export const phases = [
  ...forward,
  'completed',
  'failed',
  'rolling_back',
  'rolled_back',
  'cancelled',
  'stuck',
] as const
export type Phase = (typeof phases)[number]

/** What may follow what. */
export const legal: Readonly<Record<Phase, readonly Phase[]>> = {
  requested: ['validating', 'collecting_metrics', 'failed', 'rolling_back'],
  validating: ['collecting_metrics', 'failed', 'rolling_back'],
  collecting_metrics: ['planning', 'failed', 'rolling_back'],
  planning: ['allocating', 'preparing', 'replacing', 'failed', 'rolling_back'],
  allocating: ['preparing', 'failed', 'rolling_back'],
  preparing: ['configuring', 'verifying', 'failed', 'rolling_back'],
  configuring: ['verifying', 'finalizing', 'failed', 'rolling_back'],
  verifying: ['finalizing', 'failed', 'rolling_back'],
  replacing: ['finalizing', 'failed', 'rolling_back'],
  finalizing: ['completed', 'failed', 'rolling_back'],
  failed: ['rolling_back', 'stuck'],
  rolling_back: ['rolled_back', 'cancelled', 'failed', 'stuck'],
  stuck: ['rolling_back', 'finalizing', 'failed'],
  completed: [],
  rolled_back: [],
  cancelled: [],
}

/**
 * In which phase a step is. A step of `replace` that comes after one of a later phase is in the later one: seeing the old
 * instance out is its finalizing.
 */
const phaseOfSteps: Readonly<Record<string, Phase>> = {
  validate: 'validating',
  collect_metrics: 'collecting_metrics',
  plan: 'planning',
  allocate: 'allocating',
  prepare: 'preparing',
  clone: 'preparing',
  fence: 'preparing',
  drain: 'preparing',
  identify: 'configuring',
  deregister: 'configuring',
  verify: 'verifying',
  keep_golden: 'verifying',
  register: 'verifying',
  resize: 'preparing',
  adopt: 'verifying',
  checkpoint: 'verifying',
  warm_up: 'finalizing',
  stop: 'finalizing',
  destroy: 'finalizing',
  finalize: 'finalizing',
}

/** Null for a step that this version does not know. */
export const phaseOfStep = (step: string): Phase | null =>
  batchOf(step) === null ? (phaseOfSteps[step] ?? null) : 'replacing'

/** The pseudo-step under which a restart notes that it found the operation unfinished. */
export const recoverStep = 'recover'
/** The pseudo-step of a request to cancel. */
export const cancelStep = 'cancel'
/** The pseudo-step that compares what is there after an undo with the picture of before. */
export const restoreStep = 'restore'
/** The pseudo-step of an operation that stands still until reality or a person moves. */
export const stuckStep = 'stuck'
export const pseudoSteps: readonly string[] = [recoverStep, cancelStep, restoreStep, stuckStep]

/** One phase that an operation was in, and since when. */
export interface PhaseSpan {
  readonly phase: Phase
  readonly fromMs: number
  /** How often a step of it was started. */
  readonly attempts: number
}

type Told = Pick<OperationRecord, 'createdAtMs' | 'endedAtMs' | 'outcome'>

/** The phases in order, without repetitions; the last is the one of now. */
export function trace(record: Told, journal: readonly JournalEntry[]): readonly PhaseSpan[] {
  const spans: PhaseSpan[] = [{ phase: 'requested', fromMs: record.createdAtMs, attempts: 0 }]
  const enter = (phase: Phase, atMs: number) => {
    if (spans.at(-1)!.phase !== phase) spans.push({ phase, fromMs: atMs, attempts: 0 })
  }
  let back = false
  for (const entry of journal) {
    enter(after(spans.at(-1)!.phase, entry, back), entry.atMs)
    const now = spans.at(-1)!
    if (now.phase === 'rolling_back') back = true
    if (entry.kind === 'started' || (entry.kind === 'reverting' && now.phase === 'rolling_back'))
      spans[spans.length - 1] = { ...now, attempts: now.attempts + 1 }
  }
  if (record.outcome !== null) enter(endOf(record, journal, back), record.endedAtMs ?? record.createdAtMs)
  return spans
}

/** The phase that an operation is in, or that it ended in. */
export function phaseOf(record: Told, journal: readonly JournalEntry[]): Phase {
  return trace(record, journal).at(-1)!.phase
}

/** A failure after which the same step is tried once more. */
export function triedAgain(entry: JournalEntry): boolean {
  return (entry.data as { readonly again?: boolean } | null)?.again === true
}

function after(phase: Phase, entry: JournalEntry, back: boolean): Phase {
  const ahead = (forward as readonly Phase[]).indexOf(phase)
  switch (entry.kind) {
    case 'started':
    case 'done': {
      const own = phaseOfStep(entry.step)
      return own !== null && ahead >= 0 && (forward as readonly Phase[]).indexOf(own) > ahead ? own : phase
    }
    case 'failed':
      return ahead >= 0 && !triedAgain(entry) ? 'failed' : phase
    case 'cancel_requested':
      return ahead >= 0 || phase === 'failed' ? 'rolling_back' : phase
    case 'reverting':
      return phase === 'failed' ? 'rolling_back' : phase
    case 'revert_failed':
      return ahead >= 0 ? 'failed' : phase
    case 'stuck':
      return 'stuck'
    case 'resumed':
      return phase !== 'stuck' ? phase : back ? 'rolling_back' : 'finalizing'
    default:
      return phase
  }
}

function endOf({ outcome }: Told, journal: readonly JournalEntry[], back: boolean): Phase {
  if (outcome === 'completed' || outcome === 'cancelled') return outcome
  return back && restored(journal) ? 'rolled_back' : 'failed'
}

/** Everything was undone and found as it was. A journal of a former version says only that everything was undone. */
function restored(journal: readonly JournalEntry[]): boolean {
  const checked = journal.findLast(entry => entry.step === restoreStep)
  if (!checked) return !journal.some(entry => entry.kind === 'revert_failed')
  const { differences = [] } = (checked.data ?? {}) as { readonly differences?: readonly unknown[] }
  return checked.kind === 'reverted' && differences.length === 0
}
