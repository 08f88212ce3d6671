import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import t, { type Test } from 'tap'
import type { LimitsConfig } from '../../../../lib/config/config.ts'
import type { Bell } from '../../../../lib/proxy/resilience/bell.ts'
import {
  Circuit,
  type CircuitClient,
  Circuits,
  type Waiting,
} from '../../../../lib/proxy/resilience/circuit.ts'
import { CircuitBoard } from '../../../../lib/proxy/resilience/circuit-board.ts'
import { noLimits } from '../../../../lib/proxy/resilience/plain.ts'
import type { CircuitWork } from '../../../support/circuit-worker.ts'
import { ManualClock } from '../../../support/manual-clock.ts'

const limitsOf = (over: Partial<LimitsConfig>): LimitsConfig => ({
  ...noLimits,
  requests: 2,
  pending: 10,
  queueTimeoutMs: 1_000,
  ...over,
})

/** Some event loops on one clock; bells are heard when the test says so. */
function lab(over: Partial<LimitsConfig> = {}, threads = 1) {
  const clock = new ManualClock()
  const board = CircuitBoard.create(threads)
  const rung: number[] = []
  const ears = new Map<number, () => void>()
  const loops = Array.from({ length: threads }, (_, thread) => {
    const bell: Bell = {
      listen: ear => ears.set(thread, ear),
      ring: other => rung.push(other),
      close: () => {},
    }
    return new Circuit(new Circuits({ board, thread, clock, bell }), 7, limitsOf(over))
  })
  const hear = () => {
    for (const thread of rung.splice(0)) ears.get(thread)?.()
  }
  const log: string[] = []
  /** Somebody who waits, and says what becomes of it. */
  const client = (name: string, goes: () => boolean = () => true): CircuitClient => ({
    admitted: () => {
      const went = goes()
      log.push(went ? name : `${name}?`)
      return went
    },
    refused: code => log.push(`${name} ${code}`),
  })
  const counts = () => [board.total(7, 'requests'), board.total(7, 'tunnels'), board.total(7, 'pending')]
  /** Nothing is left behind, and nobody looks any more. */
  const over_ = async (t: Test) => {
    await clock.advance(10)
    t.same(counts(), [0, 0, 0])
    t.equal(board.oldest(7), -1)
    t.ok(board.quiet(7))
    t.equal(clock.pending, 0, 'nobody looks when nobody waits')
  }
  return { clock, board, loops, circuit: loops[0]!, rung, hear, log, client, counts, over: over_ }
}

function place(answer: Waiting | string): Waiting {
  if (typeof answer === 'string') throw new Error(answer)
  return answer
}

t.test('as many inside as the limit; the others in the order they came', async t => {
  const { circuit, log, client, counts, over } = lab()
  t.ok(circuit.enter())
  t.ok(circuit.enter())
  t.notOk(circuit.enter())
  for (const name of ['a', 'b', 'c']) place(circuit.wait(client(name)))
  t.same(counts(), [2, 0, 3])
  circuit.leave()
  t.same(log, ['a'])
  t.notOk(circuit.enter(), 'nobody passes those who wait')
  circuit.leave()
  circuit.leave()
  t.same(log, ['a', 'b', 'c'])
  circuit.leave()
  circuit.leave()
  await over(t)
})

t.test('no queue, a full queue, a wait that takes too long', async t => {
  const none = lab({ pending: 0, requests: 1 })
  t.ok(none.circuit.enter())
  t.equal(none.circuit.wait(none.client('a')), 'circuit_open')
  none.circuit.leave()
  await none.over(t)

  const { circuit, clock, client, log, over } = lab({ pending: 2, requests: 1 })
  t.ok(circuit.enter())
  place(circuit.wait(client('a')))
  await clock.advance(600)
  place(circuit.wait(client('b')))
  t.equal(circuit.wait(client('c')), 'queue_full')
  await clock.advance(395)
  t.same(log, [])
  await clock.advance(10)
  t.same(log, ['a queue_timeout'], 'each has its own time')
  place(circuit.wait(client('d')))
  circuit.leave()
  t.same(log, ['a queue_timeout', 'b'])
  await clock.advance(1_010)
  t.same(log, ['a queue_timeout', 'b', 'd queue_timeout'])
  circuit.leave()
  await over(t)
})

