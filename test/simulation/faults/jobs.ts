/** Many lives on several processors: each job is a process of its own, which is told its seeds and says what came of them. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { Life } from './simulation.ts'

/** What one job, or all of them, came to. */
export interface Sum {
  readonly broken: readonly Life[]
  readonly outcomes: Readonly<Record<string, number>>
  readonly kinds: readonly string[]
  readonly cpuMs: number
}

/** What a job is asked. `log`: every life is told, not only those that broke. */
export interface Task {
  readonly seeds: readonly number[]
  readonly log: boolean
}

/** So few are done before another process has started. */
const seedsPerJobMin = 20

/** How many jobs so many seeds are worth, of those that there may be. */
export const jobsFor = (seeds: number, jobsMax: number): number =>
  Math.max(1, Math.min(jobsMax, Math.floor(seeds / seedsPerJobMin)))

/** All the lives, the broken ones in the order of their seeds. Rejects when a job ends without a word. */
export async function simulate({ seeds, log }: Task, jobs: number): Promise<Sum> {
  // Each takes every n-th, so that all have as many of each kind.
  const children = Array.from({ length: jobs }, (_, job) => {
    const child = fork(join(import.meta.dirname, 'job.ts'))
    const task: Task = { seeds: seeds.filter((_, index) => index % jobs === job), log }
    child.send(task)
    return child
  })
  const stop = (signal: NodeJS.Signals) => {
    for (const child of children) child.kill(signal)
    process.exit(1)
  }
  const signals = ['SIGINT', 'SIGTERM'] as const
  for (const signal of signals) process.once(signal, stop)
  try {
    return together(await Promise.all(children.map(report)))
  } finally {
    for (const signal of signals) process.off(signal, stop)
    for (const child of children) child.kill()
  }
}

async function report(child: ChildProcess): Promise<Sum> {
  let sum: Sum | null = null
  child.once('message', message => {
    sum = message as Sum
  })
  const [code] = (await once(child, 'exit')) as [number | null]
  if (sum === null) throw new Error(`a job ended with ${code} and no result`)
  return sum
}

function together(sums: readonly Sum[]): Sum {
  const outcomes: Record<string, number> = {}
  for (const sum of sums)
    for (const [outcome, n] of Object.entries(sum.outcomes)) outcomes[outcome] = (outcomes[outcome] ?? 0) + n
  return {
    broken: sums.flatMap(sum => sum.broken).toSorted((a, b) => a.seed - b.seed),
    outcomes,
    kinds: [...new Set(sums.flatMap(sum => sum.kinds))],
    cpuMs: sums.reduce((all, { cpuMs }) => all + cpuMs, 0),
  }
}
