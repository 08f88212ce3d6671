/** Runs a verb in this process with streams that are kept, and signals that a test sends. */

import type { Io } from '../../lib/cli/io.ts'
import { run } from '../../lib/cli/run.ts'
import { systemClock } from '../../lib/clock.ts'

export interface CliOptions {
  readonly env?: Record<string, string>
  readonly tty?: boolean
}

export function startCli(argv: readonly string[], { env = {}, tty = false }: CliOptions = {}) {
  let out = ''
  let err = ''
  const handlers = new Set<(signal: 'SIGINT' | 'SIGTERM') => void>()
  const keep = (add: (text: string) => void) => ({
    write: (text: string) => add(text),
    isTTY: tty,
    columns: 100,
  })
  const io: Io = {
    stdout: keep(text => {
      out += text
    }),
    stderr: keep(text => {
      err += text
    }),
    env,
    clock: systemClock,
    onSignal: fn => {
      handlers.add(fn)
      return () => handlers.delete(fn)
    },
    onHangup: () => () => {},
    exitNow: () => {},
  }
  const code = run(argv, io)
  return {
    out: () => out,
    err: () => err,
    signal: () => {
      for (const handler of handlers) handler('SIGINT')
    },
    waiting: () => handlers.size > 0,
    done: code.then(code => ({ code, out, err, json: () => JSON.parse(out) })),
  }
}

export const cli = (argv: readonly string[], options?: CliOptions) => startCli(argv, options).done