t.test('a client that leaves takes its place in the queue along', async t => {
  const { circuit, client, log, counts, over } = lab({ requests: 1 })
  circuit.enter()
  const places = ['a', 'b', 'c'].map(name => place(circuit.wait(client(name))))
  circuit.withdraw(places[1]!)
  circuit.withdraw(places[1]!)
  t.same(counts(), [1, 0, 2])
  circuit.leave()
  circuit.withdraw(places[0]!)
  t.same(counts(), [1, 0, 1], 'withdrawing what was admitted is harmless')
  circuit.leave()
  t.same(log, ['a', 'c'])
  circuit.leave()
  await over(t)
})

t.test('tunnels hold a connection, not a request', async t => {
  const { circuit, client, log, over } = lab({ requests: 1, connections: 2 })
  t.ok(circuit.enter())
  place(circuit.wait(client('a')))
  circuit.becomeTunnel()
  t.same(log, ['a'], 'the request is over')
  circuit.becomeTunnel()
  t.notOk(circuit.enter(), 'two tunnels are two connections')
  place(circuit.wait(client('b')))
  circuit.leaveTunnel()
  t.same(log, ['a', 'b'])
  circuit.leave()
  circuit.leaveTunnel()
  await over(t)
})

t.test('who waits for a full member stands aside, and is asked in turn', async t => {
  const { circuit, client, log, counts, clock, over } = lab({ requests: 4 })
  const full = new Set(['x0', 'x1', 'y'])
  t.ok(circuit.enter())
  for (const name of ['x0', 'x1', 'y']) {
    t.ok(circuit.enter())
    place(circuit.waitForMember(client(name, () => !full.has(name))))
  }
  t.same(counts(), [1, 0, 3])
  t.ok(circuit.enter(), 'others go past them')
  circuit.leave()
  t.same(log.splice(0), ['x0?', 'x1?', 'y?'])
  full.delete('y')
  await clock.advance(5)
  t.same(log.splice(0), ['x0?', 'x1?', 'y'], 'also when no place was freed on this thread')
  await clock.advance(994)
  log.splice(0)
  await clock.advance(10)
  t.same(log.splice(0), ['x0 queue_timeout', 'x1 queue_timeout'])
  circuit.leave()
  circuit.leave()
  await over(t)
})

t.test('many who wait for one member do not keep the one who waits for another from its turn', async t => {
  const { circuit, client, clock, log, over } = lab({ requests: 2, pending: 100 })
  t.ok(circuit.enter())
  const places: Waiting[] = []
  for (let i = 0; i < 20; i++) {
    t.ok(circuit.enter())
    places.push(place(circuit.waitForMember(client('x', () => i === 19))))
    // Less than the time between two looks in all.
    await clock.advance(0.2)
  }
  log.splice(0)
  t.ok(circuit.enter())
  place(circuit.wait(client('q')))
  circuit.leave()
  t.equal(log.splice(0).at(-1), 'q', 'the queue moves although eight were tried before')
  circuit.leave()
  circuit.leave()
  t.ok(log.includes('x'), 'the twentieth had its turn')
  t.ok(log.length <= 16, 'and each freed place asked a bounded number')
  for (const place of places) circuit.withdraw(place)
  circuit.leave()
  await over(t)
})

t.test('a waiter that was admitted and found its members full waits on, no longer than before', async t => {
  const { circuit, client, log, clock, over } = lab({ requests: 1 })
  circuit.enter()
  place(circuit.wait(client('a', () => false)))
  await clock.advance(500)
  circuit.leave()
  t.same([...new Set(log.splice(0))], ['a?'])
  await clock.advance(494)
  t.same([...new Set(log.splice(0))], ['a?'])
  await clock.advance(10)
  t.equal(log.at(-1), 'a queue_timeout')
  await over(t)
})

