/** Records to rows of the SQLite store and back, and the statement for each kind of write. @pure */
import { brokenSeal, type Cell, type Row, sealed } from './seal.ts'
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

export type { Cell, Row }

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
      return sealed(operationRow(write.record))
    case 'journal':
      return sealed(journalRow(write.record))
    case 'instance':
      return sealed(instanceRow(write.record))
    case 'backend':
      return sealed(backendRow(write.record))
    case 'mark':
      return sealed(markRow(write.record))
    case 'history':
      return historyRow(write.record)
    case 'value':
      return sealed({ key: write.key, value: JSON.stringify(write.value) })
  }
}

const put: Record<Extract<Write, { put: string }>['put'], string> = {
  operation: `INSERT INTO operation
    (id, cluster, type, request, actor, created_at_ms, ended_at_ms, outcome, format, checksum)
    VALUES (:id, :cluster, :type, :request, :actor, :created_at_ms, :ended_at_ms, :outcome, :format, :checksum)
    ON CONFLICT (id) DO UPDATE SET cluster = :cluster, type = :type, request = :request, actor = :actor,
      created_at_ms = :created_at_ms, ended_at_ms = :ended_at_ms, outcome = :outcome, format = :format,
      checksum = :checksum`,
  journal: `INSERT INTO journal (operation, seq, step, kind, data, at_ms, format, checksum)
    VALUES (:operation, :seq, :step, :kind, :data, :at_ms, :format, :checksum)`,
  instance: `INSERT OR REPLACE INTO instance
    (id, cluster, node, incarnation, host, port, operation, origin, created_at_ms, resources, protected, lineage,
      format, checksum)
    VALUES (:id, :cluster, :node, :incarnation, :host, :port, :operation, :origin, :created_at_ms, :resources,
      :protected, :lineage, :format, :checksum)`,
  backend: `INSERT OR REPLACE INTO backend (cluster, id, host, port, weight, incarnation, zone, format, checksum)
    VALUES (:cluster, :id, :host, :port, :weight, :incarnation, :zone, :format, :checksum)`,
  mark: `INSERT OR REPLACE INTO mark (cluster, backend, mark, drain, format, checksum)
    VALUES (:cluster, :backend, :mark, :drain, :format, :checksum)`,
  history: `INSERT INTO history
    (cluster, at_ms, actor, from_value, to_value, reason, action, outcome, operation, node, backend)
    VALUES (:cluster, :at_ms, :actor, :from_value, :to_value, :reason, :action, :outcome, :operation, :node, :backend)`,
  value: `INSERT OR REPLACE INTO value (key, value, format, checksum)
    VALUES (:key, :value, :format, :checksum)`,
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
  request: legible(row.request),
  actor: text(row.actor),
  createdAtMs: Number(row.created_at_ms),
  endedAtMs: row.ended_at_ms === null ? null : Number(row.ended_at_ms),
  outcome: row.outcome as OperationRecord['outcome'],
  ...flawed(flawOfRow(row) ?? miscounted(row)),
})

/** Entries that are missing are as good as forged: what was done is not known. `found` is there where they were counted. */
function miscounted({ found = null, entries = null }: Row): string | null {
  if (found === null || found === entries) return null
  return `its journal has ${found} entries, and ${entries} were written`
}

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
  data: legible(row.data),
  atMs: Number(row.at_ms),
  ...flawed(flawOfRow(row)),
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
  ...given(row.resources, 'resources', legible),
  ...given(row.protected, 'protected', () => true),
  ...given(row.lineage, 'lineage', legible),
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
  ...(row.drain === null || legible(row.drain) === null
    ? {}
    : { drain: legible(row.drain) as unknown as NonNullable<MarkRecord['drain']> }),
})

const marks: readonly string[] = ['drain', 'maint']

/** Of a mark that has a flaw: what it said, if that can be read, so that nobody who was taken out comes back by himself. */
export const leftOfMark = (row: Row): MarkRecord | null =>
  marks.includes(text(row.mark)) ? toMark({ ...row, drain: null }) : null

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
  backend: record.backend ?? null,
})

export const toHistory = (row: Row): HistoryRecord => ({
  cluster: row.cluster === '' ? null : text(row.cluster),
  atMs: Number(row.at_ms),
  actor: text(row.actor),
  from: legible(row.from_value),
  to: legible(row.to_value),
  reason: text(row.reason),
  ...given(row.action, 'action', text),
  ...given(row.outcome, 'outcome', text),
  ...given(row.operation, 'operation', text),
  ...given(row.node, 'node', text),
  ...given(row.backend, 'backend', text),
})

/** A field that is there or not, as it went in. */
const given = (cell: Cell | undefined, key: string, read: (cell: Cell) => Json): object =>
  cell === null || cell === undefined ? {} : { [key]: read(cell) }

const text = (cell: Cell | undefined): string => String(cell)

/** Cells that hold JSON. */
const documents = ['request', 'data', 'resources', 'lineage', 'drain', 'value']

/** Why a row cannot be taken at its word; null: it is sound. */
export function flawOfRow(row: Row): string | null {
  const broken = brokenSeal(row)
  if (broken !== null) return broken
  const torn = documents.find(name => row[name] !== undefined && row[name] !== null && !parses(row[name]))
  return torn === undefined ? null : `its \`${torn}\` is no JSON`
}

const flawed = (flaw: string | null): { readonly flaw?: string } => (flaw === null ? {} : { flaw })

/** What was written there; null where it cannot be read. */
export function legible(cell: Cell | undefined): Json {
  try {
    return JSON.parse(text(cell)) as Json
  } catch {
    return null
  }
}

function parses(cell: Cell): boolean {
  try {
    JSON.parse(text(cell))
    return true
  } catch {
    return false
  }
}
