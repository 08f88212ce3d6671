/**
 * `serve -c FILE`: starts the server and stays until a signal. SIGHUP reads the file again. The first SIGINT or SIGTERM finishes
 * what is in flight, a second ends at once.
 */
import { writeCompiled } from '../../compiled.ts'
import { configFile, type Fault, faultLine } from '../../config/load.ts'
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
  const source = configFile(options.config)
  const config = await configOrExit(context, options.config, source)
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
  // A SIGHUP during the start is none of a terminal that hangs up: it is answered when there is something to reload.
  const reloads = new Reloads(context, options.config)
  const stopHangups = io.onHangup(() => reloads.ask())
  try {
    const server = await startServer(config, { log, source }).catch(error => {
      const known = toTidegateError(error)
      throw new CliError(1, known.code, `cannot start: ${known.message}`, known.details)
    })
    announce(context, server)
    reloads.begin(server)
    void server.recovered.then(writeCompiled)
    await stop.promise
    reloads.end()
    if (!json) line(io.stderr, 'stopping: finishing what is in flight (again to stop at once)')
    await server.close()
  } finally {
    stopSignals()
    stopHangups()
  }
}

/** One reload at a time: however often it is asked meanwhile, the file is read once more after it. */
class Reloads {
  readonly #context: Context
  readonly #path: string
  #server: Server | null = null
  #asked = false
  #running = false

  constructor(context: Context, path: string) {
    this.#context = context
    this.#path = path
  }

  begin(server: Server): void {
    this.#server = server
    if (this.#asked) this.ask()
  }

  end(): void {
    this.#server = null
  }

  ask(): void {
    this.#asked = true
    if (this.#running || !this.#server) return
    this.#running = true
    void this.#run().finally(() => {
      this.#running = false
    })
  }

  async #run(): Promise<void> {
    while (this.#asked && this.#server) {
      this.#asked = false
      await this.#once(this.#server)
    }
  }

  async #once(server: Server): Promise<void> {
    const { io, json } = this.#context
    try {
      const result = await server.control.execute({ kind: 'reload' }, 'signal')
      if (json || result.result !== 'reloaded') return
      const { changes } = result.reload
      line(
        io.stderr,
        changes.length > 0 ? `reloaded: ${changes.join('; ')}` : 'reloaded: nothing has changed',
      )
    } catch (error) {
      if (json) return
      const { message, details } = toTidegateError(error)
      for (const fault of (details.faults ?? []) as readonly Fault[])
        line(io.stderr, faultLine(this.#path, fault))
      line(io.stderr, `not reloaded: ${message}`)
    }
  }
}

function announce({ io, json }: Context, { listeners, admin }: Server): void {
  if (json) {
    const addresses = listeners.map(({ host, port }) => ({ host, port }))
    return printJson(io, { listeners: addresses, admin, pid: process.pid })
  }
  for (const { host, port, tls } of listeners)
    line(io.stdout, `serving on ${tls ? 'https' : 'http'}://${formatAddress(host, port)}`)
  line(io.stdout, `admin API on http://${formatAddress(admin.host, admin.port)}`)
}
