/** Work at set times, through node-cron. The only importing file of `node-cron`. */
import cron from 'node-cron'
import type { Log } from './log.ts'

export interface Job {
  readonly name: string
  /** Six fields (seconds first) or five; local time. */
  readonly cron: string
  readonly run: () => Promise<void>
}

/** Starts the jobs; a run that is still going when its time comes again is not started twice. Returns the way to stop them. */
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
      { name: job.name, noOverlap: true },
    ),
  )
  return async () => {
    for (const task of tasks) await task.destroy()
  }
}
