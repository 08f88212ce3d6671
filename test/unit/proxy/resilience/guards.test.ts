import t from 'tap'
import type { ResilienceConfig } from '../../../../lib/config/config.ts'
import { CircuitBoard } from '../../../../lib/proxy/resilience/circuit-board.ts'
import { type Guard, Guards } from '../../../../lib/proxy/resilience/guards.ts'
import { noLimits, plainResilience } from '../../../../lib/proxy/resilience/plain.ts'
import { type Guarded, SharedLimits } from '../../../../lib/proxy/resilience/shared-limits.ts'
import { ManualClock } from '../../../support/manual-clock.ts'

const limited: Partial<ResilienceConfig> = { limits: { ...noLimits, requests: 1 } }
const rateLimit = { requestsPerSecond: 1, burst: 1, header: null, clientsMax: 1_000 }

const clusterOf = (id: string, over: Partial<ResilienceConfig> = {}): Guarded => ({
  id,
  resilience: { ...plainResilience, ...over },
})
const tableOf = (...clusters: Guarded[]) => ({ clusters })

function lab(threads: number) {
  let made = 0
  const memory = new SharedLimits(threads, bytes => new Uint8Array(bytes).fill(++made))
  const clock = new ManualClock()
  const first = memory.of(tableOf())
  const loops = Array.from({ length: threads }, (_, thread) => new Guards(first, thread, clock))
  /** A new table reaches every loop; the guards of its clusters, by loop. */
  const publish = (...clusters: Guarded[]) => {
    const table = tableOf(...clusters)
    const shared = structuredClone(memory.of(table))
    return loops.map(guards => {
      guards.take(shared)
      const built = table.clusters.map(cluster => guards.of(cluster))
      guards.keep(table.clusters)
      return built
    })
  }
  return { memory, clock, loops, publish }
}

t.test('a cluster without limits has none of their parts', async t => {
  const { publish } = lab(1)
  const [[guard]] = publish(clusterOf('web')) as [[Guard]]
  t.match(guard, { budget: null, hedge: null, circuit: null, rate: null, retries: { attempts: 2 } })
})

t.test('loops share what is inside, and what a client was granted', async t => {
  const { publish, memory } = lab(2)
  const [[a], [b]] = publish(clusterOf('web', { ...limited, rateLimit })) as [Guard[], Guard[]]
  t.ok(a!.circuit!.enter())
  t.notOk(b!.circuit!.enter())
  t.same(memory.counts('web'), { requests: 1, tunnels: 0, pending: 0 })
  t.equal(memory.counts('other'), null)
  t.equal(a!.rate!.take('192.0.2.1', undefined, 1e12), 0)
  t.not(b!.rate!.take('192.0.2.1', undefined, 1e12), 0)
  memory.wipeThread(0)
  t.ok(b!.circuit!.enter(), 'a thread that died has nothing inside')
})

t.test('a new table changes limits and forgets nothing', async t => {
  const { publish, memory } = lab(1)
  const [[before]] = publish(clusterOf('web', { ...limited, rateLimit })) as [[Guard]]
  t.ok(before.circuit!.enter())
  t.equal(before.rate!.take('192.0.2.1', undefined, 1e12), 0)
  const raised = { limits: { ...noLimits, requests: 2 }, rateLimit: { ...rateLimit, burst: 2 } }
  const [guards] = publish(clusterOf('new'), clusterOf('web', raised))
  const after = guards!.find(guard => guard.limits.requests === 2)!
  t.equal(after.circuit, before.circuit)
  t.ok(after.circuit!.enter())
  t.notOk(after.circuit!.enter())
  t.equal(after.rate!.take('192.0.2.1', undefined, 1e12), 0)
  t.not(after.rate!.take('192.0.2.1', undefined, 1e12), 0, 'one of the two was granted before')
  const [[off]] = publish(clusterOf('web')) as [[Guard]]
  t.equal(off.rate, null)
  t.ok(off.circuit!.enter(), 'kept, since others still count themselves out, but without limits')
  for (let i = 0; i < 3; i++) off.circuit!.leave()
  t.same(memory.counts('web'), { requests: 0, tunnels: 0, pending: 0 })
})

t.test('the place of a cluster that left is given out again only when nothing is inside', async t => {
  const { publish, memory } = lab(1)
  const [[old]] = publish(clusterOf('old', limited)) as [[Guard]]
  t.ok(old.circuit!.enter())
  publish(clusterOf('a', limited))
  t.ok(memory.of(tableOf(clusterOf('a', limited))).clusters.a!.circuit !== 0)
  old.circuit!.leave()
  t.equal(memory.of(tableOf(clusterOf('a', limited), clusterOf('b', limited))).clusters.b!.circuit, 0)
})

t.test('budgets are made where something draws on them, and go on while their figures do', async t => {
  const { publish } = lab(2)
  const retries = { ...plainResilience.retries, on: ['connect', 503] as const }
  const [[one]] = publish(clusterOf('web', { retries })) as [[Guard], unknown]
  let granted = 0
  while (one.budget!.take(0)) granted++
  t.equal(granted, 15, 'three a second for ten seconds, divided by two loops')
  const hedge = { afterMs: 10, maxPercent: 5 }
  const [[two]] = publish(clusterOf('web', { retries, hedge })) as [[Guard], unknown]
  t.equal(two.budget, one.budget)
  const [[three]] = publish(clusterOf('web', { retries, hedge: { ...hedge } })) as [[Guard], unknown]
  t.equal(three.hedge, two.hedge)
  const [[four]] = publish(clusterOf('web', { retries: { ...retries, budgetRatio: 1 }, hedge })) as [
    [Guard],
    unknown,
  ]
  t.not(four.budget, two.budget)
  t.not(four.hedge, two.hedge)
})

t.test('every place can be taken, and each is its own', async t => {
  const memory = new SharedLimits(1, bytes => new Uint8Array(bytes))
  const many = Array.from({ length: 1_000 }, (_, i) => clusterOf(`c${i}`))
  const { clusters, circuits } = memory.of(tableOf(...many))
  const places = Object.values(clusters).map(({ circuit }) => circuit)
  t.equal(new Set(places).size, 1_000)
  const board = new CircuitBoard(circuits)
  for (const circuit of places) board.add(0, circuit, 'pending', 1)
  t.equal(board.total(999, 'pending'), 1)
  memory.sweep(0)
})

t.test('what is unchanged need not be sent again', async t => {
  const memory = new SharedLimits(1, bytes => new Uint8Array(bytes))
  const first = memory.of(tableOf(clusterOf('a'), clusterOf('b', { rateLimit })))
  t.equal(memory.of(tableOf(clusterOf('b', { rateLimit }), clusterOf('a', limited))), first)
  const renamed = memory.of(tableOf(clusterOf('c'), clusterOf('b', { rateLimit })))
  t.not(renamed, first, 'one left, another came')
  t.equal(renamed.clusters.b!.rate, first.clusters.b!.rate)
  t.not(memory.of(tableOf(clusterOf('c'), clusterOf('b'))), renamed, 'a rate limit less')
})
