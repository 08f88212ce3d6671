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

const guarded = (over: Partial<ResilienceConfig>) => ({ resilience: { ...plainResilience, ...over } })

t.test('the limit of a cluster is one over all threads, and nobody is forgotten', async t => {
  const a = await holding(t)
  const limits = { ...noLimits, requests: 4, queueTimeoutMs: 60_000 }
  const { port, board } = await frontDoor(t, [clusterOf({ a: a.port }, guarded({ limits }))], { threads: 2 })
  const answers = Array.from({ length: 48 }, () => get(port, '/work'))
  let served = 0
  for (const answer of answers) void answer.then(() => served++)
  await until('as many as may', () => a.open.size === 4)
  while (served < 48) {
    const before = served
    a.letGo(1 + (before % 3))
    await until('the next', () => served > before)
    await until('the places to be taken again', () => a.open.size === Math.min(4, 48 - a.came + a.open.size))
  }
  for (const answer of answers) t.match(await answer, { status: 200, body: 'done' })
  t.equal(a.most, 4)
  t.equal(a.came, 48)
  const shares = [board.get(0, 0, 'started'), board.get(1, 0, 'started')]
  t.ok(Math.min(...shares) > 0, `both threads had some: ${shares.join(' and ')}`)
  t.equal(board.total(0, 'inFlight'), 0)
})

t.test('the limit of a member is one over all threads', async t => {
  const [a, b] = [await holding(t), await holding(t)]
  const limits = { ...noLimits, requestsPerMember: 2, queueTimeoutMs: 60_000 }
  const config = clusterOf({ a: a.port, b: b.port }, guarded({ limits }))
  const { port } = await frontDoor(t, [config], { threads: 2 })
  await until('both are well', async () => {
    const backends = await Promise.all(Array.from({ length: 4 }, () => get(port, '/')))
    return new Set(backends.map(({ headers }) => headers['x-tidegate-backend'])).size === 2
  })
  const answers = Array.from({ length: 24 }, () => get(port, '/work'))
  let served = 0
  for (const answer of answers) void answer.then(() => served++)
  while (served < 24) {
    await until('some are there', () => a.open.size + b.open.size > 0)
    a.letGo(1)
    b.letGo(2)
    const before = served
    await until('the next', () => served > before || a.open.size + b.open.size > 0)
  }
  t.ok(a.most <= 2 && b.most <= 2, `${a.most} and ${b.most} at once`)
  t.equal(a.came + b.came, 24)
})

t.test('what a crashed thread held inside is free again', async t => {
  const workers: Worker[] = []
  const note = (worker: Worker) => workers.push(worker)
  process.on('worker', note)
  t.teardown(() => process.off('worker', note))
  const a = await holding(t)
  const limits = { ...noLimits, connections: 8, queueTimeoutMs: 60_000 }
  const { port, plane, board } = await frontDoor(t, [clusterOf({ a: a.port }, guarded({ limits }))], {
    threads: 2,
  })
  const sockets = Array.from({ length: 4 }, () => new WebSocket(`ws://127.0.0.1:${port}/`))
  for (const socket of sockets) socket.on('error', () => {})
  await Promise.all(sockets.map(socket => once(socket, 'open')))
  const first = Array.from({ length: 12 }, () => get(port, '/work').catch(() => null))
  await until('as many as may', () => a.open.size === 4)
  const exited = once(workers[0]!, 'exit')
  void workers[0]!.terminate()
  await exited
  await until('the replacement serves', () => plane.serving().length === 2)
  const tunnels = () => board.total(0, 'tunnels')
  await until('what died is gone', () => board.total(0, 'inFlight') === a.open.size)
  const more = Array.from({ length: 12 }, () => get(port, '/work').catch(() => null))
  await until('its places are taken by others', () => a.open.size === 8 - tunnels())
  const serving = setInterval(() => a.letGo(8), 5)
  t.teardown(() => clearInterval(serving))
  for (const answer of await Promise.all(more)) t.match(answer, { status: 200 })
  const kept = (await Promise.all(first)).filter(answer => answer !== null)
  for (const answer of kept) t.match(answer, { status: 200 })
  for (const socket of sockets) socket.terminate()
  t.ok(a.most <= 8)
})

t.test('a client has one allowance over all threads', async t => {
  const a = await origin(t, 'a')
  const rateLimit = { requestsPerSecond: 0.01, burst: 7, header: null, clientsMax: 1_000 }
  const { port, board } = await frontDoor(t, [clusterOf({ a: a.port }, guarded({ rateLimit }))], {
    threads: 2,
  })
  const answers = await Promise.all(Array.from({ length: 40 }, () => get(port, '/work')))
  t.equal(answers.filter(({ status }) => status === 200).length, 7)
  t.equal(answers.filter(({ status }) => status === 429).length, 33)
  const shares = [board.get(0, 0, 'started'), board.get(1, 0, 'started')]
  t.equal(shares[0]! + shares[1]!, 7)
})
