/** `serve -c FILE`: starts the server and stays until a signal. The first signal finishes what is in flight, a second ends at once. */
import { toTidegateError } from '../../errors.ts'
import { createLog, type LogLevel } from '../../log.ts'
import type { Server } from '../../server.ts'
import { formatAddress } from '../../units.ts'
import { CliError, type Context, line, printJson } from '../io.ts'
import { configOrExit } from './check.ts'

export async function serve(
  context: Context,
  options: { config: string; logLevel: LogLevel },
): Promise<void> {
  const { io, json } = context
  const config = await configOrExit(context, options.config)
  // Loaded only here: the other verbs are clients and need nothing of the server.
  const { startServer } = await import('../../server.ts')
  const log = createLog(options.logLevel)
  const stop = Promise.withResolvers<void>()
  let signals = 0
  const stopSignals = io.onSignal(() => {
    signals += 1
    if (signals > 1) return io.exitNow(1)
    stop.resolve()
  })
  try {
    const server = await startServer(config, { log }).catch(error => {
      const known = toTidegateError(error)
      throw new CliError(1, known.code, `cannot start: ${known.message}`, known.details)
    })
    announce(context, server)
    await stop.promise
    if (!json) line(io.stderr, 'stopping: finishing what is in flight (again to stop at once)')
    await server.close()
  } finally {
    stopSignals()
  }
}

function announce({ io, json }: Context, { listeners, admin }: Server): void {
  if (json) return printJson(io, { listeners, admin, pid: process.pid })
  for (const { host, port } of listeners) line(io.stdout, `serving on http://${formatAddress(host, port)}`)
  line(io.stdout, `admin API on http://${formatAddress(admin.host, admin.port)}`)
}
