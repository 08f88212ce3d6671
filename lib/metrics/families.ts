/**
 * Every metric of `/metrics` that is ours: its name, what it says, and how its values come from what control knows. @pure
 * `docs/observation.md` has a row for each.
 */
import type { BackendState, BackendView } from '../cluster/backend.ts'
import type { HistogramTotals, RowCounter, RowTotals, ThreadFact } from '../proxy/observe/counters.ts'
import { bucketBounds } from '../proxy/observe/histogram.ts'
import type { ScalingNumbers } from '../scaling/numbers.ts'
import { scalingFamilies } from './scaling-families.ts'

/** What was true when somebody asked. */
export interface Snapshot {
  readonly version: string
  readonly generation: number
  /** With the row of nobody's cluster, named `-`. */
  readonly rows: readonly { readonly cluster: string; readonly totals: RowTotals }[]
  readonly threads: readonly {
    readonly thread: number
    readonly facts: Readonly<Record<ThreadFact, number>>
  }[]
  readonly clusters: readonly {
    readonly id: string
    readonly instances: number
    readonly wanted: number
    /** Of its warm pool; left out: it has none. */
    readonly warm?: { readonly ready: number; readonly making: number } | null
    readonly backends: readonly BackendView[]
  }[]
  readonly certificates: readonly {
    readonly use: string
    readonly file: string
    readonly endsAtMs: number
  }[]
  /** Null: nothing scales here. */
  readonly scaling: ScalingNumbers | null
}

export interface Value {
  /** Of a histogram's parts. */
  readonly metricName?: string
  readonly labels: Readonly<Record<string, string | number>>
  readonly value: number
}

export interface Family {
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  values(snapshot: Snapshot): readonly Value[]
}

const classes = ['none', '1xx', '2xx', '3xx', '4xx', '5xx'] as const
const states: readonly BackendState[] = ['warming', 'ready', 'draining', 'drained', 'maint', 'down']
const msPerSecond = 1_000

const perCluster: readonly Family[] = [
  family(
    'tidegate_requests_total',
    'Exchanges that are over, by the class of their status.',
    'counter',
    ({ rows }) =>
      rows.flatMap(({ cluster, totals }) =>
        classes.map((name, i) => ({ labels: { cluster, class: name }, value: totals.statuses[i]! })),
      ),
  ),
  family(
    'tidegate_endings_total',
    'Exchanges and tunnels that are over, by how they ended.',
    'counter',
    ({ rows }) => rows.flatMap(({ cluster, totals }) => known({ cluster }, 'ending', totals.endings)),
  ),
  family(
    'tidegate_errors_total',
    'Exchanges that ended with an error of ours, by its code.',
    'counter',
    ({ rows }) => rows.flatMap(({ cluster, totals }) => known({ cluster }, 'code', totals.errors)),
  ),
  family(
    'tidegate_request_duration_seconds',
    "From the request's head to the last byte of its answer; of a tunnel, to its end.",
    'histogram',
    ({ rows }) =>
      rows.flatMap(({ cluster, totals }) =>
        histogram('tidegate_request_duration_seconds', cluster, totals.duration),
      ),
  ),
  family(
    'tidegate_response_head_seconds',
    "From the request's head to the head of the backend's answer.",
    'histogram',
    ({ rows }) =>
      rows.flatMap(({ cluster, totals }) =>
        histogram('tidegate_response_head_seconds', cluster, totals.head),
      ),
  ),
  rowFamily(
    'tidegate_request_bytes_total',
    'Bytes of request bodies from clients, and of tunnels.',
    'bytesIn',
  ),
  rowFamily(
    'tidegate_response_bytes_total',
    "Bytes of answers' bodies to clients, and of tunnels.",
    'bytesOut',
  ),
  rowFamily('tidegate_attempts_total', 'Times that a request was sent to a backend.', 'attempts'),
  rowFamily('tidegate_retries_total', 'Attempts after one that had failed.', 'retries'),
  rowFamily('tidegate_hedges_total', 'Attempts beside one that had not failed.', 'hedges'),
  rowFamily('tidegate_mirrored_total', 'Copies of requests that were sent to another cluster.', 'mirrored'),
  rowFamily('tidegate_mirrors_dropped_total', 'Copies that were to be sent and were not.', 'mirrorsDropped'),
  rowFamily(
    'tidegate_split_fallbacks_total',
    'Requests that the cluster left to another one of its split.',
    'splitFallbacks',
  ),
  rowFamily('tidegate_tunnels_opened_total', 'Upgraded connections that were opened.', 'tunnelsOpened'),
  family('tidegate_instances', 'Instances of the cluster.', 'gauge', ({ clusters }) =>
    clusters.map(({ id, instances }) => ({ labels: { cluster: id }, value: instances })),
  ),
  family(
    'tidegate_instances_wanted',
    'How many it is brought back to when some die.',
    'gauge',
    ({ clusters }) => clusters.map(({ id, wanted }) => ({ labels: { cluster: id }, value: wanted })),
  ),
  family(
    'tidegate_warm_pool_instances',
    'Instances of the warm pool: ready to be taken, and being made or on their way out.',
    'gauge',
    ({ clusters }) =>
      clusters.flatMap(({ id, warm }) =>
        warm
          ? [
              { labels: { cluster: id, state: 'ready' }, value: warm.ready },
              { labels: { cluster: id, state: 'making' }, value: warm.making },
            ]
          : [],
      ),
  ),
]

