/**
 * The phase of an operation, derived from its journal for display; never stored, never decided by. Which there are, and what may
 * follow what, is in `lib/phases.ts`. @pure
 */
import { forward, legal, type Phase } from '../phases.ts'
import type { JournalEntry, OperationRecord } from '../store/store.ts'
import { batchOf } from './rolling/rolling.ts'

/**
 * In which phase a step is. A step of `replace` that comes after one of a later phase is in the later one: seeing the old
 * instance out is its finalizing.
 */
const phaseOfSteps: Readonly<Record<string, Phase>> = {
  validate: 'validating',
  collect_metrics: 'collecting_metrics',
  plan: 'planning',
  // Who grows is given room before others are.
  grow: 'allocating',
  verify_grown: 'allocating',
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
  phaseOfSteps[step] ?? (batchOf(step) === null ? null : 'replacing')

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
  const spans: { phase: Phase; fromMs: number; attempts: number }[] = [
    { phase: 'requested', fromMs: record.createdAtMs, attempts: 0 },
  ]
  const enter = (phase: Phase, atMs: number) => {
    if (spans.at(-1)!.phase !== phase) spans.push({ phase, fromMs: atMs, attempts: 0 })
  }
  let back = false
  for (const entry of journal) {
    enter(after(spans.at(-1)!.phase, entry, back), entry.atMs)
    const now = spans.at(-1)!
    if (now.phase === 'rolling_back') back = true
    if (entry.kind === 'started' || (entry.kind === 'reverting' && now.phase === 'rolling_back'))
      now.attempts++
  }
  if (record.outcome !== null) enter(endOf(record, journal, back), record.endedAtMs ?? record.createdAtMs)
  return spans
}

/** The phase that an operation is in, or that it ended in. */
export function phaseOf(record: Told, journal: readonly JournalEntry[]): Phase {
  return trace(record, journal).at(-1)!.phase
}

/** The first transition that one more entry, or the end with it, would make and that may not be; null: there is none. */
export function illegalTransition(
  record: Told,
  journal: readonly JournalEntry[],
  longer: readonly JournalEntry[],
  ended: Told | null,
): readonly [from: Phase, to: Phase] | null {
  const known = trace(record, journal).length
  const spans = trace(ended ?? record, longer).map(({ phase }) => phase)
  for (let at = known; at < spans.length; at++)
    if (!legal[spans[at - 1]!].includes(spans[at]!)) return [spans[at - 1]!, spans[at]!]
  return null
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
