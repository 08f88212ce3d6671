/** An operation as it is asked for and as it is shown: views over its record and journal. @pure */
import type { Resources } from '../config/config.ts'
import type { Phase } from '../phases.ts'
import type { JournalEntry, Json, OperationRecord } from '../store/store.ts'
import { errorOf } from './failure.ts'
import { standing } from './next.ts'
import { type PhaseSpan, pseudoSteps, restoreStep, trace } from './phase.ts'
import {
  type BatchData,
  batchOf,
  type RollingRequest,
  type RollingView,
  rollingView,
} from './rolling/rolling.ts'

export type OperationRequest =
  | {
      readonly type: 'scale_out' | 'scale_in'
      readonly target_count: number
      /** Leaving instances get no grace period: their clients are told at once. */
      readonly immediate: boolean
      /** False: leaving instances are cut without a drain. */
      readonly drain_connections: boolean
      /** It makes up for those who died: how many are wanted is not changed by it. */
      readonly repair?: true
    }
  /** The CPUs of all together, at least: those who are there grow first as far as the policy says, and others are made for the rest. */
  | { readonly type: 'scale_out'; readonly target_cpus: number }
  | {
      readonly type: 'replace'
      readonly instance_id: string
      /** All that are replaced at once, the named one among them. Left out: only that. */
      readonly instance_ids?: readonly string[]
      /** The new ones are made from the template of now, and never cloned from the old ones. */
      readonly fresh?: boolean
      /** Made from this version of the template, which was kept, and not from the one of now. */
      readonly template?: string
      /** Made of this golden snapshot; null: booted, and none is kept. Left out: as the cluster's settings say. */
      readonly golden?: { readonly node: string; readonly snapshot: string } | null
      /** The old ones are kept, closed to new clients, until the new ones have served well; else all is undone. */
      readonly trial?: Trial
      readonly part_of?: PartOf
    }
  | ({ readonly type: 'rolling_replace' } & RollingRequest)
  /** They are dead, and clones that stand by take their places. */
  | { readonly type: 'failover'; readonly instance_id: string; readonly instance_ids: readonly string[] }
  /** What is left out stays as it is. */
  | { readonly type: 'resize'; readonly instance_id: string; readonly resources: Partial<Resources> }

/** How new instances prove themselves. */
export type Trial = {
  /** How long they serve before they are judged. */
  readonly pause_seconds: number
  /** The share of their exchanges that may fail, 0 to 1. */
  readonly max_failure_ratio: number
}

/** Which part of which operation another one is. */
export type PartOf = {
  readonly operation: string
  /** From 1. */
  readonly batch: number
  /** It takes back what the others of its batch did. */
  readonly back: boolean
}

/** Null: it is a whole. */
export const partOf = (request: Json): PartOf | null =>
  (request as { readonly part_of?: PartOf } | null)?.part_of ?? null

/** Whom a replace replaces. */
export const replacedBy = (request: {
  readonly instance_id: string
  readonly instance_ids?: readonly string[]
}) => request.instance_ids ?? [request.instance_id]

/** An operation on the wire. */
export interface OperationView {
  readonly id: string
  readonly cluster_id: string
  readonly type: string
  /** `stuck`: it has not ended and stands still until reality is mended or a person acknowledges it. */
  readonly status: 'running' | 'stuck' | 'completed' | 'failed' | 'cancelled'
  readonly phase: Phase
  readonly request: Json
  readonly actor: string
  /** ISO 8601. */
  readonly created_at: string
  readonly completed_at: string | null
  readonly error: { readonly code: string; readonly message: string; readonly details: Json } | null
  readonly phases: readonly PhaseView[]
  readonly steps: readonly StepView[]
  /** Instances that it made or removed. */
  readonly instances: readonly string[]
  /** Of a rolling replace: how far it has come. */
  readonly rolling?: RollingView
}

export interface PhaseView {
  readonly phase: Phase
  readonly started_at: string
  readonly ended_at: string | null
  readonly duration_ms: number | null
  /** How often a step of it was started. */
  readonly attempts: number
  /** `left`: the next one was reached. */
  readonly outcome: 'running' | 'left' | 'failed' | 'cancelled' | 'end'
}

