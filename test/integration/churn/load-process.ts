/** The clients of one cluster, in a process of their own, as whoever churns it sees them. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { until } from '../../support/wait.ts'
import type { FromLoad, LoadOptions, LoadReport, ToLoad } from './load.ts'

export interface Progress {
  readonly requests: number
  readonly failures: number
}

export class LoadProcess {
  progress: Progress = { requests: 0, failures: 0 }
  readonly #child: ChildProcess
  readonly #clients: number
  readonly #report = Promise.withResolvers<LoadReport>()

  private constructor(options: LoadOptions, say: (line: string) => void) {
    this.#clients = options.clients
    this.#child = fork(join(import.meta.dirname, 'load.ts'), [JSON.stringify(options)])
    this.#report.promise.catch(() => {})
    this.#child.on('message', (message: FromLoad) => {
      if (message.type === 'progress') {
        this.progress = message
        for (const what of message.fresh) say(`  failed on ${what}`)
      } else this.#report.resolve(message.report)
    })
    this.#child.once('exit', code => this.#report.reject(new Error(`the load ended with ${code}`)))
  }

  /** Resolves when the first was served. */
  static async start(options: LoadOptions, say: (line: string) => void): Promise<LoadProcess> {
    const load = new LoadProcess(options, say)
    await Promise.race([until('load', () => load.progress.requests > 0), load.#report.promise])
    return load
  }

  /** Requests a second, while nobody pauses. */
  async capacity(forMs: number): Promise<number> {
    this.#tell({ type: 'pace', pauseMs: 0 })
    await once(this.#child, 'message')
    const [from, fromMs] = [this.progress.requests, performance.now()]
    await delay(forMs)
    await once(this.#child, 'message')
    return ((this.progress.requests - from) / (performance.now() - fromMs)) * 1_000
  }

  pace(perSecond: number): void {
    this.#tell({ type: 'pace', pauseMs: pauseMs(this.#clients, perSecond) })
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

/** Of each client, between two requests. */
export const pauseMs = (clients: number, perSecond: number): number => (clients * 1_000) / perSecond
