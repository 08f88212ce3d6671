/** Runs one verb, says its error in one line (or one JSON document), and gives its exit code. */
import { readFileSync } from 'node:fs'
import { systemClock } from '../clock.ts'
import { CliError, type ExitCode, type Io, line, printJson } from './io.ts'
import { runProgram, UsageError, wantsJson } from './program.ts'
import { printable } from './table.ts'
import { AlreadyPrinted } from './verbs/doctor.ts'

/** Runs the verb; never rejects. */
export async function run(argv: readonly string[], io: Io): Promise<ExitCode> {
  try {
    await runProgram(argv, io, version())
    return 0
  } catch (error) {
    if (error instanceof UsageError) {
      if (error.exit !== 0 && wantsJson(argv)) printError(io, 'invalid_request', error.message, {})
      return error.exit
    }
    if (error instanceof AlreadyPrinted) return error.exit
    if (error instanceof CliError) {
      if (wantsJson(argv)) printError(io, error.code, error.message, error.details)
      else line(io.stderr, `tidegate: ${error.message.split('\n').map(printable).join('\n')}`)
      return error.exit
    }
    const message = error instanceof Error ? error.message : String(error)
    if (wantsJson(argv)) printError(io, 'internal', message, {})
    else line(io.stderr, `tidegate: ${(error instanceof Error && error.stack) || message}`)
    return 1
  }
}

function printError(io: Io, code: string, message: string, details: Readonly<Record<string, unknown>>): void {
  printJson(io, { error: { code, message, details } })
}

const version = (): string =>
  (JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string })
    .version

/** The process's own streams and signals. */
export const processIo: Io = {
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  clock: systemClock,
  onSignal: fn => {
    const onInt = () => fn('SIGINT')
    const onTerm = () => fn('SIGTERM')
    process.on('SIGINT', onInt).on('SIGTERM', onTerm)
    return () => process.off('SIGINT', onInt).off('SIGTERM', onTerm)
  },
  onHangup: fn => {
    process.on('SIGHUP', fn)
    return () => process.off('SIGHUP', fn)
  },
  exitNow: code => process.exit(code),
}
