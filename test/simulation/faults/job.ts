/** One job of `jobs.ts`: lives its seeds one after another, reports, and ends. */
import { once } from 'node:events'
import type { Sum, Task } from './jobs.ts'
import { type Life, live } from './simulation.ts'

/** So many logs are kept; who broke more often has been broken at the root. */
const brokenMax = 20

const [task] = (await once(process, 'message')) as [Task]
// Whoever asked has gone: nobody waits for the rest.
const orphaned = () => process.exit(1)
process.once('disconnect', orphaned)
const sum = await lives(task)
process.send?.(sum, () => {
  process.off('disconnect', orphaned)
  process.disconnect()
})

async function lives({ seeds, log }: Task): Promise<Sum> {
  const before = process.cpuUsage()
  const broken: Life[] = []
  const outcomes: Record<string, number> = {}
  const kinds = new Set<string>()
  for (const seed of seeds) {
    const life = await live(seed)
    for (const outcome of life.outcomes) outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
    for (const kind of life.kinds) kinds.add(kind)
    if (life.broken.length > 0) broken.push(life)
    else if (log) for (const line of life.log) console.log(line)
    if (broken.length === brokenMax) break
  }
  const { user, system } = process.cpuUsage(before)
  return { broken, outcomes, kinds: [...kinds], cpuMs: (user + system) / 1_000 }
}
