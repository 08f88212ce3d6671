/**
 * `npm run simulate:faults -- --seed N --seeds N`: many lives, or one again. Prints the seeds in which something broke, with the
 * log of the first; exits 1 if there is one.
 */
import { parseArgs } from 'node:util'
import { live } from './simulation.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '1' },
    log: { type: 'boolean' },
  },
})
const first = Number(values.seed)
const count = Number(values.seeds)
const seen: Record<string, number> = {}
let broken = 0
const before = process.cpuUsage()
for (let seed = first; seed < first + count; seed++) {
  const life = await live(seed)
  for (const outcome of life.outcomes) seen[outcome] = (seen[outcome] ?? 0) + 1
  if (life.broken.length === 0 && !values.log) continue
  if (life.broken.length > 0) broken++
  if (broken <= 1 || values.log) for (const line of life.log) console.log(line)
  console.log(`seed ${seed}: ${life.broken.join('\n  ') || 'all is well'}`)
  console.log(`again: npm run simulate:faults -- --seed ${seed} --log`)
}
const { user, system } = process.cpuUsage(before)
console.log(
  `${count} seeds, ${broken} broken, ${((user + system) / 1e6).toFixed(1)} s of CPU, ${JSON.stringify(seen)}`,
)
process.exitCode = broken === 0 ? 0 : 1
