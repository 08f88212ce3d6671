/** Lives of a Tidegate in which everything goes wrong, each from its seed. `npm run simulate:faults` runs as many as one likes. */
import t from 'tap'
import { recipes } from '../../lib/scaling/recipes.ts'
import { live } from './faults/simulation.ts'

/** The same each time, so that a change that breaks one is seen with it; and others each day, so that many are seen over time. */
const seedsAlways = 150
const seedsOfTheDay = 150
const dayMs = 86_400_000
const ofTheDay = 100_000 + (Math.floor(Date.now() / dayMs) % 100_000) * seedsOfTheDay
/** Seeds in which something was found once. */
const regressions: readonly number[] = [53, 121, 1030, 1268, 2180, 4492]

const row = (first: number, count: number) => Array.from({ length: count }, (_, n) => first + n)

t.test(`${seedsAlways + seedsOfTheDay} lives`, async t => {
  const seen: Record<string, number> = { completed: 0, failed: 0, cancelled: 0 }
  const kinds = new Set<string>()
  const seeds = new Set([...regressions, ...row(1, seedsAlways), ...row(ofTheDay, seedsOfTheDay)])
  for (const seed of seeds) {
    const { broken, log, outcomes, kinds: begun } = await live(seed)
    for (const kind of begun) kinds.add(kind)
    for (const outcome of outcomes) seen[outcome] = (seen[outcome] ?? 0) + 1
    if (broken.length === 0) continue
    for (const line of log) t.comment(line)
    t.fail(`seed ${seed}: ${broken.join('; ')}`)
    t.comment(`again: npm run simulate:faults -- --seed ${seed} --log`)
    break
  }
  t.comment(JSON.stringify(seen))
  for (const kind of [...Object.keys(recipes), 'rolling_replace']) t.ok(kinds.has(kind), `there is a ${kind}`)
  for (const [outcome, count] of Object.entries(seen)) t.ok(count > seeds.size / 20, `${count} ${outcome}`)
})

t.test('a seed gives the same life every time', async t => {
  const first = await live(7)
  t.ok(first.log.length > 50, `${first.log.length} events`)
  t.strictSame(await live(7), first)
})
