/**
 * What an operation does next, decided from its journal alone. @pure
 *
 *                 step done                    pivot done              last step done
 *   ┌─► forward ────────────► forward ──────────────────────► onward ────────────────► completed
 *   │      │ step failed, cancelled, interrupted                │ step failed: again, with backoff
 *   │      ▼                                                    │ attempts spent
 *   │    back ── undo, latest first ── restore ──► cancelled    ├── nothing would mend it ──► failed
 *   │      │         (compare with before) │ └───► failed       ▼
 *   └──────┘ undo or comparison failed:    └─ attempts spent ► stuck ── resumed ──► back │ onward
 *            again, with backoff                                 └── acknowledged ──► failed
 *
 * Where a step stands and yet not all was done that was asked (`shortfall`), the end is failed instead of completed.
 *
 * Before the pivot everything can be undone, and a step is tried again only where its failure says so (`again`), after its own
 * undo. After it nothing is undone and everything is tried again. There is no other state than the journal, so whoever reads
 * it after a crash decides the same. `resumed` forgets the attempts that were spent before it.
 */
import type { JournalEntry } from '../store/store.ts'
import type { Shortfall } from './facts.ts'
import { limits } from './limits.ts'
import { restoreStep, triedAgain } from './phase.ts'

export interface StepShape {
  readonly name: string
  /** The step leaves something behind that its undo removes. */
  readonly undoable: boolean
  /** After the pivot: what it finds wrong does not mend by waiting, so that the operation ends there. */
  readonly final?: boolean
}

export interface RecipeShape {
  /** In order. */
  readonly steps: readonly StepShape[]
  /** The step whose `done` is the point of no return. */
  readonly pivot: string
}

export type Outcome = 'completed' | 'failed' | 'cancelled'

export type Decision =
  /** `attempt` counts from 1. `restore`: compare with the picture of before. */
  | { readonly act: 'run' | 'revert' | 'restore'; readonly step: string; readonly attempt: number }
  /** Stand still: `steps` were given up on. */
  | { readonly act: 'stand'; readonly steps: readonly string[] }
  | { readonly act: 'end'; readonly outcome: Outcome }

export function next(recipe: RecipeShape, journal: readonly JournalEntry[]): Decision {
  if (journal.some(entry => entry.kind === 'acknowledged')) return { act: 'end', outcome: 'failed' }
  const facts = read(journal)
  if (turnedBack(recipe, journal)) return back(recipe, journal, facts)
  for (const { name, undoable, final } of recipe.steps) {
    const step = facts.get(name)
    if (step?.done) continue
    const failures = step?.failures ?? 0
    if (failures >= limits.attemptsMax)
      return final ? { act: 'end', outcome: 'failed' } : { act: 'stand', steps: [name] }
    const onward = pivoted(recipe, journal)
    if (failures > 0 && undoable && step?.dirty && !onward) return { act: 'revert', step: name, attempt: 1 }
    return { act: 'run', step: name, attempt: failures + 1 }
  }
  return { act: 'end', outcome: shortfallIn(journal) === null ? 'completed' : 'failed' }
}

/** What was not done of what was asked, in steps that stand all the same; null: all was. */
export function shortfallIn(journal: readonly JournalEntry[]): Shortfall | null {
  const found = journal.findLast(
    ({ kind, data }) =>
      kind === 'done' && (data as { readonly shortfall?: unknown } | null)?.shortfall !== undefined,
  )
  return found ? (found.data as unknown as { readonly shortfall: Shortfall }).shortfall : null
}

/** Whether the point of no return lies behind. */
export function pivoted(recipe: RecipeShape, journal: readonly JournalEntry[]): boolean {
  return journal.some(entry => entry.step === recipe.pivot && entry.kind === 'done')
}

/** Whether the operation is being undone: it failed, was cancelled or interrupted before its pivot. */
export function turnedBack(recipe: RecipeShape, journal: readonly JournalEntry[]): boolean {
  if (pivoted(recipe, journal)) return false
  return journal.some(
    entry =>
      entry.kind === 'cancel_requested' ||
      entry.kind === 'revert_failed' ||
      (entry.kind === 'failed' && !triedAgain(entry)),
  )
}

