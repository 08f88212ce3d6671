/**
 * The phase of an operation: the progress label people see. @pure
 * Derived from the journal for display; never stored, never decided by.
 */
import type { JournalEntry } from '../store/store.ts'

/** A step's phase is its own name, but for steps that people need not know of. */
const hidden: Readonly<Record<string, string>> = { keep_golden: 'verify' }

/** The pseudo-step under which a restart notes that it found the operation unfinished. */
export const recoverStep = 'recover'
/** The pseudo-step of a request to cancel. */
export const cancelStep = 'cancel'
const pseudo = [recoverStep, cancelStep]

export function phaseOfStep(step: string): string {
  return hidden[step] ?? step
}

/** The phase that an operation is in, or in which it ended: where a failure happened, not where its undo stopped. */
export function phaseOf(journal: readonly JournalEntry[]): string {
  const steps = journal.filter(entry => !pseudo.includes(entry.step))
  const forward = steps.filter(entry => ['started', 'done', 'failed'].includes(entry.kind))
  return phaseOfStep(forward.at(-1)?.step ?? 'validate')
}
