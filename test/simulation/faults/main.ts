/**
 * `npm run simulate:faults -- --seed N --seeds N [--jobs N]`: many lives, on all processors, or one again. Prints the seeds in which
 * something broke, with the log of the first; exits 1 if there is one.
 */
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { jobsFor, simulate } from './jobs.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '1' },
    jobs: { type: 'string', default: String(availableParallelism()) },
    log: { type: 'boolean', default: false },
  },
})
const first = Number(values.seed)
const count = Number(values.seeds)

const startedAtMs = performance.now()
const jobs = jobsFor(count, Number(values.jobs))
const seeds = Array.from({ length: count }, (_, n) => first + n)
const { broken, outcomes, cpuMs } = await simulate({ seeds, log: values.log }, jobs)
for (const [index, life] of broken.entries()) {
  if (index === 0 || values.log) for (const line of life.log) console.log(line)
  console.log(`seed ${life.seed}: ${life.broken.join('\n  ')}`)
  console.log(`again: npm run simulate:faults -- --seed ${life.seed} --log`)
}
const cpu = (cpuMs / 1_000).toFixed(1)
const took = ((performance.now() - startedAtMs) / 1_000).toFixed(1)
console.log(
  `${count} seeds from ${first}, ${broken.length} broken, ${took} s, ${cpu} s of CPU in ${jobs} jobs, ${JSON.stringify(outcomes)}`,
)
process.exitCode = broken.length === 0 ? 0 : 1
