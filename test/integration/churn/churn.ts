/**
 * Churn: a whole Tidegate whose cluster is scaled, replaced, moved between its nodes and shot at in an order that follows from a seed, while
 * clients with sessions and WebSockets ask about half of what the machine can do. At the end it is counted what they saw and what is left behind.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type Log, silentLog } from '../../../lib/log.ts'
import { type Server, startServer } from '../../../lib/server.ts'
import { Random } from '../../fuzz/random.ts'
import { until } from '../../support/wait.ts'
import { Actions } from './actions.ts'
import { type ChurnDriver, install } from './installation.ts'
import { type Excused, judge } from './judge.ts'
import { held, leftovers } from './leftovers.ts'
import type { FromLoad, LoadOptions, LoadReport, ToLoad } from './load.ts'
import { Operator } from './operator.ts'

export interface ChurnOptions {
  readonly driver: ChurnDriver
  readonly seed: number
  /** Actions are begun for so long, and at least so many of them. */
  readonly seconds: number
  readonly actionsMin: number
  readonly maxInstances: number
  readonly clients: number
  readonly webSockets: number
  /** Requests a second; null: half of what is measured at the start. */
  readonly rate: number | null
  readonly ttlSeconds: number
  readonly sessionMs: readonly [min: number, max: number]
  readonly graceSeconds: number
  readonly say?: (line: string) => void
  /** Of the Tidegate that is churned. */
  readonly log?: Log
  /** Ends it early, and in good order. */
  readonly signal?: AbortSignal
}

export interface ChurnReport {
  /** Everything that is wrong, in words. */
  readonly faults: readonly string[]
  readonly byKilling: Excused
  readonly byStandstill: Excused
  /** Times in which this process could not run, seconds in all. */
  readonly standstillSeconds: number
  readonly requests: number
  readonly sessions: number
  readonly webSockets: number
  readonly echoes: number
  /** WebSockets that were told to go, with 1001. */
  readonly told: number
  readonly expired: number
  readonly repeated: number
  readonly ratePerSecond: number
  readonly actions: Readonly<Record<string, number>>
  readonly operations: Readonly<Record<string, number>>
  readonly seconds: number
}

const calibrationMs = 4_000

export async function churn(options: ChurnOptions): Promise<ChurnReport> {
  const installation = await install(options)
  const say = options.say ?? (() => {})
  let server: Server | null = null
  let load: LoadProcess | null = null
  let operator: Operator | null = null
  try {
    const { config } = installation
    server = await startServer(config, { log: options.log ?? silentLog })
    operator = new Operator(server, options.driver, say)
    await operator.serves(1)
    load = await LoadProcess.start(options, server.listeners[0]!.port)
    const rate = options.rate ?? (await load.halfOfWhatItCan(calibrationMs))
    load.pace((options.clients * 1_000) / rate)
    say(`${Math.round(rate)} requests a second`)

    const startedAtMs = performance.now()
    const over = () =>
      options.signal?.aborted === true || performance.now() - startedAtMs > options.seconds * 1_000
    const actions = new Actions(new Random(options.seed))
    const counts: Record<string, number> = {}
    for (let n = 1; !over() || (n <= options.actionsMin && !options.signal?.aborted); n++) {
      const action = actions.next({
        instances: operator.serving().length,
        max: options.maxInstances,
        resizes: options.driver === 'qemu',
      })
      counts[action.kind] = (counts[action.kind] ?? 0) + 1
      const { requests, failures } = load.progress
      say(
        `${n} ${JSON.stringify(action)} with ${operator.serving().length} at ${requests} requests, ${failures} failed`,
      )
      await operator.carryOut(action)
    }
    await operator.carryOut({ kind: 'scale', to: 1 })
    const seconds = (performance.now() - startedAtMs) / 1_000
    const seen = await load.stop()
    const { killings } = operator
    const standstills = operator.standstills.stop()
    const graceMs = options.graceSeconds * 1_000
    const { faults, late, ...excused } = judge(seen, { killings, standstills, graceMs })
    for (const what of late) say(`  in a standstill: ${what}`)
    const left = await quiet(server, config)
    const operations = await operator.operations()
    await server.close({ graceMs: 0 })
    await installation.remove()
    const remaining = await held(config, [])
    return {
      faults: [...operator.faults, ...faults, ...[...left, ...remaining].map(what => `left: ${what}`)],
      ...excused,
      standstillSeconds: standstills.reduce((sum, { fromMs, toMs }) => sum + (toMs - fromMs) / 1_000, 0),
      ...{ requests: seen.requests, sessions: seen.sessions, expired: seen.expired, repeated: seen.repeated },
      ...{ webSockets: seen.tunnels.opened, echoes: seen.tunnels.echoed, told: seen.tunnels.told },
      ...{ ratePerSecond: seen.requests / seconds, actions: counts, operations, seconds },
    }
  } finally {
    operator?.standstills.stop()
    load?.kill()
    await server?.close({ graceMs: 0 })
    await installation.remove()
  }
}

/** What is left when sessions had the time to end and reconcile has been round. */
async function quiet(server: Server, config: Parameters<typeof leftovers>[1]): Promise<readonly string[]> {
  let left: readonly string[] = []
  const clean = async () => {
    left = await leftovers(server, config)
    return left.length === 0
  }
  await until('nothing is left behind', clean, 60_000).catch(() => {})
  return left
}

class LoadProcess {
  progress = { requests: 0, failures: 0 }
  readonly #child: ChildProcess
  readonly #report = Promise.withResolvers<LoadReport>()

  private constructor(child: ChildProcess, say: (line: string) => void) {
    this.#child = child
    this.#report.promise.catch(() => {})
    child.on('message', (message: FromLoad) => {
      if (message.type === 'progress') {
        this.progress = message
        for (const what of message.fresh) say(`  failed on ${what}`)
      } else this.#report.resolve(message.report)
    })
    child.once('exit', code => this.#report.reject(new Error(`the load ended with ${code}`)))
  }

  static async start(options: ChurnOptions, port: number): Promise<LoadProcess> {
    const { seed, clients, webSockets, rate } = options
    const [sessionMsMin, sessionMsMax] = options.sessionMs
    const settings: LoadOptions = {
      ...{ port, seed, clients, webSockets, staying: Math.ceil(webSockets / 5) },
      ...{ ttlMs: options.ttlSeconds * 1_000, sessionMsMin, sessionMsMax },
      pauseMs: rate === null ? 0 : (clients * 1_000) / rate,
    }
    const child = fork(join(import.meta.dirname, 'load.ts'), [JSON.stringify(settings)])
    const load = new LoadProcess(child, options.say ?? (() => {}))
    await Promise.race([until('load', () => load.progress.requests > 0), load.#report.promise])
    return load
  }

  /** Requests a second, while nobody pauses. */
  async halfOfWhatItCan(forMs: number): Promise<number> {
    const [from, fromMs] = [this.progress.requests, performance.now()]
    await delay(forMs)
    await once(this.#child, 'message')
    return ((this.progress.requests - from) / (performance.now() - fromMs)) * 500
  }

  pace(pauseMs: number): void {
    this.#tell({ type: 'pace', pauseMs })
  }

  stop(): Promise<LoadReport> {
    this.#tell({ type: 'stop' })
    return this.#report.promise
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }

  #tell(message: ToLoad): void {
    this.#child.send(message)
  }
}
