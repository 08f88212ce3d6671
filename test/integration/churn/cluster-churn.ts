/** One cluster of a Tidegate that is churned: its clients, what is done to it, and what is told of both. */
import { setTimeout as delay } from 'node:timers/promises'
import type { Server } from '../../../lib/server.ts'
import { Random } from '../../fuzz/random.ts'
import { Actions, decks, type Kind } from './actions.ts'
import { hostOf, type InstallationOptions } from './installation.ts'
import { type Excused, judge } from './judge.ts'
import type { LoadReport } from './load.ts'
import { LoadProcess, pauseMs } from './load-process.ts'
import { Operator } from './operator.ts'
import type { Standstills } from './standstills.ts'

export interface ClusterOptions extends InstallationOptions {
  readonly id: string
  /** Its cards. Left out: all that there are for its driver. */
  readonly deck?: readonly Kind[]
  /** That many actions at least. */
  readonly actionsMin: number
  /** From the end of an action to the next one, on average. */
  readonly restSeconds: number
  readonly clients: number
  readonly webSockets: number
  /** Requests a second. Null, for one cluster: what is left of half of what is measured at the start. */
  readonly rate: number | null
  readonly sessionMs: readonly [min: number, max: number]
}

export interface Surroundings {
  readonly seed: number
  readonly standstills: Standstills
  readonly say: (line: string) => void
}

export interface Span {
  /** By `performance.now()`. */
  readonly endsMs: number
  /** Ends it early, and in good order. */
  readonly signal: AbortSignal
}

export interface ClusterReport {
  readonly driver: string
  readonly requests: number
  readonly ratePerSecond: number
  readonly sessions: number
  readonly expired: number
  readonly repeated: number
  readonly webSockets: number
  readonly echoes: number
  /** WebSockets that were told to go, with 1001. */
  readonly told: number
  readonly byKilling: Excused
  readonly byStandstill: Excused
  readonly actions: Readonly<Record<string, number>>
  readonly operations: Readonly<Record<string, number>>
}

/** What clients ask until it is known what they may. */
const firstPerSecond = 20

export class ClusterChurn {
  readonly options: ClusterOptions
  readonly #server: Server
  readonly #around: Surroundings
  readonly #operator: Operator
  readonly #counts: Record<string, number> = {}
  #load: LoadProcess | null = null
  #fromMs = 0
  #from = 0

  constructor(server: Server, options: ClusterOptions, around: Surroundings) {
    this.options = options
    this.#server = server
    this.#around = around
    const { id: cluster, driver } = options
    const { standstills, say } = around
    this.#operator = new Operator(server, { cluster, driver, standstills, say })
  }

  serves(): Promise<void> {
    return this.#operator.serves(1)
  }

  /** Resolves when clients are served. */
  async begin(): Promise<void> {
    const { id, rate, clients, webSockets, ttlSeconds, sessionMs } = this.options
    const [sessionMsMin, sessionMsMax] = sessionMs
    this.#load = await LoadProcess.start(
      {
        ...{ port: this.#server.listeners[0]!.port, host: hostOf(id), seed: this.#around.seed },
        ...{ clients, webSockets, staying: Math.ceil(webSockets / 5) },
        ...{ ttlMs: ttlSeconds * 1_000, sessionMsMin, sessionMsMax },
        pauseMs: pauseMs(clients, rate ?? firstPerSecond),
      },
      this.#around.say,
    )
  }

  capacity(forMs: number): Promise<number> {
    return this.#running.capacity(forMs)
  }

  /** One action after another until the time is over, and then back to one instance. */
  async churn(perSecond: number, { endsMs, signal }: Span): Promise<void> {
    const { options } = this
    const random = new Random(this.#around.seed)
    const actions = new Actions(random, options.deck ?? decks[options.driver])
    this.#running.pace(perSecond)
    this.#fromMs = performance.now()
    this.#from = this.#running.progress.requests
    const over = (n: number) => performance.now() >= endsMs && n > options.actionsMin
    for (let n = 1; !signal.aborted && !over(n); n++) {
      const instances = this.#operator.serving().length
      const action = actions.next({ instances, max: options.maxInstances })
      this.#counts[action.kind] = (this.#counts[action.kind] ?? 0) + 1
      const { requests, failures } = this.#running.progress
      this.#around.say(
        `${n} ${JSON.stringify(action)} with ${instances} at ${requests} requests, ${failures} failed`,
      )
      await this.#operator.carryOut(action)
      const restMs = options.restSeconds * 1_000 * (0.5 + random.next())
      const leftMs = Math.max(0, endsMs - performance.now())
      await delay(Math.min(restMs, leftMs), undefined, { signal }).catch(() => {})
    }
    await this.#operator.carryOut({ kind: 'scale', to: 1 })
  }

  /** Ends the load. What it saw that may not be is appended to `faults`. */
  async end(faults: string[]): Promise<ClusterReport> {
    const seconds = (performance.now() - this.#fromMs) / 1_000
    const seen = await this.#running.stop()
    const { byKilling, byStandstill } = this.#judge(seen, faults)
    return {
      ...{ driver: this.options.driver, requests: seen.requests },
      ratePerSecond: (seen.requests - this.#from) / seconds,
      ...{ sessions: seen.sessions, expired: seen.expired, repeated: seen.repeated },
      ...{ webSockets: seen.tunnels.opened, echoes: seen.tunnels.echoed, told: seen.tunnels.told },
      ...{ byKilling, byStandstill },
      ...{ actions: this.#counts, operations: await this.#operator.operations() },
    }
  }

  kill(): void {
    this.#load?.kill()
  }

  #judge(seen: LoadReport, faults: string[]) {
    const { killings } = this.#operator
    const graceMs = this.options.graceSeconds * 1_000
    const verdict = judge(seen, { killings, standstills: this.#around.standstills.seen, graceMs })
    for (const what of verdict.late) this.#around.say(`  in a standstill: ${what}`)
    const where = `${this.options.id}: `
    faults.push(...[...this.#operator.faults, ...verdict.faults].map(what => where + what))
    return verdict
  }

  get #running(): LoadProcess {
    if (this.#load === null) throw new Error('there is no load yet')
    return this.#load
  }
}
