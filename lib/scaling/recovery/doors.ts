/**
 * Who is closed to new clients in the first table after a restart, by the journals of operations that have not ended: fences are not in
 * the store. Of a replace that was interrupted before its pivot the new ones are, for it is undone; after it, the old ones.
 */
import type { JournalEntry, OperationRecord } from '../../store/store.ts'
import { type AllocateData, doneData, leavingBy } from '../facts.ts'
import { pivoted } from '../next.ts'
import { recipeOf } from '../recipes.ts'
import { shapeOf } from '../runner.ts'
import type { InitialBackend } from './membership.ts'

export interface Unfinished {
  readonly record: OperationRecord
  readonly entries: readonly JournalEntry[]
}

export function closedAtStart(
  initial: readonly InitialBackend[],
  unfinished: readonly Unfinished[],
): readonly InitialBackend[] {
  const closed = closedBySwitches(unfinished)
  return initial.map(({ cluster, backend }) => ({
    cluster,
    backend: closed.has(backend.id) ? { ...backend, fenced: true } : backend,
  }))
}

function closedBySwitches(unfinished: readonly Unfinished[]): ReadonlySet<string> {
  const closed = unfinished.flatMap(({ record, entries }) => {
    const switched = entries.some(({ step, kind }) => step === 'register' && kind === 'done')
    if (record.type !== 'replace' || !switched) return []
    return pivoted(shapeOf(recipeOf(record)), entries)
      ? leavingBy(entries).map(({ id }) => id)
      : doneData<AllocateData>(entries, 'allocate').items.map(({ name }) => name)
  })
  return new Set(closed)
}
