/** Two planes on real threads and sockets: generations, crashes, the end. */
import { once } from 'node:events'
import { Agent } from 'node:http'
import { connect, createServer } from 'node:net'
import type { Worker } from 'node:worker_threads'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { clusterOf, frontDoor } from '../../support/front-door.ts'
import { get } from '../../support/load.ts'
import { origin } from '../../support/origin.ts'
import { until } from '../../support/wait.ts'

for (const threads of [0, 1, 2]) {
  t.test(`threads: ${threads}`, async t => {
    t.test('routes, and takes a new member in the generation that resolves', async t => {
      const [a, b] = [await origin(t, 'a'), await origin(t, 'b')]
      const { clusters, port } = await frontDoor(t, [clusterOf({ a: a.port })], { threads })
      t.equal((await get(port, '/')).body, 'a')
      const generation = await clusters.change('web', { add: [backend('b', b.port)], remove: ['a'] })
      t.equal(generation, clusters.generation())
      // Every connection may fall on another thread: none may know the old table any more.
      const bodies = await Promise.all(
        Array.from({ length: 20 }, () => get(port, '/').then(({ body }) => body)),
      )
      t.strictSame(new Set(bodies), new Set(['b']))
      t.same((await clusters.waitGone('web', 'a', 1_000)).drained, true)
    })

    t.test('what is in flight ends before the plane does; nothing new is taken', async t => {
      let release: (() => void) | null = null
      const slow = await origin(t, 'slow', (request, response) => {
        if (request.url !== '/slow') return void response.end('quick')
        response.write('begun ')
        release = () => response.end('and done')
      })
      const { plane, port } = await frontDoor(t, [clusterOf({ slow: slow.port })], { threads })
      const agent = new Agent({ keepAlive: true })
      const answer = get(port, '/slow', { agent })
      const end = await until('the exchange is under way', () => release as (() => void) | null)
      const stopped = plane.stop(10_000)
      await until('the port is closed', () => refuses(port))
      end()
      t.equal((await answer).body, 'begun and done')
      await stopped
      t.same(plane.serving(), [])
    })

    t.test('a tunnel is told 1001 at the end of the grace period', async t => {
      const echo = await origin(t, 'echo')
      const { plane, port } = await frontDoor(t, [clusterOf({ echo: echo.port })], { threads })
      const socket = new WebSocket(`ws://127.0.0.1:${port}/`)
      await once(socket, 'open')
      socket.send('hello')
      t.equal(String((await once(socket, 'message'))[0]), 'hello')
      const closed = once(socket, 'close')
      await Promise.all([plane.stop(50), closed])
      t.equal((await closed)[0], 1001)
    })
  })
}

t.test('a crashed thread is replaced and reported; the others serve on', async t => {
  const workers = watchWorkers(t)
  const a = await origin(t, 'a')
  const { plane, port, events, clusters, board } = await frontDoor(t, [clusterOf({ a: a.port })], {
    threads: 2,
  })
  t.equal(workers.length, 2)
  const exited = once(workers[0]!, 'exit')
  void workers[0]!.terminate()
  await exited
  t.equal((await get(port, '/')).body, 'a', 'the other one serves')
  await until('the replacement serves', () => plane.serving().length === 2)
  const told = events.flatMap(({ event }) =>
    event.type === 'thread' ? `${event.status} ${event.thread}` : [],
  )
  t.match(told, ['started 0', 'started 1', 'crashed 0', 'started 0', 'replaced 0'])
  t.equal(board.total(0, 'inFlight'), 0, 'nothing of the dead thread is left on the board')
  const b = await origin(t, 'b')
  await clusters.change('web', { add: [backend('b', b.port)], remove: ['a'] })
  const bodies = await Promise.all(Array.from({ length: 20 }, () => get(port, '/').then(({ body }) => body)))
  t.strictSame(new Set(bodies), new Set(['b']), 'the replacement takes generations too')
})

t.test('a thread that crashes in the middle of a publish does not hold it up', async t => {
  const workers = watchWorkers(t)
  const [a, b] = [await origin(t, 'a'), await origin(t, 'b')]
  const { clusters, plane, port } = await frontDoor(t, [clusterOf({ a: a.port })], { threads: 2 })
  const change = clusters.change('web', { add: [backend('b', b.port)], remove: ['a'] })
  void workers[1]!.terminate()
  await change
  await until('both serve again', () => plane.serving().length === 2)
  const bodies = await Promise.all(Array.from({ length: 20 }, () => get(port, '/').then(({ body }) => body)))
  t.strictSame(new Set(bodies), new Set(['b']))
})

t.test('connections are shared between two threads', async t => {
  const a = await origin(t, 'a')
  const { port, board } = await frontDoor(t, [clusterOf({ a: a.port })], { threads: 2 })
  await Promise.all(Array.from({ length: 128 }, () => get(port, '/')))
  const shares = [board.get(0, 0, 'started'), board.get(1, 0, 'started')]
  t.equal(shares[0]! + shares[1]!, 128)
  t.ok(Math.min(...shares) >= 32, `each thread had its share: ${shares.join(' and ')}`)
})

t.test('a port in use is refused in words, with nothing left running', async t => {
  const squatter = createServer().listen(0, '127.0.0.1')
  await once(squatter, 'listening')
  t.teardown(() => squatter.close())
  const { port } = squatter.address() as { port: number }
  for (const threads of [0, 2]) {
    const listeners = [{ host: '127.0.0.1', port }]
    await t.rejects(frontDoor(t, [clusterOf({ a: 1 })], { threads, listeners }), {
      code: 'port_in_use',
      message: new RegExp(`127\\.0\\.0\\.1:${port}`),
    })
  }
})

t.test('a port that another one shares is in use too', async t => {
  const a = await origin(t, 'a')
  const { port } = await frontDoor(t, [clusterOf({ a: a.port })], { threads: 2 })
  const listeners = [{ host: '127.0.0.1', port }]
  await t.rejects(frontDoor(t, [clusterOf({ a: a.port })], { threads: 2, listeners }), {
    code: 'port_in_use',
  })
  t.equal((await get(port, '/')).body, 'a', 'who was there first serves on')
})

const backend = (id: string, port: number) => ({
  id,
  host: '127.0.0.1',
  port,
  weight: 1,
  incarnation: `of ${id} ${port}`,
  instance: null,
  verified: true,
  mark: null,
})

/** Every worker thread that is started from here on. */
function watchWorkers(t: Test): readonly Worker[] {
  const workers: Worker[] = []
  const note = (worker: Worker) => workers.push(worker)
  process.on('worker', note)
  t.teardown(() => process.off('worker', note))
  return workers
}

function refuses(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => resolve(true))
    socket.on('connect', () => {
      socket.destroy()
      resolve(false)
    })
  })
}
