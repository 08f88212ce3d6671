/** Limits over two threads of the whole data plane: they are one, and what a dead thread held comes back. */
import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import type { Worker } from 'node:worker_threads'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import type { ResilienceConfig } from '../../../lib/config/config.ts'
import { noLimits, plainResilience } from '../../../lib/proxy/resilience/plain.ts'
import { clusterOf, frontDoor } from '../../support/front-door.ts'
import { get } from '../../support/load.ts'
import { type Origin, origin } from '../../support/origin.ts'
import { until } from '../../support/wait.ts'

interface Held {
  readonly port: number
  /** Under way now, and the most there were. */
  readonly open: Set<ServerResponse>
  most: number
  came: number
}

/** Answers `/` at once, since its health is asked after there; holds everything else until it is let go. */
async function holding(t: Test): Promise<Held & { letGo(count: number): void }> {
  const open = new Set<ServerResponse>()
  const held = { port: 0, open, most: 0, came: 0, letGo }
  const server: Origin = await origin(t, '', (request, response) => {
    if (request.url === '/') return void response.end('well')
    held.came++
    open.add(response)
    held.most = Math.max(held.most, open.size)
    response.once('close', () => open.delete(response))
  })
  function letGo(count: number): void {
    for (const response of [...open].slice(0, count)) {
      open.delete(response)
      response.end('done')
    }
  }
  return Object.assign(held, { port: server.port })
}

/** Two threads, one cluster for each kind of limit. */
const workers: Worker[] = []
process.on('worker', worker => workers.push(worker))
const [limited, memberA, memberB, tunnelled, rated] = await Promise.all([1, 2, 3, 4, 5].map(() => holding(t)))
const clusterAt = (id: string, backends: readonly Held[], over: Partial<ResilienceConfig>) =>
  clusterOf(Object.fromEntries(backends.map(({ port }, i) => [`${id}${i}`, port])), {
    id,
    routes: [{ host: '*', path: `/${id}` }],
    resilience: { ...plainResilience, ...over },
  })
const patient = { ...noLimits, queueTimeoutMs: 60_000 }
const rateLimit = { requestsPerSecond: 0.01, burst: 7, header: null, clientsMax: 1_000 }
const { port, plane, board } = await frontDoor(
  t,
  [
    clusterAt('limited', [limited!], { limits: { ...patient, requests: 4 } }),
    clusterAt('members', [memberA!, memberB!], { limits: { ...patient, requestsPerMember: 2 } }),
    clusterAt('tunnelled', [tunnelled!], { limits: { ...patient, connections: 8 } }),
    clusterAt('rated', [rated!], { rateLimit }),
  ],
  { threads: 2 },
)
const slots = { limited: 0, tunnelled: 3 }
const startedBy = (thread: number, slot: number) => board.get(thread, slot, 'started')

t.test('the limit of a cluster is one over all threads, and nobody is forgotten', async t => {
  const a = limited!
  const all = 32
  const answers = Array.from({ length: all }, () => get(port, '/limited'))
  let served = 0
  for (const answer of answers) void answer.then(() => served++)
  while (served < all) {
    const before = served
    await until('as many as may', () => a.open.size === Math.min(4, all - a.came + a.open.size))
    a.letGo(1 + (before % 3))
    await until('the next', () => served > before)
  }
  for (const answer of answers) t.match(await answer, { status: 200, body: 'done' })
  t.equal(a.most, 4)
  t.equal(a.came, all)
  const shares = [startedBy(0, slots.limited), startedBy(1, slots.limited)]
  t.ok(Math.min(...shares) > 0, `both threads had some: ${shares.join(' and ')}`)
  t.equal(board.total(slots.limited, 'inFlight'), 0)
})

t.test('the limit of a member is one over all threads', async t => {
  const [a, b] = [memberA!, memberB!]
  const answers = Array.from({ length: 16 }, () => get(port, '/members'))
  let served = 0
  for (const answer of answers) void answer.then(() => served++)
  while (served < 16) {
    await until('some are there', () => a.open.size + b.open.size > 0 || served === 16)
    a.letGo(1)
    b.letGo(2)
    const before = served
    await until('the next', () => served > before || a.open.size + b.open.size > 0)
  }
  t.ok(a.most <= 2 && b.most <= 2, `${a.most} and ${b.most} at once`)
  t.equal(a.came + b.came, 16)
})

t.test('a client has one allowance over all threads', async t => {
  const answers = Array.from({ length: 40 }, () => get(port, '/rated'))
  await until('those that it is granted', () => rated!.open.size === 7)
  let refused = 0
  for (const answer of answers) void answer.then(({ status }) => status === 429 && refused++)
  await until('the others are refused', () => refused === 33)
  rated!.letGo(7)
  const statuses = (await Promise.all(answers)).map(({ status }) => status)
  t.equal(statuses.filter(status => status === 200).length, 7)
})

t.test('what a crashed thread held inside is free again', async t => {
  const a = tunnelled!
  const sockets = Array.from({ length: 4 }, () => new WebSocket(`ws://127.0.0.1:${port}/tunnelled`))
  for (const socket of sockets) socket.on('error', () => {})
  await Promise.all(sockets.map(socket => once(socket, 'open')))
  const asked = () => Array.from({ length: 12 }, () => get(port, '/tunnelled').catch(() => null))
  const first = asked()
  await until('as many as may', () => a.open.size === 4)
  const exited = once(workers[0]!, 'exit')
  void workers[0]!.terminate()
  await exited
  await until('the replacement serves', () => plane.serving().length === 2)
  await until('what died is gone', () => board.total(slots.tunnelled, 'inFlight') === a.open.size)
  const more = asked()
  const tunnels = () => board.total(slots.tunnelled, 'tunnels')
  await until('its places are taken by others', () => a.open.size === 8 - tunnels())
  const serving = setInterval(() => a.letGo(8), 5)
  t.teardown(() => clearInterval(serving))
  for (const answer of await Promise.all(more)) t.match(answer, { status: 200 })
  for (const answer of await Promise.all(first)) if (answer !== null) t.match(answer, { status: 200 })
  for (const socket of sockets) socket.terminate()
  t.ok(a.most <= 8)
})
