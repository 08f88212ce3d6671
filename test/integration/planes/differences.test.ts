/** Generations travel as differences, and as whole tables where a thread has not the one before. */
import type { Worker } from 'node:worker_threads'
import t, { type Test } from 'tap'
import type { TableDifference } from '../../../lib/cluster/difference.ts'
import type { TableData } from '../../../lib/cluster/table.ts'
import type { ToThread } from '../../../lib/proxy/messages.ts'
import { backend } from '../../support/cluster-kit.ts'
import { clusterOf, frontDoor } from '../../support/front-door.ts'
import { get } from '../../support/load.ts'
import { origin } from '../../support/origin.ts'
import { until } from '../../support/wait.ts'

/** What is published to each worker that is started from here on. */
function watchPublishes(t: Test) {
  const workers: Worker[] = []
  const told = new Map<Worker, string[]>()
  const note = (worker: Worker) => {
    workers.push(worker)
    told.set(worker, [])
    const post = worker.postMessage.bind(worker)
    worker.postMessage = (message: ToThread) => {
      if (message.type === 'publish') told.get(worker)!.push(kindOf(message.table))
      post(message)
    }
  }
  process.on('worker', note)
  t.teardown(() => process.off('worker', note))
  return { workers, told: (at: number) => told.get(workers[at]!) ?? [] }
}

const kindOf = (sent: TableData | TableDifference) =>
  'base' in sent ? `+${sent.generation}` : `${sent.generation}`

t.test('a thread gets differences; one that is replaced begins with the whole', async t => {
  const seen = watchPublishes(t)
  const [a, b, c] = [await origin(t, 'a'), await origin(t, 'b'), await origin(t, 'c')]
  const { clusters, plane, port } = await frontDoor(t, [clusterOf({ a: a.port })], { threads: 2 })
  const first = clusters.generation()
  await clusters.change('web', { add: [backend('b', { port: b.port })] })
  await clusters.change('web', { remove: ['a'] })
  for (const at of [0, 1]) t.strictSame(seen.told(at), [`+${first + 1}`, `+${first + 2}`])

  await seen.workers[0]!.terminate()
  await until('the replacement serves', () => seen.workers.length === 3 && plane.serving().length === 2)
  await clusters.change('web', { add: [backend('c', { port: c.port })], remove: ['b'] })
  t.equal(seen.told(1).at(-1), `+${first + 3}`)
  t.equal(seen.told(2).at(-1), `+${first + 3}`, 'it was started with the newest table')
  const bodies = await Promise.all(Array.from({ length: 40 }, () => get(port, '/')))
  t.strictSame(new Set(bodies.map(({ body }) => body)), new Set(['c']), 'all threads say the same')
})

t.test('a difference that is not for its table is refused, and the whole asked for', async t => {
  const seen = watchPublishes(t)
  const [a, b] = [await origin(t, 'a'), await origin(t, 'b')]
  const { clusters, port } = await frontDoor(t, [clusterOf({ a: a.port })], { threads: 1 })
  const generation = clusters.generation()
  const stray: ToThread = {
    type: 'publish',
    table: { base: generation + 7, generation: generation + 8, clusters: [], affinityKeys: null },
  }
  seen.workers[0]!.postMessage(stray)
  await until('the whole was sent', () => seen.told(0).includes(`${generation}`))
  await clusters.change('web', { add: [backend('b', { port: b.port })], remove: ['a'] })
  t.equal(seen.told(0).at(-1), `+${generation + 1}`)
  t.equal((await get(port, '/')).body, 'b')
})