/** Whether it stands still, and neither reality nor a person has moved since. */
export function standing(journal: readonly JournalEntry[]): boolean {
  const last = journal.findLast(entry => ['stuck', 'resumed', 'acknowledged'].includes(entry.kind))
  return last?.kind === 'stuck'
}

/** Steps whose undo did not succeed: what they made may still be there. */
export function leftBehind(journal: readonly JournalEntry[]): readonly string[] {
  return [...read(journal)].filter(([, step]) => step.dirty && step.revertFailed).map(([name]) => name)
}

interface StepFacts {
  done: boolean
  /** Started, and not undone since. */
  dirty: boolean
  failures: number
  revertFailures: number
  /** Its last undo failed, however long ago. */
  revertFailed: boolean
  restored: boolean
}

const untouched: StepFacts = {
  done: false,
  dirty: false,
  failures: 0,
  revertFailures: 0,
  revertFailed: false,
  restored: false,
}

function read(journal: readonly JournalEntry[]): Map<string, StepFacts> {
  const facts = new Map<string, StepFacts>()
  for (const entry of journal) {
    if (entry.kind === 'resumed')
      for (const step of facts.values()) Object.assign(step, { failures: 0, revertFailures: 0 })
    const step = facts.get(entry.step) ?? { ...untouched }
    facts.set(entry.step, step)
    if (entry.kind === 'started') step.dirty = true
    if (entry.kind === 'done') step.done = true
    if (entry.kind === 'failed') step.failures++
    if (entry.kind === 'reverted') Object.assign(step, { dirty: false, revertFailed: false, restored: true })
    if (entry.kind === 'revert_failed') {
      step.revertFailures++
      step.revertFailed = true
    }
  }
  return facts
}

function back(
  recipe: RecipeShape,
  journal: readonly JournalEntry[],
  facts: Map<string, StepFacts>,
): Decision {
  const given: string[] = []
  for (const { name, undoable } of recipe.steps.toReversed()) {
    const step = facts.get(name)
    if (!undoable || !step?.dirty) continue
    if (step.revertFailures < limits.attemptsMax)
      return { act: 'revert', step: name, attempt: step.revertFailures + 1 }
    given.push(name)
  }
  if (given.length > 0) return { act: 'stand', steps: given }
  const restore = facts.get(restoreStep)
  if (restore?.restored) return { act: 'end', outcome: outcomeOf(journal) }
  const failures = restore?.revertFailures ?? 0
  if (failures >= limits.attemptsMax) return { act: 'stand', steps: [restoreStep] }
  return { act: 'restore', step: restoreStep, attempt: failures + 1 }
}

/** Undone and as it was before. Cancelled only if that is why it was undone, and nothing is different. */
function outcomeOf(journal: readonly JournalEntry[]): Outcome {
  const asked = journal.findIndex(entry => entry.kind === 'cancel_requested')
  const failed = journal.findIndex(entry => entry.kind === 'failed' && !triedAgain(entry))
  const byRequest = asked >= 0 && (failed < 0 || asked < failed)
  return byRequest && differencesOf(journal).length === 0 ? 'cancelled' : 'failed'
}

/** What the last comparison after an undo found different from before. */
export function differencesOf(journal: readonly JournalEntry[]): readonly Difference[] {
  const checked = journal.findLast(
    entry => entry.step === restoreStep && (entry.kind === 'reverted' || entry.kind === 'revert_failed'),
  )
  const data = (checked?.data ?? {}) as {
    readonly differences?: readonly Difference[]
    readonly details?: { readonly differences?: readonly Difference[] }
  }
  return data.differences ?? data.details?.differences ?? []
}

/** One thing that is not as it was before the operation. */
export type Difference = {
  /** `left_over` `not_asked` `paused` `fenced` `reserved` · `member_gone` `member_changed` `instance_gone` `golden_gone` */
  readonly what: string
  readonly id: string
  readonly node: string | null
  readonly expected: string
  readonly found: string
  /** Of the operation's own making, so that undoing it is its business. */
  readonly ours: boolean
}
