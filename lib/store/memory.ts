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
  let tables: Tables = {
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
      const next = copy(open())
      for (const write of batch) apply(next, write)
      prune(next, retention)
      tables = next
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

function copy(tables: Tables): Tables {
  return {
    operations: new Map(tables.operations),
    journals: new Map(tables.journals),
    instances: new Map(tables.instances),
    backends: new Map(tables.backends),
    marks: new Map(tables.marks),
    history: tables.history,
    values: new Map(tables.values),
  }
}

const key = (cluster: string, id: string) => `${cluster}\0${id}`
const plain = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T

function apply(tables: Tables, write: Write): void {
  if ('delete' in write) return remove(tables, write)
  switch (write.put) {
    case 'operation':
      tables.operations.set(write.record.id, plain(write.record))
      return
    case 'journal':
      return append(tables, plain(write.record))
    case 'instance':
      tables.instances.set(write.record.id, plain(write.record))
      return
    case 'backend':
      tables.backends.set(key(write.record.cluster, write.record.id), plain(write.record))
      return
    case 'mark':
      tables.marks.set(key(write.record.cluster, write.record.backend), plain(write.record))
      return
    case 'history':
      tables.history = [...tables.history, plain(write.record)]
      return
    case 'value':
      tables.values.set(write.key, plain(write.value))
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

function append(tables: Tables, entry: JournalEntry): void {
  if (!tables.operations.has(entry.operation))
    throw new TidegateError('internal', `journal entry for operation ${entry.operation}, which is not stored`)
  const journal = tables.journals.get(entry.operation) ?? []
  if (journal.some(existing => existing.seq === entry.seq))
    throw new TidegateError('internal', `operation ${entry.operation} already has journal entry ${entry.seq}`)
  tables.journals.set(
    entry.operation,
    [...journal, entry].sort((a, b) => a.seq - b.seq),
  )
}

function prune(tables: Tables, retention: Retention): void {
  if (tables.history.length > retention.historyMax)
    tables.history = tables.history.slice(-retention.historyMax)
  const ended = [...tables.operations.values()].filter(record => record.endedAtMs !== null)
  const surplus = ended.length - retention.operationsMax
  if (surplus <= 0) return
  for (const record of ended.sort((a, b) => a.createdAtMs - b.createdAtMs).slice(0, surplus)) {
    tables.operations.delete(record.id)
    tables.journals.delete(record.id)
  }
}
