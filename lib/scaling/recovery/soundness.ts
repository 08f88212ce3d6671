/**
 * Whether an operation's record and journal can be believed. What a newer version wrote, what somebody edited and what says things
 * in an order in which they cannot have happened is neither run nor undone: nobody can say what it did. @pure
 *
 * Each entry is judged by what `next` would have decided from those before it, so there is no second list of what may follow what.
 * The journal asks the same before it writes one.
 */
import type { JournalEntry, Json, OperationRecord } from '../../store/store.ts'
import { next, pivoted, type RecipeShape, standing } from '../next.ts'
import { cancelStep, recoverStep, restoreStep, stuckStep } from '../phase.ts'
import { batchOf } from '../rolling/rolling.ts'

export interface Judged {
  /** Null: all of it is sound. */
  readonly why: string | null
  /** The entries that can be believed: all before the first that cannot. */
  readonly sound: readonly JournalEntry[]
}

/** `shape` null: this version knows no such kind of operation. `member`: whether an instance that it made is a member. */
export function judge(
  record: OperationRecord,
  journal: readonly JournalEntry[],
  shape: RecipeShape | null,
  member: boolean,
): Judged {
  const told = toldUntil(journal)
  if (record.flaw !== undefined) return { why: record.flaw, sound: told.sound }
  if (shape === null) return { why: `this version knows no operations of type \`${record.type}\``, sound: [] }
  if (told.why !== null) return told
  for (const [index, entry] of journal.entries()) {
    const why = outOfOrder(shape, journal.slice(0, index), entry)
    if (why !== null) return { why: `entry ${entry.seq}: ${why}`, sound: journal.slice(0, index) }
  }
  // Members and the registration's `done` are written together.
  const registers = shape.steps.some(({ name }) => name === registerStep)
  const registered = journal.some(({ step, kind }) => step === registerStep && kind === 'done')
  if (registers && member && !registered)
    return { why: 'what it made serves, and its journal ends before that', sound: journal }
  return { why: null, sound: journal }
}

const registerStep = 'register'

/** As far as each entry by itself can be read. */
export function toldUntil(journal: readonly JournalEntry[]): Judged {
  for (const [index, entry] of journal.entries()) {
    const why = unreadable(entry, index + 1)
    if (why !== null) return { why: `entry ${entry.seq}: ${why}`, sound: journal.slice(0, index) }
  }
  return { why: null, sound: journal }
}

const kinds: Readonly<Record<JournalEntry['kind'], true>> = {
  ...{ started: true, done: true, failed: true, reverting: true, reverted: true, revert_failed: true },
  ...{ cancel_requested: true, stuck: true, resumed: true, acknowledged: true },
}

/** The longest time that has a date. */
const timeMaxMs = 8.64e15

function unreadable({ flaw, seq, kind, atMs }: JournalEntry, expected: number): string | null {
  if (flaw !== undefined) return flaw
  if (seq !== expected) return `entry ${expected} is missing`
  if (!Object.hasOwn(kinds, kind)) return `this version knows no entries of kind \`${kind}\``
  return Number.isFinite(atMs) && Math.abs(atMs) <= timeMaxMs ? null : 'it has no time'
}

/** Null: the entry is what those before it led to. */
export function outOfOrder(
  shape: RecipeShape,
  before: readonly JournalEntry[],
  entry: Pick<JournalEntry, 'step' | 'kind' | 'data'>,
): string | null {
  const { step, kind } = entry
  const own = before.findLast(earlier => earlier.step === step)?.kind
  // A request to cancel may be written between a decision and the start of what was decided.
  const asked = before.findLastIndex(earlier => earlier.kind !== 'cancel_requested') + 1
  const decision = next(shape, kind === 'started' ? before.slice(0, asked) : before)
  const may = (allowed: boolean): string | null =>
    allowed ? null : `\`${step} ${kind}\` cannot come after ${said(before)}`
  if (before.some(earlier => earlier.kind === 'acknowledged')) return may(false)
  switch (kind) {
    case 'started':
      if (!shape.steps.some(({ name }) => name === step)) return `this version knows no step \`${step}\``
      return (
        may(decision.act === 'run' && decision.step === step) ?? malformed(step, 'names', entry.data, false)
      )
    case 'done': {
      const cancelled = before.some(earlier => earlier.kind === 'cancel_requested')
      return may(own === 'started' && !(step === shape.pivot && cancelled)) ?? lacks(entry)
    }
    case 'failed':
      // Or it could not even say what it was about to make.
      return may(
        own === 'started' ||
          (step === recoverStep && !pivoted(shape, before)) ||
          (decision.act === 'run' && decision.step === step),
      )
    case 'reverting':
      if (step === restoreStep) return may(decision.act === 'restore')
      return may(decision.act === 'revert' && decision.step === step)
    case 'reverted':
    case 'revert_failed':
      return may(own === 'reverting')
    case 'cancel_requested':
      return may(step === cancelStep && !pivoted(shape, before))
    case 'stuck':
      return may(step === stuckStep && decision.act === 'stand')
    case 'resumed':
    case 'acknowledged':
      return may(step === stuckStep && standing(before))
  }
}

/** Lists that later steps read out of an earlier one's `done`. */
const lists: Readonly<Record<string, readonly string[]>> = {
  ...{ collect_metrics: ['instances'], allocate: ['items', 'snapshots'] },
  ...{ clone: ['instances'], identify: ['items'], grow: ['grown'] },
}

function lacks({ step, data }: Pick<JournalEntry, 'step' | 'data'>): string | null {
  for (const list of batchOf(step) === null ? (lists[step] ?? []) : ['by', 'replaced']) {
    const why = malformed(step, list, data, true)
    if (why !== null) return why
  }
  return null
}

function malformed(step: string, list: string, data: Json, required: boolean): string | null {
  const found = (data as { readonly [key: string]: Json } | null)?.[list]
  if (found === undefined && !required) return null
  return Array.isArray(found) ? null : `what \`${step}\` says has no list \`${list}\``
}

const said = (before: readonly JournalEntry[]): string => {
  const last = before.at(-1)
  return last ? `\`${last.step} ${last.kind}\`` : 'nothing'
}
