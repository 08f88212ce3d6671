/**
 * A state on its way out of QEMU into the file `state`: a socket in QEMU's working directory that takes one connection, and a
 * process that writes what comes over it. Not we ourselves: while a state is saved in the background the guest waits for this
 * file page by page, and must not wait for what else we do.
 *
 *   listening ── QEMU connects ──► being written ── its end ──► whole: has its final name
 *                                       └── the writer fails ─► `failure`
 */
import { spawn } from 'node:child_process'
import { constants } from 'node:fs'
import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import type { Clock } from '../../clock.ts'
import { TidegateError } from '../../errors.ts'
import { files } from './command-line.ts'

export interface StateFile {
  /** Where QEMU is to send the state, in its own words. */
  readonly uri: string
  /** Resolves when all of it is in `state`. Throws what `failure` tells, or `step_timeout`. */
  written(limits: { readonly timeoutMs: number }): Promise<void>
  /** Why it could not be written, when QEMU has given up: `disk_full` or `snapshot_failed`; null when that was not the reason. */
  failure(): Promise<TidegateError | null>
  /** Ends what is still under way. What is not whole is removed. */
  close(): Promise<void>
}

const socketName = 'state.sock'
const part = `${files.state}.part`
const wordsCharsMax = 500
const wordsTimeoutMs = 1_000

export async function receiveState(directory: string, clock: Clock): Promise<StateFile> {
  for (const name of [files.state, part, socketName]) await rm(join(directory, name), { force: true })
  const writing = new Writing()
  const server = createServer({ pauseOnConnect: true })
  // A socket's path may have 107 bytes only, and a node's directory be longer than that.
  const opened = await open(directory, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    const file = await open(join(directory, part), 'w', 0o600)
    server.once('connection', socket => {
      server.close()
      writing.begin(socket, file)
    })
    await listening(server, `/proc/self/fd/${opened.fd}/${socketName}`)
    return {
      uri: `unix:${socketName}`,
      async written({ timeoutMs }) {
        await writing.ended(clock, timeoutMs)
        await rename(join(directory, part), join(directory, files.state))
      },
      failure: () => writing.failure(clock),
      async close() {
        server.close()
        writing.end()
        await file.close()
        for (const name of [part, socketName]) await rm(join(directory, name), { force: true })
        await opened.close()
      },
    }
  } catch (error) {
    await opened.close()
    throw error
  }
}

class Writing {
  #failure: TidegateError | null = null
  readonly #done = Promise.withResolvers<void>()
  #begun = false
  #end = () => {}

  constructor() {
    this.#done.promise.catch(() => {})
  }

  begin(socket: Socket, file: FileHandle): void {
    this.#begun = true
    const writer = spawn('cat', [], {
      stdio: [socket, file.fd, 'pipe'],
      env: { LC_ALL: 'C', PATH: process.env.PATH },
    })
    this.#end = () => writer.kill('SIGKILL')
    // It has the connection now; while we have it too, neither sees the other end.
    socket.destroy()
    let words = ''
    writer.stderr!.on('data', chunk => {
      words = (words + chunk).slice(-wordsCharsMax)
    })
    writer.once('error', error => this.#failed(error.message))
    writer.once('close', (status, signal) => {
      this.#end = () => {}
      if (status === 0) this.#done.resolve()
      else this.#failed(words.trim() || `cat ended with ${signal ?? status}`)
    })
  }

  /** Resolves when the writer has written all. */
  async ended(clock: Clock, timeoutMs: number): Promise<void> {
    const cancel = clock.after(timeoutMs, () =>
      this.#done.reject(
        new TidegateError('step_timeout', `the state was not written within ${timeoutMs} ms`),
      ),
    )
    try {
      await this.#done.promise
    } finally {
      cancel()
    }
  }

  /** QEMU sees a broken connection, and a moment before the writer has said why. */
  async failure(clock: Clock): Promise<TidegateError | null> {
    if (this.#begun) await this.ended(clock, wordsTimeoutMs).catch(() => {})
    return this.#failure
  }

  end(): void {
    this.#end()
  }

  #failed(words: string): void {
    const full = /no space left|quota exceeded/i.test(words)
    this.#failure ??= full
      ? new TidegateError(
          'disk_full',
          `no space left for the state (${words}); free some or give the node a larger disk`,
        )
      : new TidegateError('snapshot_failed', `the state could not be written: ${words}`)
    this.#done.reject(this.#failure)
  }
}

function listening(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, () => {
      server.removeListener('error', reject)
      resolve()
    })
  })
}
