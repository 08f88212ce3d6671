/** The store on disk: an SQLite file that a thread of its own reads and writes, so that a slow disk holds up nobody but who waits for it. */
import { Worker } from 'node:worker_threads'
import { compiledEnv } from '../compiled.ts'
import { TidegateError } from '../errors.ts'
import { type Answer, type Call, fromWire, type Method, type Opening, openingId } from './sqlite-calls.ts'
import type { SqliteOptions } from './sqlite-file.ts'
import type { Store, Write } from './store.ts'

/** Opens or makes the store at `path`. Throws `already_running`, or `store_unavailable` with the reason. */
export async function openSqliteStore(path: string, options: SqliteOptions = {}): Promise<Store> {
  const store = new SqliteStore({ path, options })
  await store.opened
  return store
}

/** Calls that wait for a disk that does not keep up; one more is refused. */
export const waitingMax = 4_096
const tooMany = `${waitingMax} calls wait for its disk already; look at what else uses that disk`

interface Asked {
  readonly resolve: (value: never) => void
  readonly reject: (error: unknown) => void
}

class SqliteStore implements Store {
  readonly opened: Promise<void>
  readonly #path: string
  readonly #thread: Worker
  readonly #asked = new Map<number, Asked>()
  #lastId = openingId
  #closing: Promise<void> | null = null
  /** Why nothing can be asked any more. */
  #ended: TidegateError | null = null

  constructor(opening: Opening) {
    this.#path = opening.path
    this.#thread = new Worker(new URL('./sqlite-thread.ts', import.meta.url), {
      workerData: opening,
      env: compiledEnv(),
      name: 'store',
    })
    this.#thread.on('message', (answer: Answer) => this.#answered(answer))
    this.#thread.on('error', error => this.#end(`its thread failed: ${error}`, error))
    this.#thread.on('exit', () => this.#end('its thread ended'))
    this.opened = this.#wait(openingId)
  }

  write(batch: readonly Write[]) {
    return this.#ask('write', [batch])
  }
  operations(filter: Parameters<Store['operations']>[0]) {
    return this.#ask('operations', [filter])
  }
  operation(id: string) {
    return this.#ask('operation', [id])
  }
  journal(operation: string) {
    return this.#ask('journal', [operation])
  }
  membership() {
    return this.#ask('membership', [])
  }
  marks() {
    return this.#ask('marks', [])
  }
  history(cluster: string | null, limit: number) {
    return this.#ask('history', [cluster, limit])
  }
  value(key: string) {
    return this.#ask('value', [key])
  }
  flaws() {
    return this.#ask('flaws', [])
  }

  /** After all that was asked before. Idempotent. */
  close(): Promise<void> {
    if (this.#ended && !this.#closing) return Promise.resolve()
    this.#closing ??= this.#ask('close', []).finally(() => this.#end('it is closed'))
    return this.#closing
  }

  async #ask<M extends Method>(
    method: M,
    args: Parameters<Store[M]>,
  ): Promise<Awaited<ReturnType<Store[M]>>> {
    if (this.#ended) throw this.#ended
    if (this.#asked.size >= waitingMax && method !== 'close') throw this.#unavailable(tooMany)
    const id = ++this.#lastId
    const answered = this.#wait<Awaited<ReturnType<Store[M]>>>(id)
    this.#thread.postMessage({ id, method, args } as Call)
    return answered
  }

  #wait<T>(id: number): Promise<T> {
    // A process that waits for nothing else may end; one that waits for its store may not.
    if (this.#asked.size === 0) this.#thread.ref()
    return new Promise<T>((resolve, reject) => this.#asked.set(id, { resolve, reject }))
  }

  #answered(answer: Answer): void {
    const asked = this.#asked.get(answer.id)
    this.#asked.delete(answer.id)
    if (this.#asked.size === 0) this.#thread.unref()
    if ('error' in answer) asked?.reject(fromWire(answer.error))
    else asked?.resolve(answer.value as never)
  }

  #end(why: string, cause?: unknown): void {
    this.#ended ??= this.#unavailable(why, cause)
    for (const { reject } of this.#asked.values()) reject(this.#ended)
    this.#asked.clear()
  }

  #unavailable(why: string, cause?: unknown): TidegateError {
    return new TidegateError('store_unavailable', `cannot use the store ${this.#path}: ${why}`, { cause })
  }
}
