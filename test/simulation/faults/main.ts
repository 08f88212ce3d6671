/**
 * `npm run simulate:faults -- --seed N --seeds N [--jobs N]`: many lives, on all processors, or one again. Prints the seeds in which
 * something broke, with the log of the first; exits 1 if there is one. With several jobs each is a process of its own, which takes
 * every n-th seed.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { type Life, live } from './simulation.ts'

/** What a job came to. */
interface Sum {
  readonly broken: readonly Life[]
  readonly outcomes: Readonly<Record<string, number>>
  readonly cpuMs: number
}

/** So few are done before another process has started. */
const seedsPerJobMin = 20

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '1' },
    jobs: { type: 'string', default: String(availableParallelism()) },
    log: { type: 'boolean', default: false },
    /** Of a job: take each `stride`-th seed, and report to the parent. */
    stride: { type: 'string' },
  },
})
const first = Number(values.seed)
const count = Number(values.seeds)

if (values.stride !== undefined) process.send?.(await job(Number(values.stride)))
else process.exitCode = await main()

async function main(): Promise<number> {
  const startedAtMs = performance.now()
  const jobs = Math.max(1, Math.min(Number(values.jobs), Math.floor(count / seedsPerJobMin)))
  const sums = jobs === 1 ? [await job(1)] : await inProcesses(jobs)
  const broken = sums.flatMap(sum => sum.broken).sort((a, b) => a.seed - b.seed)
  for (const [index, life] of broken.entries()) {
    if (index === 0 || values.log) for (const line of life.log) console.log(line)
    console.log(`seed ${life.seed}: ${life.broken.join('\n  ')}`)
    console.log(`again: npm run simulate:faults -- --seed ${life.seed} --log`)
  }
  const seen: Record<string, number> = {}
  for (const { outcomes } of sums)
    for (const [outcome, n] of Object.entries(outcomes)) seen[outcome] = (seen[outcome] ?? 0) + n
  const cpu = (sums.reduce((all, { cpuMs }) => all + cpuMs, 0) / 1_000).toFixed(1)
  const took = ((performance.now() - startedAtMs) / 1_000).toFixed(1)
  console.log(
    `${count} seeds from ${first}, ${broken.length} broken, ${took} s, ${cpu} s of CPU in ${jobs} jobs, ${JSON.stringify(seen)}`,
  )
  return broken.length === 0 ? 0 : 1
}

async function job(stride: number): Promise<Sum> {
  const before = process.cpuUsage()
  const broken: Life[] = []
  const outcomes: Record<string, number> = {}
  for (let seed = first; seed < first + count; seed += stride) {
    const life = await live(seed)
    for (const outcome of life.outcomes) outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
    if (life.broken.length > 0) broken.push(life)
    else if (values.log) for (const line of life.log) console.log(line)
  }
  const { user, system } = process.cpuUsage(before)
  return { broken, outcomes, cpuMs: (user + system) / 1_000 }
}

function inProcesses(jobs: number): Promise<readonly Sum[]> {
  const children = Array.from({ length: jobs }, (_, index) => {
    const range = ['--seed', String(first + index), '--seeds', String(count - index)]
    return fork(import.meta.filename, [...range, '--stride', String(jobs)])
  })
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => {
      for (const child of children) child.kill(signal)
      process.exit(1)
    })
  return Promise.all(children.map(report))
}

/** What a job has to say. Throws when it ended without a word. */
async function report(child: ChildProcess): Promise<Sum> {
  let sum: Sum | null = null
  child.once('message', message => {
    sum = message as Sum
  })
  const [code] = (await once(child, 'exit')) as [number | null]
  if (sum === null) throw new Error(`a job ended with ${code} and no result`)
  return sum
}
