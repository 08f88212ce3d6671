/**
 * The metrics of operations, reconcile, orphans and nodes. `docs/observation.md` has a row for each. @pure
 */
import type { ScalingNumbers } from '../scaling/numbers.ts'
import type { Durations, Tallied } from '../scaling/tally.ts'
import type { Family, Value } from './families.ts'

const msPerSecond = 1_000

export const scalingFamilies: readonly Family[] = [
  counter('tidegate_operations_total', 'Operations that have ended, by outcome.', n => n.operations),
  durations(
    'tidegate_operation_duration_seconds',
    'From the request of an operation to its end.',
    n => n.durations,
  ),
  durations(
    'tidegate_operation_phase_duration_seconds',
    'How long operations that have ended were in each of their phases.',
    n => n.phases,
  ),
  counter(
    'tidegate_operation_retries_total',
    'Steps that were tried again, and undoes, by the phase in which it was.',
    n => n.retries,
  ),
  counter('tidegate_operation_rollbacks_total', 'Operations that were taken back.', n => n.rollbacks),
  counter('tidegate_operation_stuck_total', 'Times that an operation was given up on.', n => n.stucks),
  perCluster('tidegate_operations_running', 'Operations under way.', ({ running }) => running),
  perCluster(
    'tidegate_operations_stuck',
    'Operations that stand still until something is mended or acknowledged.',
    ({ stuck }) => stuck,
  ),
  perCluster(
    'tidegate_repairs_in_a_row',
    'Repairs in a row that did not last; 0: the last one has.',
    ({ repairs }) => repairs,
  ),
  gauge('tidegate_orphans', 'What carries our tag and nobody claims, by whether it may be destroyed.', n =>
    n.orphans.map(({ node, kind, kept }) => ({ labels: { node, kind, kept: String(kept) }, value: 1 })),
  ),
  counter('tidegate_orphans_destroyed_total', 'Orphans that were destroyed.', n => n.orphansDestroyed),
  gauge('tidegate_node_unknown', '1: the node could not be asked when it last was; 0: it answered.', n =>
    n.nodes.map(({ node, unknownMs }) => ({ labels: { node }, value: unknownMs === null ? 0 : 1 })),
  ),
  gauge('tidegate_node_unknown_seconds', 'For how long the node has not answered.', n =>
    n.nodes.map(({ node, unknownMs }) => ({ labels: { node }, value: (unknownMs ?? 0) / msPerSecond })),
  ),
  gauge('tidegate_reconcile_age_seconds', 'Since the end of the last round of reconcile.', ({ reconcile }) =>
    reconcile ? [{ labels: {}, value: reconcile.ageMs / msPerSecond }] : [],
  ),
  gauge('tidegate_reconcile_duration_seconds', 'What the last round of it took.', ({ reconcile }) =>
    reconcile ? [{ labels: {}, value: reconcile.tookMs / msPerSecond }] : [],
  ),
  gauge('tidegate_store_flaws', 'Records in the store that cannot be read.', ({ flaws }) =>
    flaws === null ? [] : [{ labels: {}, value: flaws }],
  ),
]

type Read<T> = (numbers: ScalingNumbers) => T

function gauge(name: string, help: string, read: Read<readonly Value[]>): Family {
  return { name, help, type: 'gauge', values: ({ scaling }) => (scaling ? summed(read(scaling)) : []) }
}

function counter(name: string, help: string, read: Read<readonly Tallied<number>[]>): Family {
  return { name, help, type: 'counter', values: ({ scaling }) => (scaling ? read(scaling) : []) }
}

function perCluster(
  name: string,
  help: string,
  read: (cluster: ScalingNumbers['clusters'][number]) => number,
): Family {
  return gauge(name, help, ({ clusters }) =>
    clusters.map(one => ({ labels: { cluster: one.cluster }, value: read(one) })),
  )
}

function durations(name: string, help: string, read: Read<readonly Tallied<Durations>[]>): Family {
  const values: Family['values'] = ({ scaling }) =>
    scaling ? read(scaling).flatMap(row => histogram(name, row)) : []
  return { name, help, type: 'histogram', values }
}

/** Buckets are cumulative on the wire. */
function histogram(
  name: string,
  { labels, value: { bounds, buckets, sumSeconds } }: Tallied<Durations>,
): Value[] {
  let count = 0
  const values: Value[] = buckets.map((n, i) => {
    count += n
    return { metricName: `${name}_bucket`, labels: { ...labels, le: bounds[i] ?? '+Inf' }, value: count }
  })
  return [
    ...values,
    { metricName: `${name}_sum`, labels, value: sumSeconds },
    { metricName: `${name}_count`, labels, value: count },
  ]
}

/** One value for each set of labels. */
function summed(values: readonly Value[]): readonly Value[] {
  const sums = new Map<string, { labels: Value['labels']; value: number }>()
  for (const { labels, value } of values) {
    const key = JSON.stringify(labels)
    sums.set(key, { labels, value: (sums.get(key)?.value ?? 0) + value })
  }
  return [...sums.values()]
}
