/**
 * A store that forgets everything with its process: for tests, trials and embedding. Atomic like the others; values go
 * through JSON on the way in, so that what would not survive a disk does not survive here either.
 */
import { TidegateError } from '../errors.ts'
import { defaultRetention, type Retention } from './retention.ts'
import type {
  BackendRecord,
  HistoryRecord,
  InstanceRecord,
  JournalEntry,
  Json,
  MarkRecord,
  OperationRecord,
  Store,
  Write,
} from './store.ts'

interface Tables {
  operations: Map<string, OperationRecord>
  journals: Map<string, readonly JournalEntry[]>
  instances: Map<string, InstanceRecord>
  backends: Map<string, BackendRecord>
  marks: Map<string, MarkRecord>
  history: readonly HistoryRecord[]
  values: Map<string, Json>
}

export function createMemoryStore(retention: Retention = defaultRetention): Store {
  const tables: Tables = {
    operations: new Map(),
    journals: new Map(),
    instances: new Map(),
    backends: new Map(),
    marks: new Map(),
    history: [],
    values: new Map(),
  }
  let closed = false
  const open = (): Tables => {
    if (closed) throw new TidegateError('store_unavailable', 'the store is closed')
    return tables
  }
  return {
    async write(batch) {
      const next = batch.map(plain)
      refuse(open(), next)
      // From here on nothing throws: all of it is taken or none.
      for (const write of next) apply(tables, write)
      prune(tables, retention)
    },
    async operations(filter) {
      return [...open().operations.values()]
        .reverse()
        .sort((a, b) => b.createdAtMs - a.createdAtMs)
        .filter(record => filter.cluster === undefined || record.cluster === filter.cluster)
        .filter(record => !filter.unfinished || record.endedAtMs === null)
        .slice(0, filter.limit ?? 100)
    },
    async operation(id) {
      return open().operations.get(id) ?? null
    },
    async journal(operation) {
      return open().journals.get(operation) ?? []
    },
    async membership() {
      const { instances, backends, marks } = open()
      return {
        instances: [...instances.values()],
        backends: [...backends.values()],
        marks: [...marks.values()],
      }
    },
    async marks() {
      return [...open().marks.values()]
    },
    async history(cluster, limit) {
      return open()
        .history.filter(record => cluster === null || record.cluster === cluster)
        .reverse()
        .slice(0, limit)
    },
    async value(key) {
      return open().values.get(key) ?? null
    },
    async flaws() {
      open()
      return []
    },
    async close() {
      closed = true
    },
  }
}

const key = (cluster: string, id: string) => `${cluster}\0${id}`

/** What JSON has rules of its own for. */
const odd = (value: object) => 'toJSON' in value || Object.hasOwn(value, '__proto__')

/** As JSON would give it back, and some times quicker: what it does not know itself goes through JSON. */
function plain<T>(value: T): T {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return value
  if (typeof value === 'number') return (Number.isFinite(value) ? value : null) as T
  if (Array.isArray(value)) return value.map(one => plain(one ?? null)) as T
  if (typeof value !== 'object' || Object.getPrototypeOf(value) !== Object.prototype || odd(value))
    return JSON.parse(JSON.stringify(value)) as T
  const copy: Record<string, unknown> = {}
  for (const [name, one] of Object.entries(value)) if (one !== undefined) copy[name] = plain(one)
  return copy as T
}

function apply(tables: Tables, write: Write): void {
  if ('delete' in write) return remove(tables, write)
  switch (write.put) {
    case 'operation':
      tables.operations.set(write.record.id, write.record)
      return
    case 'journal':
      return append(tables, write.record)
    case 'instance':
      tables.instances.set(write.record.id, write.record)
      return
    case 'backend':
      tables.backends.set(key(write.record.cluster, write.record.id), write.record)
      return
    case 'mark':
      tables.marks.set(key(write.record.cluster, write.record.backend), write.record)
      return
    case 'history':
      tables.history = [...tables.history, write.record]
      return
    case 'value':
      tables.values.set(write.key, write.value)
  }
}

function remove(tables: Tables, write: Extract<Write, { delete: string }>): void {
  switch (write.delete) {
    case 'instance':
      tables.instances.delete(write.id)
      return
    case 'backend':
      tables.backends.delete(key(write.cluster, write.id))
      return
    case 'mark':
      tables.marks.delete(key(write.cluster, write.backend))
  }
}

/** Throws when an entry is of no operation that is stored or put before it, or is there already. */
function refuse(tables: Tables, batch: readonly Write[]): void {
  const fresh = new Set<string>()
  for (const write of batch) {
    if ('delete' in write) continue
    if (write.put === 'operation') fresh.add(write.record.id)
    if (write.put !== 'journal') continue
    const { operation, seq } = write.record
    if (!tables.operations.has(operation) && !fresh.has(operation))
      throw new TidegateError('internal', `journal entry for operation ${operation}, which is not stored`)
    const entry = key(operation, String(seq))
    if (fresh.has(entry) || tables.journals.get(operation)?.some(existing => existing.seq === seq))
      throw new TidegateError('internal', `operation ${operation} already has journal entry ${seq}`)
    fresh.add(entry)
  }
}

function append(tables: Tables, entry: JournalEntry): void {
  const journal = tables.journals.get(entry.operation) ?? []
  const after = journal.findLastIndex(({ seq }) => seq < entry.seq) + 1
  tables.journals.set(entry.operation, journal.toSpliced(after, 0, entry))
}

function prune(tables: Tables, retention: Retention): void {
  if (tables.history.length > retention.historyMax)
    tables.history = tables.history.slice(-retention.historyMax)
  if (tables.operations.size <= retention.operationsMax) return
  const ended = [...tables.operations.values()].filter(record => record.endedAtMs !== null)
  const surplus = ended.length - retention.operationsMax
  if (surplus <= 0) return
  for (const record of ended.sort((a, b) => a.createdAtMs - b.createdAtMs).slice(0, surplus)) {
    tables.operations.delete(record.id)
    tables.journals.delete(record.id)
  }
}
