/**
 * The store on disk: one SQLite file through `node:sqlite`, whose only importing files are this one and `sqlite-lock`.
 *
 * Write-ahead log with full sync: a batch is one transaction and is on the platter when `write` resolves. The file, its log
 * and its index are 0600. One process at a time: a second one that opens the same path is told `already_running`.
 * Calls block their thread for the time of an fsync; that is the control thread, never one that carries traffic.
 */
import { chmodSync, closeSync, mkdirSync, openSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { TidegateError } from '../errors.ts'
import { defaultRetention, type Retention } from './retention.ts'
import { type StoreLock, takeLock } from './sqlite-lock.ts'
import {
  type Row,
  rowOf,
  statementFor,
  toBackend,
  toEntry,
  toHistory,
  toInstance,
  toMark,
  toOperation,
} from './sqlite-rows.ts'
import { migrations } from './sqlite-schema.ts'
import type { MarkRecord, Store, Write } from './store.ts'

export interface SqliteOptions {
  readonly retention?: Retention
  /** The file may not grow beyond this; a write that would is refused with `store_unavailable`. */
  readonly sizeMaxBytes?: number
}

const pageBytes = 4096
const defaultSizeMaxBytes = 1024 ** 3
const busyTimeoutMs = 2_000

/** Opens or makes the store at `path`. Throws `already_running`, or `store_unavailable` with the reason. */
export async function openSqliteStore(path: string, options: SqliteOptions = {}): Promise<Store> {
  const file = resolve(path)
  const lock = guarded(file, () => {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
    makePrivate(file)
    return takeLock(file)
  })
  try {
    const db = guarded(file, () => connect(file, options.sizeMaxBytes ?? defaultSizeMaxBytes))
    return new SqliteStore(file, db, lock, options.retention ?? defaultRetention)
  } catch (error) {
    lock.release()
    throw error
  }
}

class SqliteStore implements Store {
  readonly #file: string
  readonly #db: DatabaseSync
  readonly #lock: StoreLock
  readonly #retention: Retention
  readonly #statements = new Map<string, StatementSync>()
  #closed = false

  constructor(file: string, db: DatabaseSync, lock: StoreLock, retention: Retention) {
    this.#file = file
    this.#db = db
    this.#lock = lock
    this.#retention = retention
  }

  async write(batch: readonly Write[]): Promise<void> {
    this.#guarded(() => {
      this.#db.exec('BEGIN IMMEDIATE')
      try {
        for (const write of batch) this.#run(statementFor(write), rowOf(write))
        this.#prune(batch)
        this.#db.exec('COMMIT')
      } catch (error) {
        if (this.#db.isTransaction) this.#db.exec('ROLLBACK')
        throw error
      }
    })
  }

  async operations(filter: Parameters<Store['operations']>[0]) {
    const where = ['1 = 1']
    if (filter.cluster !== undefined) where.push('cluster = :cluster')
    if (filter.unfinished) where.push('ended_at_ms IS NULL')
    const rows = this.#all(
      `SELECT * FROM operation WHERE ${where.join(' AND ')} ORDER BY created_at_ms DESC, rank DESC LIMIT :limit`,
      { limit: filter.limit ?? 100, ...(filter.cluster === undefined ? {} : { cluster: filter.cluster }) },
    )
    return rows.map(toOperation)
  }

  async operation(id: string) {
    const row = this.#all('SELECT * FROM operation WHERE id = :id', { id })[0]
    return row ? toOperation(row) : null
  }

  async journal(operation: string) {
    const rows = this.#all('SELECT * FROM journal WHERE operation = :operation ORDER BY seq', { operation })
    return rows.map(toEntry)
  }

  async membership() {
    return {
      instances: this.#all('SELECT * FROM instance ORDER BY created_at_ms, id').map(toInstance),
      backends: this.#all('SELECT * FROM backend ORDER BY cluster, id').map(toBackend),
      marks: this.#all('SELECT * FROM mark ORDER BY cluster, backend').map((row): MarkRecord => toMark(row)),
    }
  }

  async history(cluster: string | null, limit: number) {
    const where = cluster === null ? '' : 'WHERE cluster = :cluster'
    const rows = this.#all(`SELECT * FROM history ${where} ORDER BY rank DESC LIMIT :limit`, {
      limit,
      ...(cluster === null ? {} : { cluster }),
    })
    return rows.map(toHistory)
  }

  async value(key: string) {
    const row = this.#all('SELECT value FROM value WHERE key = :key', { key })[0]
    return row ? JSON.parse(String(row.value)) : null
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#statements.clear()
    this.#db.close()
    this.#lock.release()
  }

  #prune(batch: readonly Write[]): void {
    if (batch.some(write => 'put' in write && write.put === 'history'))
      this.#run('DELETE FROM history WHERE rank <= (SELECT max(rank) FROM history) - :keep', {
        keep: this.#retention.historyMax,
      })
    if (batch.some(write => 'put' in write && write.put === 'operation' && write.record.endedAtMs !== null))
      this.#run(
        `DELETE FROM operation WHERE rank IN (SELECT rank FROM operation WHERE ended_at_ms IS NOT NULL
         ORDER BY created_at_ms DESC, rank DESC LIMIT -1 OFFSET :keep)`,
        { keep: this.#retention.operationsMax },
      )
  }

  #run(sql: string, row: Record<string, SQLInputValue>): void {
    this.#statement(sql).run(row)
  }

  #all(sql: string, row: Record<string, SQLInputValue> = {}): Row[] {
    return this.#guarded(() => this.#statement(sql).all(row) as Row[])
  }

  #statement(sql: string): StatementSync {
    let statement = this.#statements.get(sql)
    if (!statement) {
      statement = this.#db.prepare(sql)
      this.#statements.set(sql, statement)
    }
    return statement
  }

  #guarded<T>(act: () => T): T {
    if (this.#closed) throw new TidegateError('store_unavailable', 'the store is closed')
    return guarded(this.#file, act)
  }
}

