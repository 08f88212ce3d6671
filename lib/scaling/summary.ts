/** The line that an operation leaves in its cluster's history, in people's words. @pure */
import type { JournalEntry, Json, OperationRecord, Write } from '../store/store.ts'
import { type AllocateData, doneData, type PlanData } from './facts.ts'
import { errorOf } from './failure.ts'
import { type RollingRequest, rollingView } from './rolling/rolling.ts'

/** One history record for an operation that has just ended, as the write that goes with its end. */
export function summaryOf(record: OperationRecord, journal: readonly JournalEntry[]): readonly Write[] {
  if (record.type === 'resize') return [resizeSummary(record, journal)]
  if (record.type === 'rolling_replace') return [rollingSummary(record, journal)]
  const planned = journal.some(entry => entry.step === 'plan' && entry.kind === 'done')
  const plan = planned ? doneData<PlanData>(journal, 'plan') : null
  const { from, to } = bounds(record, journal, plan)
  const failed = record.outcome !== 'completed'
  return [
    {
      put: 'history',
      record: {
        cluster: record.cluster,
        atMs: record.endedAtMs ?? record.createdAtMs,
        actor: record.actor,
        action: record.type,
        operation: record.id,
        outcome: outcomes[record.outcome ?? 'failed'],
        ...told(plan, failed, from, to),
        reason: failed ? failure(record, journal, from, to) : success(record, plan, from, to),
      },
    },
  ]
}

/** Of CPUs the counts too. */
function told(
  plan: PlanData | null,
  failed: boolean,
  from: Json,
  to: Json,
): { readonly from: Json; readonly to: Json } {
  if (!plan?.cpus) return { from, to: failed ? from : to }
  const before = { cpus: plan.cpus.from, instances: plan.from }
  return { from: before, to: failed ? before : { cpus: plan.cpus.to, instances: plan.to } }
}

const outcomes = { completed: 'done', failed: 'failed', cancelled: 'cancelled' } as const

function resizeSummary(record: OperationRecord, journal: readonly JournalEntry[]): Write {
  const { instance_id: id } = record.request as { readonly instance_id: string }
  const planned = journal.some(entry => entry.step === 'plan' && entry.kind === 'done')
  const { from, to } = planned
    ? doneData<{ from: Json; to: Json }>(journal, 'plan')
    : { from: null, to: null }
  const outcome = outcomes[record.outcome ?? 'failed']
  const reason =
    outcome === 'done'
      ? `Resized ${id}`
      : `Resizing ${id} ${outcome === 'cancelled' ? 'was cancelled and undone' : `failed: ${errorOf(record, journal)?.message}`}`
  const { cluster, actor, type, endedAtMs, createdAtMs } = record
  const at = { atMs: endedAtMs ?? createdAtMs, actor, action: type, operation: record.id, outcome }
  return { put: 'history', record: { cluster, ...at, from, to: outcome === 'done' ? to : from, reason } }
}

function rollingSummary(record: OperationRecord, journal: readonly JournalEntry[]): Write {
  const { batches } = record.request as unknown as RollingRequest
  const all = `${batches.flat().length} instances in ${batches.length} batches`
  const { passed, batch } = rollingView(record, journal, [])
  const outcome = outcomes[record.outcome ?? 'failed']
  const ends = {
    done: `Replaced ${all}`,
    cancelled: `Replacing ${all} was cancelled in batch ${batch} and undone`,
    failed: `Replacing ${all} failed in batch ${batch}: ${errorOf(record, journal)?.message}`,
  }
  const { cluster, actor, type, endedAtMs, createdAtMs } = record
  const at = { atMs: endedAtMs ?? createdAtMs, actor, action: type, operation: record.id, outcome }
  return {
    put: 'history',
    record: { cluster, ...at, from: batches.length, to: passed, reason: ends[outcome] },
  }
}

function success(record: OperationRecord, plan: PlanData | null, from: Json, to: Json): string {
  if (record.type === 'failover') return `${to} took the place of ${from}, which died`
  if (record.type === 'replace') return `Replaced ${from} by ${to}`
  if (plan?.cpus) return `Scaled from ${from} to ${to} CPUs (${capacityBy(plan)})`
  if (record.type === 'scale_out') return `Scaled up from ${from} to ${to} replicas (${plan?.add ?? 0} added)`
  return `Scaled down from ${from} to ${to} replicas (${plan?.victims.length ?? 0} removed)`
}

const cpusAsked = ({ request }: OperationRecord): number | null =>
  (request as { readonly target_cpus?: number } | null)?.target_cpus ?? null

/** Who grew to what, and how many were made. */
function capacityBy({ grow = [], add }: PlanData): string {
  const sizes = [...Map.groupBy(grow, ({ to }) => to.cpus)].map(([cpus, grown]) => {
    const ids = grown.map(({ id }) => id)
    const names = [ids.slice(0, -1).join(', '), ids.at(-1)].filter(Boolean).join(' and ')
    return `${names} resized to ${cpus}${ids.length > 1 ? ' each' : ''}`
  })
  const made = add > 0 ? [`${add} instance${add > 1 ? 's' : ''} added`] : []
  return [...sizes, ...made].join(', ')
}

function failure(record: OperationRecord, journal: readonly JournalEntry[], from: Json, to: Json): string {
  const act =
    record.type === 'failover'
      ? `Replacing ${from}, which died, by a clone that stood by`
      : record.type === 'replace'
        ? `Replacing ${from}`
        : `Scaling ${record.type === 'scale_out' ? 'up' : 'down'} from ${from ?? '?'} to ${to}${cpusAsked(record) === null ? '' : ' CPUs'}`
  const error = errorOf(record, journal)
  if (record.outcome === 'cancelled') {
    const why = error?.code === 'operation_cancelled' ? '' : `: ${error?.message}`
    return `${act} was cancelled and undone${why}`
  }
  const { step = null } = (error?.details ?? {}) as { readonly step?: string | null }
  const ended = journal.findLast(entry => entry.kind === 'acknowledged')
  const { actor = null } = (ended?.data ?? {}) as { readonly actor?: string | null }
  const where = step === null ? '' : ` in ${step}`
  return `${act} failed${where}: ${error?.message ?? 'unknown reason'}${actor === null ? '' : ` (ended as it stood by ${actor})`}`
}

function bounds(
  record: OperationRecord,
  journal: readonly JournalEntry[],
  plan: PlanData | null,
): { readonly from: Json; readonly to: Json } {
  const request = record.request as {
    readonly target_count?: number
    readonly instance_id?: string
    readonly instance_ids?: readonly string[]
  }
  const cpus = cpusAsked(record)
  if (cpus !== null) return { from: plan?.cpus?.from ?? null, to: plan?.cpus?.to ?? cpus }
  if (record.type !== 'replace' && record.type !== 'failover')
    return { from: plan?.from ?? null, to: plan?.to ?? request.target_count ?? null }
  const allocated = journal.some(entry => entry.step === 'allocate' && entry.kind === 'done')
  const made = allocated ? doneData<AllocateData>(journal, 'allocate').items.map(({ name }) => name) : []
  const old = request.instance_ids ?? [request.instance_id ?? '?']
  return { from: old.join(', '), to: made.length > 0 ? made.join(', ') : null }
}