const perBackend: readonly Family[] = [
  family('tidegate_backends', 'Backends of the cluster, by state.', 'gauge', ({ clusters }) =>
    clusters.flatMap(({ id, backends }) =>
      states.map(state => ({
        labels: { cluster: id, state },
        value: backends.filter(backend => backend.state === state).length,
      })),
    ),
  ),
  backendFamily(
    'tidegate_backend_up',
    '1: the backend takes new clients; 0: it does not.',
    'gauge',
    ({ state }) => (state === 'ready' ? 1 : 0),
  ),
  backendFamily('tidegate_backend_in_flight', 'Exchanges under way.', 'gauge', backend => backend.in_flight),
  backendFamily('tidegate_backend_tunnels', 'Upgraded connections now.', 'gauge', backend => backend.tunnels),
  backendFamily(
    'tidegate_backend_sessions',
    'Live sessions bound to it, where they can be counted.',
    'gauge',
    backend => backend.sessions,
  ),
  backendFamily('tidegate_backend_weight', 'Its share of new clients.', 'gauge', backend => backend.weight),
  backendFamily(
    'tidegate_backend_requests_total',
    'Exchanges since it was registered.',
    'counter',
    backend => backend.requests,
  ),
  backendFamily(
    'tidegate_backend_failures_total',
    'Exchanges that got no answer from it.',
    'counter',
    backend => backend.failures,
  ),
  backendFamily(
    'tidegate_backend_server_errors_total',
    'Answers of it with a status of 500 or above.',
    'counter',
    backend => backend.server_errors,
  ),
]

const perThread: readonly Family[] = [
  threadFamily(
    'tidegate_client_connections_accepted_total',
    'Connections of clients.',
    'counter',
    'connectionsAccepted',
  ),
  threadFamily(
    'tidegate_client_connections_refused_total',
    'Connections that were closed at once: too many, or from nobody who may.',
    'counter',
    'connectionsRefused',
  ),
  family('tidegate_client_connections', 'Connections of clients now.', 'gauge', ({ threads }) =>
    threads.map(({ thread, facts }) => ({
      labels: { thread },
      value: Math.max(0, facts.connectionsAccepted - facts.connectionsClosed),
    })),
  ),
  family(
    'tidegate_tls_handshakes_total',
    'TLS handshakes with clients, by outcome.',
    'counter',
    ({ threads }) =>
      threads.flatMap(({ thread, facts }) => [
        { labels: { thread, result: 'full' }, value: facts.tlsFull },
        { labels: { thread, result: 'resumed' }, value: facts.tlsResumed },
        { labels: { thread, result: 'failed' }, value: facts.tlsFailed },
      ]),
  ),
  threadFamily(
    'tidegate_access_log_lines_total',
    'Lines of the access log that were written.',
    'counter',
    'logLines',
  ),
  threadFamily(
    'tidegate_access_log_dropped_total',
    'Lines that the file did not take in time.',
    'counter',
    'logDropped',
  ),
  threadFamily('tidegate_spans_sent_total', 'Spans that the collector took.', 'counter', 'spansSent'),
  threadFamily(
    'tidegate_spans_dropped_total',
    'Spans that it did not take in time.',
    'counter',
    'spansDropped',
  ),
  threadFamily(
    'tidegate_thread_utilization_ratio',
    'Share of the last second in which the event loop was busy.',
    'gauge',
    'loopUtilization',
  ),
  family(
    'tidegate_thread_delay_seconds',
    'How late the event loop was at most, in the last second.',
    'gauge',
    ({ threads }) =>
      threads.map(({ thread, facts }) => ({ labels: { thread }, value: facts.loopDelayMs / msPerSecond })),
  ),
  threadFamily('tidegate_thread_heap_bytes', "The thread's used heap.", 'gauge', 'heapBytes'),
  threadFamily(
    'tidegate_thread_external_bytes',
    "What the thread holds outside of its heap: buffers, V8's own.",
    'gauge',
    'externalBytes',
  ),
]

