/**
 * What an operation does next, decided from its journal alone. @pure
 *
 *                 step done                    pivot done              last step done
 *   ┌─► forward ────────────► forward ──────────────────────► onward ────────────────► completed
 *   │      │ step failed, cancelled, interrupted                │ step failed: again, with backoff
 *   │      ▼                                                    │ attempts spent
 *   │    back ── undo, latest first ──► cancelled │ failed      └──────────────────────► failed
 *   │      │ undo failed: again, with backoff; attempts spent: left behind, named, collected later
 *   └──────┘
 *
 * Before the pivot nothing is tried twice and everything can be undone. After it nothing is undone and everything is tried
 * again. There is no other state than the journal, so whoever reads it after a crash decides the same.
 */
import type { JournalEntry } from '../store/store.ts'
import { limits } from './limits.ts'

export interface RecipeShape {
  /** In order. `undoable`: the step leaves something behind that its undo removes. */
  readonly steps: readonly { readonly name: string; readonly undoable: boolean }[]
  /** The step whose `done` is the point of no return. */
  readonly pivot: string
}

export type Outcome = 'completed' | 'failed' | 'cancelled'

export type Decision =
  /** `attempt` counts from 1. */
  | { readonly act: 'run' | 'revert'; readonly step: string; readonly attempt: number }
  | { readonly act: 'end'; readonly outcome: Outcome }

export function next(recipe: RecipeShape, journal: readonly JournalEntry[]): Decision {
  const facts = read(journal)
  if (turnedBack(recipe, journal)) return back(recipe, journal, facts)
  for (const { name } of recipe.steps) {
    const step = facts.get(name)
    if (step?.done) continue
    const failures = step?.failures ?? 0
    if (failures >= limits.attemptsMax) return { act: 'end', outcome: 'failed' }
    return { act: 'run', step: name, attempt: failures + 1 }
  }
  return { act: 'end', outcome: 'completed' }
}

/** Whether the point of no return lies behind. */
export function pivoted(recipe: RecipeShape, journal: readonly JournalEntry[]): boolean {
  return journal.some(entry => entry.step === recipe.pivot && entry.kind === 'done')
}

/** Whether the operation is being undone: it failed, was cancelled or interrupted before its pivot. */
export function turnedBack(recipe: RecipeShape, journal: readonly JournalEntry[]): boolean {
  if (pivoted(recipe, journal)) return false
  return journal.some(entry => entry.kind === 'failed' || entry.kind === 'cancel_requested')
}

/** Steps whose undo was given up on: what they made may still be there. */
export function leftBehind(recipe: RecipeShape, journal: readonly JournalEntry[]): readonly string[] {
  const facts = read(journal)
  return recipe.steps
    .map(step => step.name)
    .filter(name => !facts.get(name)?.reverted && (facts.get(name)?.revertFailures ?? 0) > 0)
}

interface StepFacts {
  started: boolean
  done: boolean
  failures: number
  reverted: boolean
  revertFailures: number
}

const untouched: StepFacts = { started: false, done: false, failures: 0, reverted: false, revertFailures: 0 }

function read(journal: readonly JournalEntry[]): Map<string, StepFacts> {
  const facts = new Map<string, StepFacts>()
  for (const entry of journal) {
    const step = facts.get(entry.step) ?? { ...untouched }
    if (entry.kind === 'started') step.started = true
    if (entry.kind === 'done') step.done = true
    if (entry.kind === 'failed') step.failures++
    if (entry.kind === 'reverted') step.reverted = true
    if (entry.kind === 'revert_failed') step.revertFailures++
    facts.set(entry.step, step)
  }
  return facts
}

function back(
  recipe: RecipeShape,
  journal: readonly JournalEntry[],
  facts: Map<string, StepFacts>,
): Decision {
  for (const { name, undoable } of recipe.steps.toReversed()) {
    const step = facts.get(name)
    if (!undoable || !step?.started || step.reverted || step.revertFailures >= limits.attemptsMax) continue
    return { act: 'revert', step: name, attempt: step.revertFailures + 1 }
  }
  const asked = journal.findIndex(entry => entry.kind === 'cancel_requested')
  const failed = journal.findIndex(entry => entry.kind === 'failed')
  const byRequest = asked >= 0 && (failed < 0 || asked < failed)
  const clean = leftBehind(recipe, journal).length === 0
  return { act: 'end', outcome: byRequest && clean ? 'cancelled' : 'failed' }
}
