/** Work at set times, through node-cron. The only importing file of `node-cron`. */
import cron from 'node-cron'
import type { Log } from './log.ts'

export interface Job {
  readonly name: string
  /** Six fields (seconds first) or five; local time. */
  readonly cron: string
  readonly run: () => Promise<void>
}

/**
 * Starts the jobs; a run that is still going when its time comes again is not started twice. A process that could not run when the time came
 * (it was stopped, or the machine starved it) runs the job as soon as it can, once, however many times it missed. Returns the
 * way to stop them.
 */
export function startSchedule(jobs: readonly Job[], log: Log): () => Promise<void> {
  const tasks = jobs.map(job =>
    cron.schedule(
      job.cron,
      async () => {
        try {
          await job.run()
        } catch (error) {
          log.error({ job: job.name, err: error }, 'scheduled job failed')
        }
      },
      { name: job.name, noOverlap: true, ...late, logger: quiet(log, job.name) },
    ),
  )
  return async () => {
    for (const task of tasks) await task.destroy()
  }
}

/** By itself node-cron leaves out a run that would begin two seconds late, and says so on the console for each. */
const late = { missedExecutionTolerance: Number.MAX_SAFE_INTEGER, suppressMissedWarning: true }

function quiet(log: Log, job: string) {
  const say = (message: string | Error) => log.debug({ job }, String(message))
  return {
    info: say,
    warn: say,
    debug: say,
    error: (what: string | Error) => log.error({ job }, String(what)),
  }
}

/** Jobs whose time table is another when the configuration is. One that says the same goes on undisturbed. */
export class ChangingJobs {
  readonly #log: Log
  #closed = false
  readonly #running = new Map<string, { readonly cron: string; readonly stop: () => Promise<void> }>()

  constructor(log: Log) {
    this.#log = log
  }

  /** For good. */
  close(): Promise<void> {
    this.#closed = true
    return this.#hold([])
  }

  /** From now on these and no others, by name. */
  async hold(jobs: readonly Job[]): Promise<void> {
    if (!this.#closed) await this.#hold(jobs)
  }

  async #hold(jobs: readonly Job[]): Promise<void> {
    for (const [name, { cron, stop }] of this.#running)
      if (!jobs.some(job => job.name === name && job.cron === cron)) {
        this.#running.delete(name)
        await stop()
      }
    for (const job of jobs)
      if (!this.#running.has(job.name))
        this.#running.set(job.name, { cron: job.cron, stop: startSchedule([job], this.#log) })
  }
}
