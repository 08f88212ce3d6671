/**
 * The file behind an access log: opened to append, written piece by piece by the system's own threads, opened anew when it was moved
 * away. Nothing here waits for a disk or a reader, and no error is thrown: what could not be written stays the caller's.
 *
 *             ┌────────────── the name leads elsewhere, or `reopen` ──────────────┐
 *             ▼                                                                   │
 *   shut ──► opening ──► ready ──write──► writing ──done──► ready ────────────────┘
 *             │  ▲                           │ fails: said once, the rest of the piece is tried again
 *      fails: │  │ next tick                 ▼
 *             └──┘                    (pipe full: 20 ms · else next tick)
 */
import { close, constants, fstat, fstatSync, open, type Stats, stat, write } from 'node:fs'
import { isMainThread } from 'node:worker_threads'
import type { Clock } from '../../clock.ts'
import type { Log } from '../../log.ts'

/** A pipe whose reader is behind is tried again after this. */
const fullRetryMs = 20
const permissions = 0o640
const standardOutput = 1
/** A second opening of standard output, so that not waiting for its reader is our own affair and not everybody's. */
const standardOutputPath = '/proc/self/fd/1'
// A pipe without a reader, or a full one, must not hold a system thread: there are four of them for the whole process.
const openFlags = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK

export interface LogFileDeps {
  readonly clock: Clock
  readonly log: Log
  /** It can be written again. */
  readonly onReady: () => void
}

export class LogFile {
  readonly #path: string
  readonly #deps: LogFileDeps
  #fd: number | null = null
  #identity = ''
  #opening = false
  #writing = false
  #stale = false
  #closed = false
  /** Something was written since the name was looked at. */
  #used = false
  #faulty = false
  #retry: (() => void) | null = null

  /** `path`: `-` is standard output. */
  constructor(path: string, deps: LogFileDeps) {
    this.#path = path
    this.#deps = deps
    if (path === '-' && isMainThread) prepareStandardOutput()
    this.#open()
  }

  /** Takes a piece now. */
  get ready(): boolean {
    return this.#fd !== null && !this.#writing && !this.#stale
  }

  /** Writes the whole piece, however often it takes; then calls `done`. Only while `ready`. */
  write(bytes: Buffer, length: number, done: () => void): void {
    this.#writing = true
    this.#used = true
    this.#some(bytes, 0, length, done)
  }

  /** Once a second: what failed is tried again, and a file that was moved away is left. */
  tick(): void {
    if (this.#closed) return
    if (this.#retry !== null) return this.#retry()
    if (this.#fd === null) return this.#open()
    if (!this.#used || this.#path === '-') return
    this.#used = false
    stat(this.#path, (error, found) => {
      const moved = error ? error.code === 'ENOENT' : identityOf(found) !== this.#identity
      if (moved) this.reopen()
    })
  }

  /** Opens the path anew, after the piece that is being written. */
  reopen(): void {
    if (this.#closed || this.#path === '-') return
    this.#stale = true
    if (this.#fd !== null && !this.#writing) this.#renew()
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    const underWay = this.#writing && this.#retry === null
    this.#retry = null
    if (!underWay) this.#release()
  }

  #open(): void {
    if (this.#opening || this.#closed) return
    this.#opening = true
    this.#stale = false
    const path = this.#path === '-' ? standardOutputPath : this.#path
    open(path, openFlags, permissions, (error, fd) => {
      if (error && this.#path === '-') return this.#opened(standardOutput)
      if (error) {
        this.#opening = false
        return this.#fault(error)
      }
      this.#opened(fd)
    })
  }

  #opened(fd: number): void {
    fstat(fd, (error, found) => {
      this.#opening = false
      this.#fd = fd
      this.#identity = error ? '' : identityOf(found)
      if (this.#closed) return this.#release()
      if (this.#stale) return this.#renew()
      this.#well()
      this.#deps.onReady()
    })
  }

  #renew(): void {
    this.#release()
    this.#open()
  }

  #release(): void {
    const fd = this.#fd
    this.#fd = null
    if (fd !== null && fd !== standardOutput) close(fd, ignore)
  }

  #some(bytes: Buffer, from: number, to: number, done: () => void): void {
    this.#retry = null
    if (this.#fd === null) return
    write(this.#fd, bytes, from, to - from, null, (error, written) => {
      if (error) return this.#failed(error, () => this.#some(bytes, from, to, done))
      this.#well()
      if (from + written < to && !this.#closed) return this.#some(bytes, from + written, to, done)
      this.#writing = false
      if (this.#closed) this.#release()
      else if (this.#stale) this.#renew()
      done()
    })
  }

  #failed(error: NodeJS.ErrnoException, again: () => void): void {
    if (this.#closed) {
      this.#writing = false
      return this.#release()
    }
    this.#retry = again
    // A full pipe is no fault: its reader is slow.
    if (error.code === 'EAGAIN') this.#deps.clock.after(fullRetryMs, () => this.#retry === again && again())
    else this.#fault(error)
  }

  #fault(error: NodeJS.ErrnoException): void {
    if (this.#faulty) return
    this.#faulty = true
    this.#deps.log.error({ path: this.#path, err: error }, 'the access log cannot be written; trying again')
  }

  #well(): void {
    if (!this.#faulty) return
    this.#faulty = false
    this.#deps.log.info({ path: this.#path }, 'the access log can be written again')
  }
}

/**
 * On the main thread, before other threads write to standard output. A pipe, a file or a terminal can be opened a second time; a
 * socket (of a supervisor, say) cannot, and must be told itself not to make writers wait. The runtime does that when it makes its
 * own stream of it.
 */
export function prepareStandardOutput(): void {
  try {
    if (fstatSync(standardOutput).isSocket()) void process.stdout
  } catch {
    // It is closed: opening the log will say so.
  }
}

const identityOf = ({ dev, ino }: Stats) => `${dev}:${ino}`
const ignore = () => {}
