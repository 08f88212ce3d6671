/**
 * One SQLite file through `node:sqlite`, whose only importing files are this one and `sqlite-lock`. Calls block their thread for the
 * time of an fsync, which is why it has a thread of its own (`sqlite-thread.ts`).
 *
 * Write-ahead log with full sync: what a write returned from is on the platter. The file, its log and its index are 0600. One process
 * at a time: a second one that opens the same path is told `already_running`.
 */
import { chmodSync, closeSync, mkdirSync, openSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { TidegateError, toTidegateError } from '../errors.ts'
import { defaultRetention, type Retention } from './retention.ts'
import { type StoreLock, takeLock } from './sqlite-lock.ts'
import {
  type Cell,
  flawOfRow,
  leftOfMark,
  legible,
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
import type { Flaw, MarkRecord, Store, Write } from './store.ts'

export interface SqliteOptions {
  readonly retention?: Retention
  /** The file may not grow beyond this; a write that would is refused with `store_unavailable`. */
  readonly sizeMaxBytes?: number
}

const pageBytes = 4096
const defaultSizeMaxBytes = 1024 ** 3
const busyTimeoutMs = 2_000
/** Fewer transactions than this are left in the log; by itself SQLite waits for a thousand pages, some four of which a transaction takes. */
const tidyAfter = 100

/** The entries of one that has not ended are counted: where some are missing, what it did is not known. */
const select = `SELECT *, CASE WHEN ended_at_ms IS NULL
  THEN (SELECT count(*) FROM journal WHERE operation = id) END AS found FROM operation`
const instances = 'SELECT * FROM instance ORDER BY created_at_ms, id'
const backends = 'SELECT * FROM backend ORDER BY cluster, id'

const leftOf = (of: Flaw['of'], row: Row): Pick<Flaw, 'instance'> =>
  of === 'instance' ? { instance: toInstance(row) } : {}

const keyOf = (of: Flaw['of'], id: string) => `${of} ${id}`
const pairOf = (cluster: Cell | undefined, id: Cell | undefined) => `${cluster}/${id}`

/** The record that a write puts or takes away, as a flaw names it; null: it is only ever added. */
function subjectOf(write: Write): readonly [of: Flaw['of'], id: string] | null {
  if ('delete' in write) {
    if (write.delete === 'instance') return ['instance', write.id]
    return [write.delete, pairOf(write.cluster, write.delete === 'mark' ? write.backend : write.id)]
  }
  switch (write.put) {
    case 'operation':
    case 'instance':
      return [write.put, write.record.id]
    case 'backend':
      return ['backend', pairOf(write.record.cluster, write.record.id)]
    case 'mark':
      return ['mark', pairOf(write.record.cluster, write.record.backend)]
    case 'value':
      return ['value', write.key]
    default:
      return null
  }
}

/** Opens or makes the store at `path`. Throws `already_running`, or `store_unavailable` with the reason. */
export function openSqliteFile(path: string, options: SqliteOptions = {}): SqliteFile {
  const file = resolve(path)
  const lock = guarded(file, () => {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
    makePrivate(file)
    return takeLock(file)
  })
  try {
    const db = guarded(file, () => connect(file, options.sizeMaxBytes ?? defaultSizeMaxBytes))
    return new SqliteFile(file, db, lock, options.retention ?? defaultRetention)
  } catch (error) {
    lock.release()
    throw error
  }
}

/** What a `Store` does, at once. */
export type AtOnce = {
  readonly [K in keyof Store]: (...args: Parameters<Store[K]>) => Awaited<ReturnType<Store[K]>>
}

export class SqliteFile implements AtOnce {
  readonly #file: string
  readonly #db: DatabaseSync
  readonly #lock: StoreLock
  readonly #retention: Retention
  readonly #statements = new Map<string, StatementSync>()
  #closed = false
  #unsound: Map<string, Flaw> | null = null
  /** Of all but operations, as of a version of the file. */
  #damaged: { readonly version: number; readonly flaws: Map<string, Flaw> } | null = null
  /** Transactions that are in the log only, as far as they were not taken over by SQLite itself. */
  #untidied = 0

  constructor(file: string, db: DatabaseSync, lock: StoreLock, retention: Retention) {
    this.#file = file
    this.#db = db
    this.#lock = lock
    this.#retention = retention
  }

  write(batch: readonly Write[]): void {
    this.#transaction([batch])
  }

  /**
   * Several batches with one sync, each of them still all or nothing: where one cannot be written none is, and each is tried alone.
   * What became of each, in order; null: it is on disk.
   */
  writeTogether(batches: readonly (readonly Write[])[]): readonly (TidegateError | null)[] {
    if (batches.length > 1)
      try {
        this.#transaction(batches)
        return batches.map(() => null)
      } catch {
        // Which of them it was shows when each is alone.
      }
    return batches.map(batch => {
      try {
        this.write(batch)
        return null
      } catch (error) {
        return toTidegateError(error)
      }
    })
  }

  #transaction(batches: readonly (readonly Write[])[]): void {
    this.#guarded(() => {
      this.#db.exec('BEGIN IMMEDIATE')
      try {
        for (const batch of batches) {
          for (const write of batch) this.#put(write)
          this.#prune(batch)
        }
        this.#db.exec('COMMIT')
        this.#untidied++
        for (const write of batches.flat()) this.#writtenAnew(write)
      } catch (error) {
        if (this.#db.isTransaction) this.#db.exec('ROLLBACK')
        throw error
      }
    })
  }

  /**
   * Takes the log over into the file where much is in it. It takes as long as several syncs, so it is for a moment in which nobody waits:
   * else the commit that fills the log does it, and whoever waits for that commit waits for it too.
   */
  tidy(): void {
    if (this.#closed || this.#untidied < tidyAfter) return
    this.#untidied = 0
    this.#db.exec('PRAGMA wal_checkpoint(PASSIVE)')
  }

  operations(filter: Parameters<Store['operations']>[0]) {
    const where = ['1 = 1']
    if (filter.cluster !== undefined) where.push('cluster = :cluster')
    if (filter.unfinished) where.push('(ended_at_ms IS NULL OR id IN (SELECT value FROM json_each(:flawed)))')
    const rows = this.#all(
      `${select} WHERE ${where.join(' AND ')} ORDER BY created_at_ms DESC, rank DESC LIMIT :limit`,
      {
        limit: filter.limit ?? 100,
        ...(filter.cluster === undefined ? {} : { cluster: filter.cluster }),
        ...(filter.unfinished ? { flawed: JSON.stringify([...this.#flawed().keys()]) } : {}),
      },
    )
    return rows.map(toOperation)
  }

  operation(id: string) {
    const row = this.#all(`${select} WHERE id = :id`, { id })[0]
    return row ? toOperation(row) : null
  }

  journal(operation: string) {
    const rows = this.#all('SELECT * FROM journal WHERE operation = :operation ORDER BY seq', { operation })
    return rows.map(toEntry)
  }

  membership() {
    const flaws = this.#flaws()
    return {
      instances: this.#all(instances)
        .filter(({ id }) => !flaws.has(keyOf('instance', String(id))))
        .map(toInstance),
      backends: this.#all(backends)
        .filter(row => !flaws.has(keyOf('backend', pairOf(row.cluster, row.id))))
        .map(toBackend),
      marks: this.marks(),
    }
  }

  marks() {
    return this.#all('SELECT * FROM mark ORDER BY cluster, backend').flatMap((row): MarkRecord[] =>
      flawOfRow(row) === null ? [toMark(row)] : [leftOfMark(row) ?? []].flat(),
    )
  }

  history(cluster: string | null, limit: number) {
    const where = cluster === null ? '' : 'WHERE cluster = :cluster'
    const rows = this.#all(`SELECT * FROM history ${where} ORDER BY rank DESC LIMIT :limit`, {
      limit,
      ...(cluster === null ? {} : { cluster }),
    })
    return rows.map(toHistory)
  }

  value(key: string) {
    const row = this.#all('SELECT * FROM value WHERE key = :key', { key })[0]
    return row && flawOfRow(row) === null ? legible(row.value) : null
  }

  flaws(): readonly Flaw[] {
    return [...this.#flawed().values(), ...this.#flaws().values()]
  }

  /** Of a thousand records each look costs some ms: it is taken again when somebody else has written to the file. */
  #flaws(): ReadonlyMap<string, Flaw> {
    const version = Number(this.#all('PRAGMA data_version')[0]!.data_version)
    if (this.#damaged?.version !== version) this.#damaged = { version, flaws: this.#lookThrough() }
    return this.#damaged.flaws
  }

  #lookThrough(): Map<string, Flaw> {
    const among = (of: Flaw['of'], sql: string, name: (row: Row) => Cell | undefined) =>
      this.#all(sql).flatMap((row): readonly (readonly [string, Flaw])[] => {
        const why = flawOfRow(row)
        const id = String(name(row))
        return why === null ? [] : [[keyOf(of, id), { of, id, why, ...leftOf(of, row) }]]
      })
    return new Map([
      ...among('instance', instances, row => row.id),
      ...among('backend', backends, row => pairOf(row.cluster, row.id)),
      ...among('mark', 'SELECT * FROM mark', row => pairOf(row.cluster, row.backend)),
      ...among('value', 'SELECT * FROM value', row => row.key),
    ])
  }

  /** It is sound from now on, or gone. */
  #writtenAnew(write: Write): void {
    const subject = subjectOf(write)
    if (subject === null) return
    const [of, id] = subject
    if (of === 'operation') this.#unsound?.delete(id)
    else this.#damaged?.flaws.delete(keyOf(of, id))
  }

  /** Operations that are not sound, whether they have ended or not: found once, for they are many, and struck out as they are written anew. */
  #flawed(): Map<string, Flaw> {
    if (this.#unsound) return this.#unsound
    const found = new Map<string, Flaw>()
    for (const row of this.#all(select)) {
      const { id, flaw } = toOperation(row)
      if (flaw !== undefined) found.set(id, { of: 'operation', id, why: flaw })
    }
    for (const { operation } of this.#all(
      'SELECT DISTINCT operation FROM journal WHERE operation NOT IN (SELECT id FROM operation)',
    ))
      found.set(String(operation), { of: 'journal', id: String(operation), why: 'its operation is missing' })
    this.#unsound = found
    return found
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#statements.clear()
    this.#db.close()
    this.#lock.release()
  }

  #put(write: Write): void {
    this.#run(statementFor(write), rowOf(write))
    if ('put' in write && write.put === 'journal')
      this.#run('UPDATE operation SET entries = entries + 1 WHERE id = :id', { id: write.record.operation })
  }

  #prune(batch: readonly Write[]): void {
    if (batch.some(write => 'put' in write && write.put === 'history'))
      this.#run('DELETE FROM history WHERE rank <= (SELECT max(rank) FROM history) - :keep', {
        keep: this.#retention.historyMax,
      })
    if (batch.some(write => 'put' in write && write.put === 'operation' && write.record.endedAtMs !== null))
      this.#run(
        `DELETE FROM operation WHERE rank IN (SELECT rank FROM operation WHERE ended_at_ms IS NOT NULL
         AND id NOT IN (SELECT value FROM json_each(:flawed))
         ORDER BY created_at_ms DESC, rank DESC LIMIT -1 OFFSET :keep)`,
        { keep: this.#retention.operationsMax, flawed: JSON.stringify([...this.#flawed().keys()]) },
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
