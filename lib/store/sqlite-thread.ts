/**
 * The entry of the store's own thread. A sync of the disk takes a millisecond, or a second where the disk is busy, and whoever waits for
 * it must not hold up health checks, operations and, without worker threads, traffic.
 *
 * Calls are carried out in the order in which they came. Writes that came while the disk was busy with those before share one sync.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { systemClock } from '../clock.ts'
import { writeCompiled } from '../compiled.ts'
import { toTidegateError } from '../errors.ts'
import { type Answer, type Call, type Opening, openingId, toWire } from './sqlite-calls.ts'
import { openSqliteFile, type SqliteFile } from './sqlite-file.ts'

/** So many writes share a sync at the most: whoever waits for the first waits for them all. */
const togetherMax = 64
/** Nobody has asked for anything for so long: who writes one entry after another has something else to wait for. */
const idleMs = 25

const port = parentPort
if (!port) throw new Error('sqlite-thread.ts runs only as a worker thread')
const answer = (message: Answer) => port.postMessage(message)
const { path, options } = workerData as Opening
const file = attempt(openingId, () => openSqliteFile(path, options))
if (file) {
  answer({ id: openingId, value: null })
  serve(file)
  writeCompiled()
}

function serve(file: SqliteFile): void {
  const waiting: Call[] = []
  let stop = () => {}
  const work = () => {
    stop()
    for (let first = waiting.shift(); first; first = waiting.shift()) {
      if (first.method !== 'write') carryOut(file, first)
      else writeTogether(file, [first, ...following(waiting)])
    }
    stop = systemClock.after(idleMs, () => tidy(file))
  }
  port!.on('message', (call: Call) => {
    // All that has come is heard before the first of it is begun.
    if (waiting.push(call) === 1) setImmediate(work)
  })
}

/** What cannot be tidied now is tidied later, or by SQLite itself: nothing is lost by it. */
function tidy(file: SqliteFile): void {
  try {
    file.tidy()
  } catch {
    // The next write says what is wrong with the disk.
  }
}

type WriteCall = Extract<Call, { method: 'write' }>

/** The writes at the head of the row. */
function following(waiting: Call[]): readonly WriteCall[] {
  const other = waiting.findIndex(({ method }) => method !== 'write')
  const count = Math.min(other < 0 ? waiting.length : other, togetherMax - 1)
  return waiting.splice(0, count) as WriteCall[]
}

function writeTogether(file: SqliteFile, calls: readonly WriteCall[]): void {
  const errors = file.writeTogether(calls.map(({ args: [batch] }) => batch))
  for (const [index, { id }] of calls.entries()) {
    const error = errors[index]
    answer(error ? { id, error: toWire(error) } : { id, value: undefined })
  }
}

function carryOut(file: SqliteFile, { id, method, args }: Call): void {
  attempt(id, () => {
    const value = (file[method] as (...args: unknown[]) => unknown)(...args)
    answer({ id, value })
  })
  if (method === 'close') port!.close()
}

/** Null: it failed, and was answered so. */
function attempt<T>(id: number, act: () => T): T | null {
  try {
    return act()
  } catch (error) {
    answer({ id, error: toWire(toTidegateError(error)) })
    return null
  }
}