export interface StepView {
  readonly step: string
  /** `running` `done` `failed` `reverting` `reverted` `revert_failed` `requested` `stuck` `resumed` `acknowledged` */
  readonly status: string
  readonly started_at: string
  readonly ended_at: string | null
  readonly duration_ms: number | null
  /** How often it was started. */
  readonly attempts: number
  readonly data: Json
}

/** `parts`: operations among which are those that it consists of. */
export function operationView(
  record: OperationRecord,
  journal: readonly JournalEntry[],
  parts: readonly OperationRecord[] = [],
): OperationView {
  const spans = trace(record, journal)
  return {
    id: record.id,
    cluster_id: record.cluster,
    type: record.type,
    status: record.outcome ?? (standing(journal) ? 'stuck' : 'running'),
    phase: spans.at(-1)!.phase,
    request: record.request,
    actor: record.actor,
    created_at: iso(record.createdAtMs),
    completed_at: record.endedAtMs === null ? null : iso(record.endedAtMs),
    error: errorOf(record, journal),
    phases: phaseViews(record, spans),
    steps: stepViews(journal),
    instances: instancesOf(journal),
    ...(record.type === 'rolling_replace' && 'batches' in (record.request as object)
      ? { rolling: rollingView(record, journal, partsOf(record, parts)) }
      : {}),
  }
}

const partsOf = ({ id }: OperationRecord, parts: readonly OperationRecord[]) =>
  parts.flatMap(({ id: operation, request }) => {
    const part = partOf(request)
    return part?.operation === id ? [{ operation, batch: part.batch, back: part.back }] : []
  })

/** How a phase ended, from the one that came after it. */
export function outcomeOfPhase(phase: Phase, next: Phase | undefined, ended: boolean): PhaseView['outcome'] {
  if (next === undefined) return ended ? 'end' : 'running'
  if (next === 'failed' || next === 'stuck') return phase === 'failed' ? 'left' : 'failed'
  return next === 'rolling_back' && phase !== 'failed' && phase !== 'stuck' ? 'cancelled' : 'left'
}

function phaseViews(record: OperationRecord, spans: readonly PhaseSpan[]): readonly PhaseView[] {
  return spans.map(({ phase, fromMs, attempts }, index) => {
    const until = spans[index + 1]?.fromMs ?? record.endedAtMs
    return {
      phase,
      started_at: iso(fromMs),
      ended_at: until === null ? null : iso(until),
      duration_ms: until === null ? null : until - fromMs,
      attempts,
      outcome: outcomeOfPhase(phase, spans[index + 1]?.phase, record.outcome !== null),
    }
  })
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
  if (entry.kind === 'reverting' && entry.step === restoreStep)
    return { ...open(entry, at), status: 'reverting', attempts: (view?.attempts ?? 0) + 1 }
  if (!view || (pseudoSteps.includes(entry.step) && entry.step !== restoreStep)) {
    const status = entry.kind === 'cancel_requested' ? 'requested' : entry.kind
    return { ...open(entry, at), status, ended_at: at, duration_ms: 0 }
  }
  if (entry.kind === 'reverting') return { ...view, status: 'reverting' }
  const duration = entry.atMs - Date.parse(view.started_at)
  // Of the comparison the time is its own; of an undo, the step's.
  const times = entry.step === restoreStep ? { ended_at: at, duration_ms: duration, data: entry.data } : {}
  if (entry.kind === 'reverted') return { ...view, ...times, status: 'reverted' }
  if (entry.kind === 'revert_failed') return { ...view, ...times, status: 'revert_failed', data: entry.data }
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
  const batches = journal.flatMap(({ step, kind, data }) => {
    if (batchOf(step) === null || kind !== 'done') return []
    const { by, replaced } = data as unknown as BatchData
    return [...by, ...replaced]
  })
  return [...made, ...removed, ...batches]
}

const iso = (ms: number) => new Date(ms).toISOString()
