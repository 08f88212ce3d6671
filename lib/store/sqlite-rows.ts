/** Records to rows of the SQLite store and back, and the statement for each kind of write. @pure */
import type {
  BackendRecord,
  HistoryRecord,
  InstanceRecord,
  JournalEntry,
  Json,
  MarkRecord,
  OperationRecord,
  Write,
} from './store.ts'

export type Cell = null | number | bigint | string
export type Row = Record<string, Cell>

/** The SQL of one write; its parameters are `rowOf` the same write. */
export function statementFor(write: Write): string {
  return 'put' in write ? put[write.put] : drop[write.delete]
}

export function rowOf(write: Write): Row {
  if ('delete' in write) {
    const { delete: _, ...row } = write
    return row
  }
  switch (write.put) {
    case 'operation':
      return operationRow(write.record)
    case 'journal':
      return journalRow(write.record)
    case 'instance':
      return instanceRow(write.record)
    case 'backend':
      return backendRow(write.record)
    case 'mark':
      return markRow(write.record)
    case 'history':
      return historyRow(write.record)
    case 'value':
      return { key: write.key, value: JSON.stringify(write.value) }
  }
}

const put: Record<Extract<Write, { put: string }>['put'], string> = {
  operation: `INSERT INTO operation (id, cluster, type, request, actor, created_at_ms, ended_at_ms, outcome)
    VALUES (:id, :cluster, :type, :request, :actor, :created_at_ms, :ended_at_ms, :outcome)
    ON CONFLICT (id) DO UPDATE SET request = :request, ended_at_ms = :ended_at_ms, outcome = :outcome`,
  journal: `INSERT INTO journal (operation, seq, step, kind, data, at_ms)
    VALUES (:operation, :seq, :step, :kind, :data, :at_ms)`,
  instance: `INSERT OR REPLACE INTO instance
    (id, cluster, node, incarnation, host, port, operation, origin, created_at_ms, resources, protected, lineage)
    VALUES (:id, :cluster, :node, :incarnation, :host, :port, :operation, :origin, :created_at_ms, :resources,
      :protected, :lineage)`,
  backend: `INSERT OR REPLACE INTO backend (cluster, id, host, port, weight, incarnation, zone)
    VALUES (:cluster, :id, :host, :port, :weight, :incarnation, :zone)`,
  mark: `INSERT OR REPLACE INTO mark (cluster, backend, mark, drain)
    VALUES (:cluster, :backend, :mark, :drain)`,
  history: `INSERT INTO history
    (cluster, at_ms, actor, from_value, to_value, reason, action, outcome, operation, node)
    VALUES (:cluster, :at_ms, :actor, :from_value, :to_value, :reason, :action, :outcome, :operation, :node)`,
  value: 'INSERT OR REPLACE INTO value (key, value) VALUES (:key, :value)',
}

const drop: Record<Extract<Write, { delete: string }>['delete'], string> = {
  instance: 'DELETE FROM instance WHERE id = :id',
  backend: 'DELETE FROM backend WHERE cluster = :cluster AND id = :id',
  mark: 'DELETE FROM mark WHERE cluster = :cluster AND backend = :backend',
}

const operationRow = (record: OperationRecord): Row => ({
  id: record.id,
  cluster: record.cluster,
  type: record.type,
  request: JSON.stringify(record.request),
  actor: record.actor,
  created_at_ms: record.createdAtMs,
  ended_at_ms: record.endedAtMs,
  outcome: record.outcome,
})

export const toOperation = (row: Row): OperationRecord => ({
  id: text(row.id),
  cluster: text(row.cluster),
  type: text(row.type) as OperationRecord['type'],
  request: json(row.request),
  actor: text(row.actor),
  createdAtMs: Number(row.created_at_ms),
  endedAtMs: row.ended_at_ms === null ? null : Number(row.ended_at_ms),
  outcome: row.outcome as OperationRecord['outcome'],
})

