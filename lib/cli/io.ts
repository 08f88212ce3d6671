/** What a verb may touch of the world outside: two streams, the environment, time. Tests give their own. */
import type { Clock } from '../clock.ts'

export interface Out {
  write(text: string): unknown
  readonly isTTY?: boolean
  readonly columns?: number
}

export interface Io {
  readonly stdout: Out
  readonly stderr: Out
  readonly env: Readonly<Record<string, string | undefined>>
  readonly clock: Clock
  /** Calls `fn` at SIGINT or SIGTERM, every time. Returns the way out. */
  onSignal(fn: (signal: 'SIGINT' | 'SIGTERM') => void): () => void
  /** Calls `fn` at SIGHUP, every time; without it a SIGHUP ends the process. Returns the way out. */
  onHangup(fn: () => void): () => void
  /** Ends the process without waiting for anything. */
  exitNow(code: number): void
}

/** What every verb is given besides its own arguments. */
export interface Context {
  readonly io: Io
  readonly json: boolean
  readonly admin: string
  readonly token: string | null
}

/** 0 done · 1 it failed · 2 bad usage or config · 3 the admin API cannot be reached. */
export type ExitCode = 0 | 1 | 2 | 3

/** Ends a verb with one message and an exit code. `code` and `details` are for `--json`. */
export class CliError extends Error {
  readonly exit: ExitCode
  readonly code: string
  readonly details: Readonly<Record<string, unknown>>

  constructor(exit: ExitCode, code: string, message: string, details: Record<string, unknown> = {}) {
    super(message)
    this.name = 'CliError'
    this.exit = exit
    this.code = code
    this.details = details
  }
}

export const line = (out: Out, text = ''): void => {
  out.write(`${text}\n`)
}

/** The one JSON document of `--json`. */
export const printJson = (io: Io, value: unknown): void => line(io.stdout, JSON.stringify(value, null, 2))