const whole: readonly Family[] = [
  family('tidegate_build_info', 'Always 1; the version is in the label.', 'gauge', ({ version }) => [
    { labels: { version }, value: 1 },
  ]),
  family('tidegate_generation', 'The newest routing table.', 'gauge', ({ generation }) => [
    { labels: {}, value: generation },
  ]),
  family(
    'tidegate_certificate_not_after_seconds',
    'When a certificate in use ends: seconds since 1970.',
    'gauge',
    ({ certificates }) =>
      certificates.map(({ use, file, endsAtMs }) => ({
        labels: { used_for: use, file },
        value: endsAtMs / msPerSecond,
      })),
  ),
]

export const families: readonly Family[] = [
  ...whole,
  ...perCluster,
  ...perBackend,
  ...scalingFamilies,
  ...perThread,
]

function family(name: string, help: string, type: Family['type'], values: Family['values']): Family {
  return { name, help, type, values }
}

function rowFamily(name: string, help: string, counter: RowCounter): Family {
  return family(name, help, 'counter', ({ rows }) =>
    rows.map(({ cluster, totals }) => ({ labels: { cluster }, value: totals.counters[counter] })),
  )
}

/** `read` may give null: then there is no value. */
function backendFamily(
  name: string,
  help: string,
  type: 'counter' | 'gauge',
  read: (backend: BackendView) => number | null,
): Family {
  return family(name, help, type, ({ clusters }) =>
    clusters.flatMap(({ id, backends }) =>
      backends.flatMap(backend => {
        const value = read(backend)
        return value === null ? [] : [{ labels: { cluster: id, backend: backend.id }, value }]
      }),
    ),
  )
}

function threadFamily(name: string, help: string, type: 'counter' | 'gauge', fact: ThreadFact): Family {
  return family(name, help, type, ({ threads }) =>
    threads.map(({ thread, facts }) => ({ labels: { thread }, value: facts[fact] })),
  )
}

/** Only what has happened: most combinations never do. */
function known(
  labels: Readonly<Record<string, string>>,
  label: string,
  counts: Readonly<Record<string, number>>,
): readonly Value[] {
  return Object.entries(counts).flatMap(([name, value]) =>
    value === 0 ? [] : [{ labels: { ...labels, [label]: name }, value }],
  )
}

/** Buckets are cumulative on the wire. */
function histogram(name: string, cluster: string, { buckets, sumMs }: HistogramTotals): readonly Value[] {
  let count = 0
  const values: Value[] = buckets.map((n, i) => {
    count += n
    const le = i < bucketBounds.length ? bucketBounds[i]! : '+Inf'
    return { metricName: `${name}_bucket`, labels: { cluster, le }, value: count }
  })
  return [
    ...values,
    { metricName: `${name}_sum`, labels: { cluster }, value: sumMs / msPerSecond },
    { metricName: `${name}_count`, labels: { cluster }, value: count },
  ]
}