const journalRow = (entry: JournalEntry): Row => ({
  operation: entry.operation,
  seq: entry.seq,
  step: entry.step,
  kind: entry.kind,
  data: JSON.stringify(entry.data),
  at_ms: entry.atMs,
})

export const toEntry = (row: Row): JournalEntry => ({
  operation: text(row.operation),
  seq: Number(row.seq),
  step: text(row.step),
  kind: text(row.kind) as JournalEntry['kind'],
  data: json(row.data),
  atMs: Number(row.at_ms),
})

const instanceRow = (record: InstanceRecord): Row => ({
  id: record.id,
  cluster: record.cluster,
  node: record.node,
  incarnation: record.incarnation,
  host: record.address.host,
  port: record.address.port,
  operation: record.operation,
  origin: record.origin,
  created_at_ms: record.createdAtMs,
  resources: record.resources ? JSON.stringify(record.resources) : null,
  protected: record.protected ? 1 : null,
  lineage: record.lineage ? JSON.stringify(record.lineage) : null,
})

export const toInstance = (row: Row): InstanceRecord => ({
  id: text(row.id),
  cluster: text(row.cluster),
  node: text(row.node),
  incarnation: text(row.incarnation),
  address: { host: text(row.host), port: Number(row.port) },
  operation: text(row.operation),
  origin: text(row.origin) as InstanceRecord['origin'],
  createdAtMs: Number(row.created_at_ms),
  ...given(row.resources, 'resources', json),
  ...given(row.protected, 'protected', () => true),
  ...given(row.lineage, 'lineage', json),
})

const backendRow = (record: BackendRecord): Row => ({
  cluster: record.cluster,
  id: record.id,
  host: record.address.host,
  port: record.address.port,
  weight: record.weight,
  incarnation: record.incarnation,
  zone: record.zone ?? null,
})

export const toBackend = (row: Row): BackendRecord => ({
  cluster: text(row.cluster),
  id: text(row.id),
  address: { host: text(row.host), port: Number(row.port) },
  weight: Number(row.weight),
  incarnation: text(row.incarnation),
  ...given(row.zone, 'zone', text),
})

const markRow = ({ cluster, backend, mark, drain }: MarkRecord): Row => ({
  cluster,
  backend,
  mark,
  drain: drain ? JSON.stringify(drain) : null,
})

export const toMark = (row: Row): MarkRecord => ({
  cluster: text(row.cluster),
  backend: text(row.backend),
  mark: text(row.mark) as MarkRecord['mark'],
  ...(row.drain === null ? {} : { drain: json(row.drain) as unknown as NonNullable<MarkRecord['drain']> }),
})

/** A line of no cluster has an empty one: the column is older than such lines. */
const historyRow = (record: HistoryRecord): Row => ({
  cluster: record.cluster ?? '',
  at_ms: record.atMs,
  actor: record.actor,
  from_value: JSON.stringify(record.from),
  to_value: JSON.stringify(record.to),
  reason: record.reason,
  action: record.action ?? null,
  outcome: record.outcome ?? null,
  operation: record.operation ?? null,
  node: record.node ?? null,
})

export const toHistory = (row: Row): HistoryRecord => ({
  cluster: row.cluster === '' ? null : text(row.cluster),
  atMs: Number(row.at_ms),
  actor: text(row.actor),
  from: json(row.from_value),
  to: json(row.to_value),
  reason: text(row.reason),
  ...given(row.action, 'action', text),
  ...given(row.outcome, 'outcome', text),
  ...given(row.operation, 'operation', text),
  ...given(row.node, 'node', text),
})

/** A field that is there or not, as it went in. */
const given = (cell: Cell | undefined, key: string, read: (cell: Cell) => Json): object =>
  cell === null || cell === undefined ? {} : { [key]: read(cell) }

const text = (cell: Cell | undefined): string => String(cell)
const json = (cell: Cell | undefined): Json => JSON.parse(text(cell)) as Json
