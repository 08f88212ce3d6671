/** Lives of a Tidegate in which everything goes wrong, each from its seed. `npm run simulate:faults` runs as many as one likes. */
import t from 'tap'
import { live } from './faults/simulation.ts'

/** How many run here. The 10,000 of `docs/simulator.md` are run by `npm run simulate:faults`. */
const seedsInTests = 300
/** Seeds in which something was found once. */
const regressions: readonly number[] = [121, 1030, 1268, 2180]

t.test(`${seedsInTests} lives`, async t => {
  const seen: Record<string, number> = { completed: 0, failed: 0, cancelled: 0 }
  const seeds = new Set([...regressions, ...Array.from({ length: seedsInTests }, (_, n) => n + 1)])
  for (const seed of seeds) {
    const { broken, log, outcomes } = await live(seed)
    for (const outcome of outcomes) seen[outcome] = (seen[outcome] ?? 0) + 1
    if (broken.length === 0) continue
    for (const line of log) t.comment(line)
    t.fail(`seed ${seed}: ${broken.join('; ')}`)
    t.comment(`again: npm run simulate:faults -- --seed ${seed} --log`)
    break
  }
  t.comment(JSON.stringify(seen))
  for (const [outcome, count] of Object.entries(seen)) t.ok(count > seeds.size / 20, `${count} ${outcome}`)
})

t.test('a seed gives the same life every time', async t => {
  const first = await live(7)
  t.ok(first.log.length > 50, `${first.log.length} events`)
  t.strictSame(await live(7), first)
})