function connect(file: string, sizeMaxBytes: number): DatabaseSync {
  const db = new DatabaseSync(file, { timeout: busyTimeoutMs, enableForeignKeyConstraints: true })
  try {
    db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF')
    db.exec(`PRAGMA max_page_count = ${Math.max(1, Math.floor(sizeMaxBytes / pageBytes))}`)
    migrate(db, file)
    return db
  } catch (error) {
    db.close()
    throw error
  }
}

function migrate(db: DatabaseSync, file: string): void {
  const version = Number((db.prepare('PRAGMA user_version').get() as Row).user_version)
  if (version > migrations.length)
    throw new TidegateError(
      'store_unavailable',
      `${file} was written by a newer Tidegate (its schema is ${version}, this one knows ${migrations.length}); start that one, or name another store.path`,
    )
  for (const [at, sql] of migrations.entries()) {
    if (at < version) continue
    db.exec(`BEGIN IMMEDIATE; ${sql}; PRAGMA user_version = ${at + 1}; COMMIT`)
  }
}

/** SQLite gives the log and the index the mode of the main file, so it is enough that this one is private from its birth. */
function makePrivate(file: string): void {
  closeSync(openSync(file, 'a', 0o600))
  chmodSync(file, 0o600)
}

const constraintViolated = 19

/** SQLite's and the file system's errors as ours. A violated constraint is a mistake of the caller, not of the disk. */
function guarded<T>(file: string, act: () => T): T {
  try {
    return act()
  } catch (error) {
    if (error instanceof TidegateError) throw error
    const { errcode, errstr, message } = error as { errcode?: number; errstr?: string; message: string }
    if (errcode !== undefined && (errcode & 0xff) === constraintViolated)
      throw new TidegateError('internal', `the store refused a record: ${message}`, { cause: error })
    const reason = errstr ? `${errstr} (${message})` : message
    throw new TidegateError('store_unavailable', `cannot use the store ${file}: ${reason}`, { cause: error })
  }
}