t.test('a limit that is raised lets in who waits', async t => {
  const { circuit, client, log, clock, over } = lab({ requests: 1 })
  circuit.enter()
  place(circuit.wait(client('a')))
  circuit.setLimits(limitsOf({ requests: 2 }))
  await clock.advance(5)
  t.same(log, ['a'])
  circuit.leave()
  circuit.leave()
  await over(t)
})

t.test('threads: the limit is one, and who came first is first', async t => {
  const { loops, client, log, clock, rung, hear, over } = lab({ requests: 2 }, 3)
  const [a, b, c] = loops as [Circuit, Circuit, Circuit]
  t.ok(a.enter())
  t.ok(b.enter())
  for (const loop of loops) t.notOk(loop.enter())
  place(b.wait(client('b1')))
  await clock.advance(1)
  place(a.wait(client('a1')))
  await clock.advance(1)
  place(c.wait(client('c1')))
  await clock.advance(1)
  place(b.wait(client('b2')))
  a.leave()
  t.same([log, rung], [[], [1]], 'a has a waiter of its own, but b1 came before it')
  t.notOk(c.enter(), 'and nobody takes the place before it is heard')
  hear()
  t.same(log, ['b1'])
  b.leave()
  hear()
  t.same(log, ['b1', 'a1'])
  a.leave()
  hear()
  t.same(log.slice(0, 3), ['b1', 'a1', 'c1'])
  c.leave()
  hear()
  t.same(log, ['b1', 'a1', 'c1', 'b2'])
  b.leave()
  b.leave()
  await over(t)
})

t.test('a thread that does not hear, or died, keeps no place for long', async t => {
  const { loops, client, log, clock, rung, board, over } = lab({ requests: 1 }, 2)
  const [a, b] = loops as [Circuit, Circuit]
  b.enter()
  board.setSince(1, 7, clock.now() - 1)
  board.add(1, 7, 'pending', 1)
  place(a.wait(client('a1')))
  b.leave()
  t.same([log, rung], [[], []], 'b thinks that it has the oldest')
  await clock.advance(5)
  t.same(log, ['a1'], 'a looks by itself')
  a.leave()
  t.notOk(a.enter(), 'somebody waits there, as far as one can see')
  board.wipeThread(1)
  t.ok(a.enter(), 'until control wipes what it left')
  a.leave()
  await over(t)
})

t.test(
  'two that come for the last place at once: neither passes the limit, and neither is forgotten',
  async t => {
    const { loops, client, log, clock, board, over } = lab({ requests: 1 }, 2)
    const [a, b] = loops as [Circuit, Circuit]
    // b has counted itself in and not looked yet.
    board.add(1, 7, 'requests', 1)
    t.notOk(a.enter())
    place(a.wait(client('a1')))
    board.add(1, 7, 'requests', -1)
    await clock.advance(5)
    t.same(log, ['a1'])
    t.notOk(b.enter())
    a.leave()
    await over(t)
  },
)

t.test('real threads: never more inside than the limit, nobody lost', async t => {
  const board = CircuitBoard.create(3)
  const tally = new SharedArrayBuffer(12)
  const requests = 2_000
  const limits = limitsOf({ requests: 3, pending: 1_000, queueTimeoutMs: 60_000 })
  const workers = [0, 1, 2].map(thread => {
    const work: CircuitWork = { thread, circuits: board.buffer, limits, requests, atOnce: 5, tally }
    return new Worker(new URL('../../../support/circuit-worker.ts', import.meta.url), { workerData: work })
  })
  await Promise.all(workers.map(worker => once(worker, 'online')))
  const ended = workers.map(worker => once(worker, 'message'))
  for (const worker of workers) worker.postMessage('go')
  t.same(await Promise.all(ended), [[{ refused: 0 }], [{ refused: 0 }], [{ refused: 0 }]])
  const [inside, most, served] = new Int32Array(tally)
  t.equal(inside, 0)
  t.equal(most, 3)
  t.equal(served, 3 * requests)
  t.ok(board.quiet(0))
  t.equal(board.oldest(0), -1)
  await Promise.all(workers.map(worker => worker.terminate()))
})
