/** Lives of a Tidegate in which everything goes wrong, each from its seed. `npm run simulate:faults` runs as many as one likes. */
import { availableParallelism } from 'node:os'
import t from 'tap'
import { recipes } from '../../lib/scaling/recipes.ts'
import { simulate } from './faults/jobs.ts'
import { live } from './faults/simulation.ts'

const lives = 10_000
/** The same each time, so that a change that breaks one is seen with it; the others are those of the day, so that many are seen over time. */
const seedsAlways = 5_000
const dayMs = 86_400_000
/** Seeds in which something was found once. */
const regressions: readonly number[] = [10, 53, 121, 554, 1030, 1268, 2180, 4492, 104000821, 104001397]

const row = (first: number, count: number) => Array.from({ length: count }, (_, n) => first + n)

t.test(`${lives} lives`, async t => {
  const always = [...new Set([...regressions, ...row(1, seedsAlways)])]
  const seedsOfTheDay = lives - always.length
  const ofTheDay = 100_000 + (Math.floor(Date.now() / dayMs) % 100_000) * seedsOfTheDay
  const seeds = [...always, ...row(ofTheDay, seedsOfTheDay)]
  const { broken, outcomes, kinds, cpuMs } = await simulate({ seeds, log: false }, availableParallelism())
  const [first] = broken
  for (const line of first?.log ?? []) t.comment(line)
  for (const { seed, broken: why } of broken) t.fail(`seed ${seed}: ${why.join('; ')}`)
  if (first) t.comment(`again: npm run simulate:faults -- --seed ${first.seed} --log`)
  t.comment(`${JSON.stringify(outcomes)}, ${(cpuMs / 1_000).toFixed(1)} s of CPU`)
  for (const kind of [...Object.keys(recipes), 'rolling_replace'])
    t.ok(kinds.includes(kind), `there is a ${kind}`)
  for (const outcome of ['completed', 'failed', 'cancelled']) {
    const count = outcomes[outcome] ?? 0
    t.ok(count > lives / 20, `${count} ${outcome}`)
  }
})

t.test('a seed gives the same life every time', async t => {
  const first = await live(7)
  t.ok(first.log.length > 50, `${first.log.length} events`)
  t.strictSame(await live(7), first)
})
