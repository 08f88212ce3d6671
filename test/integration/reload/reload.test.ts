/** A reload on real threads and sockets: everything that stays keeps its connections, what leaves is seen out, a fault changes nothing. */
import { once } from 'node:events'
import { Agent } from 'node:http'
import { createServer } from 'node:net'
import t, { type Test } from 'tap'
import { askOnce } from '../../support/ask-once.ts'
import { get } from '../../support/load.ts'
import { origin } from '../../support/origin.ts'
import { Echoing, reloadable } from '../../support/reloadable.ts'
import { until } from '../../support/wait.ts'

/** A process that is starved, or stopped for a while, is not what is tested here. */
const patienceMs = 120_000

const at = (port: number) => `127.0.0.1:${port}`

function document(ports: Readonly<Record<string, number>>, over: object = {}, cluster: object = {}) {
  return {
    listeners: [{ address: '127.0.0.1:0' }],
    threads: 0,
    admin: { address: '127.0.0.1:0' },
    store: { kind: 'memory' },
    // A machine that has much else to do is not what is tested here.
    overload: { max_event_loop_delay: '60s' },
    clusters: [
      {
        id: 'web',
        backends: Object.entries(ports).map(([id, port]) => ({ id, address: at(port) })),
        drain: { grace_period_seconds: 1 },
        health: { interval: '200ms', timeout: '30s', healthy_threshold: 1 },
        balance: 'round_robin',
        ...cluster,
      },
    ],
    ...over,
  }
}

/** Clients that ask all the time on connections of their own; what goes wrong is kept. */
function clients(t: Test, port: number, count: number) {
  const agent = new Agent({ keepAlive: true, maxSockets: count })
  const failures: string[] = []
  let answers = 0
  let stopped = false
  const loops = Array.from({ length: count }, async () => {
    while (!stopped) {
      const answer = await get(port, '/', { agent, timeoutMs: patienceMs }).catch((error: Error) => ({
        status: 0,
        body: error.message,
      }))
      if (answer.status === 200) answers++
      else failures.push(`${answer.status} ${answer.body}`)
    }
  })
  const stop = async () => {
    stopped = true
    await Promise.all(loops)
    agent.destroy()
  }
  t.teardown(stop)
  const further = (more: number) => {
    const target = answers + more
    return until(`${more} further answers`, () => answers >= target)
  }
  return { failures, stop, further }
}

t.test('under load: no WebSocket and no request is lost by whatever may change', async t => {
  const [a, b, c] = [await origin(t, 'a'), await origin(t, 'b'), await origin(t, 'c')]
  const both = { a: a.port, b: b.port }
  const threads = { threads: 2 }
  const door = await reloadable(t, document(both, threads))
  const sockets = await Promise.all(Array.from({ length: 20 }, () => Echoing.open(door.port())))
  const load = clients(t, door.port(), 8)
  await load.further(50)
  const more = { ...both, c: c.port }
  const steps = [
    document(both, {
      ...threads,
      trusted_proxies: ['127.0.0.0/8'],
      debug_headers: true,
      shutdown: { grace: '1s' },
    }),
    document(both, threads, {
      balance: 'random',
      timeouts: { idle: '7s' },
      affinity: 'cookie',
      drain: { sessions: 'keep' },
    }),
    document(more, { ...threads, listeners: [{ address: '127.0.0.1:0' }, { address: '127.0.0.2:0' }] }),
    document(more, threads, {
      routes: [{ path: '/' }, { path: '/more' }],
      health: { interval: '100ms', timeout: '30s' },
    }),
  ]
  for (const [i, step] of steps.entries()) {
    const generation = door.server.control.cluster('web').generation
    const outcome = await door.become(step)
    t.ok(outcome.changed && outcome.generation > generation, `${i}: ${outcome.changes.join('; ')}`)
    t.strictSame(outcome.leaving, [])
    await load.further(50)
    await Promise.all(sockets.map(socket => socket.echo()))
  }
  await load.stop()
  t.strictSame(load.failures, [])
  t.ok(sockets.every(socket => socket.open))
  t.equal(door.server.control.backend('web', 'c').state, 'ready')
  for (const { socket } of sockets) socket.terminate()
})

t.test('who leaves is drained by the settings of its cluster; who stays is not touched', async t => {
  const [a, b] = [await origin(t, 'a'), await origin(t, 'b')]
  const door = await reloadable(t, document({ a: a.port, b: b.port }))
  const sockets = await Promise.all(Array.from({ length: 8 }, () => Echoing.open(door.port())))
  const load = clients(t, door.port(), 4)
  await load.further(20)
  t.equal(door.server.control.backend('web', 'b').tunnels, 4)
  const outcome = await door.become(document({ a: a.port }))
  t.match(outcome, { changes: ['backend web/b removed'], leaving: [{ cluster_id: 'web', backend_id: 'b' }] })
  t.ok(
    sockets.every(socket => socket.open),
    'its tunnels have the grace period',
  )
  const codes = await until('those of b to be told', async () => {
    const gone = sockets.filter(socket => !socket.open)
    return gone.length === 4 && Promise.all(gone.map(socket => socket.closed))
  })
  t.strictSame(codes, [1001, 1001, 1001, 1001])
  await until('b to be out', () => door.server.control.backends('web').length === 1)
  await Promise.all(sockets.filter(socket => socket.open).map(socket => socket.echo()))
  await load.further(20)
  await load.stop()
  t.strictSame(load.failures, [])
  const reasons = (await door.server.control.history('web', 10)).map(({ reason }) => reason)
  t.match(reasons, ['Reloaded the configuration: backend web/b removed'])
  t.match(door.events.find(({ event }) => event.type === 'reloaded')?.event, {
    changes: ['backend web/b removed'],
    error: null,
  })
  for (const { socket } of sockets) socket.terminate()
})

t.test('all backends at once: those who leave go on until one who came is ready', async t => {
  const [a, b] = [await origin(t, 'a'), await origin(t, 'b')]
  const door = await reloadable(t, document({ a: a.port }))
  const load = clients(t, door.port(), 4)
  await load.further(20)
  await door.become(document({ b: b.port }))
  await until('a to be out', () => door.server.control.backends('web').length === 1)
  t.equal((await get(door.port(), '/')).body, 'b')
  // The same id at another address: nobody else could serve meanwhile, so it is believed.
  await door.become(document({ b: a.port }))
  t.equal((await get(door.port(), '/')).body, 'a')
  await load.stop()
  t.strictSame(load.failures, [])
})

for (const threads of [0, 2]) {
  t.test(`threads: ${threads}: a removed listener takes nobody, and what is open on it goes on`, async t => {
    let release = () => {}
    const a = await origin(t, 'a', (request, response) => {
      if (request.url !== '/slow') return void response.end('a')
      response.write('begun ')
      release = () => response.end('and done')
    })
    const two = { listeners: [{ address: '127.0.0.1:0' }, { address: '127.0.0.2:0' }], threads }
    const door = await reloadable(t, document({ a: a.port }, two))
    const [kept, gone] = [door.port(0), door.port(1)]
    const agent = new Agent({ keepAlive: true })
    const socket = await Echoing.open(gone, { host: '127.0.0.2' })
    const slow = get(gone, '/slow', { host: '127.0.0.2', agent })
    await until('it is under way', () => door.server.control.backend('web', 'a').in_flight === 1)
    const { changes } = await door.become(document({ a: a.port }, { threads }))
    t.match(changes, ['listener 127.0.0.2:0 removed'])
    await t.rejects(get(gone, '/', { host: '127.0.0.2' }), { code: 'ECONNREFUSED' })
    await socket.echo()
    t.equal((await get(kept, '/')).body, 'a')
    release()
    const answer = await slow
    t.equal(answer.body, 'begun and done')
    await socket.echo()
    agent.destroy()
    socket.socket.terminate()
  })
}

t.test('a listener whose settings change keeps its port, and what is open on it goes on', async t => {
  const a = await origin(t, 'a')
  for (const threads of [0, 1]) {
    const listeners = (over: object) => ({ listeners: [{ address: '127.0.0.1:0', ...over }], threads })
    const door = await reloadable(t, document({ a: a.port }, listeners({})))
    const port = door.port()
    const socket = await Echoing.open(port)
    const load = clients(t, port, 4)
    await load.further(20)
    const { changes } = await door.become(document({ a: a.port }, listeners({ engine: 'http-proxy-3' })))
    t.strictSame(changes, ['listener 127.0.0.1:0 changed'])
    t.equal(door.port(), port)
    await load.further(40)
    await socket.echo()
    await load.stop()
    t.strictSame(load.failures, [])
    socket.socket.terminate()
  }
})

t.test('connections that are just being made are not reset by a listener that changes', async t => {
  const a = await origin(t, 'a')
  const changes = [
    {},
    { engine: 'http-proxy-3' },
    { protocol: 'h2c' },
    { engine: 'http-proxy-3', protocol: 'h2c' },
  ]
  const listeners = (i: number) => ({
    listeners: [{ address: '127.0.0.1:0', ...changes[i % changes.length] }],
    threads: 2,
  })
  const door = await reloadable(t, document({ a: a.port }, listeners(0)))
  const port = door.port()
  let [answers, stopped] = [0, false]
  const failures: string[] = []
  const loops = Array.from({ length: 12 }, async () => {
    while (!stopped) {
      const got = await askOnce(port).catch((error: NodeJS.ErrnoException) => `${error.code}`)
      if (/^HTTP\/1\.1 200 [\s\S]*\r\n\r\na$/.test(got)) answers++
      else failures.push(got)
    }
  })
  for (let i = 1; i <= 20; i++) {
    const outcome = await door.become(document({ a: a.port }, listeners(i)))
    t.ok(outcome.changed)
    const target = answers + 10
    await until('10 further answers', () => answers >= target)
  }
  stopped = true
  await Promise.all(loops)
  t.strictSame(failures, [])
  t.equal(door.port(), port)
  t.comment(`${answers} connections during 20 reloads`)
})

t.test('a fault, a refusal, a port in use: nothing of it is applied', async t => {
  const a = await origin(t, 'a')
  const squatter = createServer().listen(0, '127.0.0.1')
  await once(squatter, 'listening')
  t.teardown(() => squatter.close())
  const { port: taken } = squatter.address() as { port: number }
  const door = await reloadable(t, document({ a: a.port }))
  const socket = await Echoing.open(door.port())
  const before = {
    ...door.server.control.cluster('web'),
    backends: door.server.control.backends('web').length,
  }
  const otherwise = { balance: 'random' }
  const two = { a: a.port, b: a.port }
  const cases = [
    [document(two, { thread: 2 }, otherwise), { code: 'invalid_config', message: /thread: unknown key/ }],
    [
      document(two, { threads: 1, admin: { address: '127.0.0.1:1' } }, otherwise),
      { code: 'reload_refused', details: { refusals: [{ path: 'threads' }, { path: 'admin' }] } },
    ],
    [
      document(
        two,
        { listeners: [{ address: '127.0.0.1:0' }, { address: '127.0.0.3:0' }, { address: at(taken) }] },
        otherwise,
      ),
      { code: 'port_in_use' },
    ],
  ] as const
  for (const [next, expected] of cases) {
    await t.rejects(door.become(next), expected, expected.code)
    t.strictSame(
      { ...door.server.control.cluster('web'), backends: door.server.control.backends('web').length },
      before,
    )
    t.equal(door.server.listeners.length, 1)
    await socket.echo()
    const { event } = door.events.findLast(({ event }) => event.type === 'reloaded')!
    t.match(event, { changes: [], error: { code: expected.code } })
  }
  t.strictSame(await door.server.control.history('web', 10), [])
  t.match(
    await door.become(document({ a: a.port })),
    { changed: false, changes: [] },
    'and the old text is no change',
  )
  t.equal((await get(door.port(), '/')).body, 'a')
  socket.socket.terminate()
})

t.test('clusters come and go; what an operator did to one comes back with it', async t => {
  const [a, b] = [await origin(t, 'a'), await origin(t, 'b')]
  const other = { id: 'other', routes: [{ path: '/other' }], backends: [{ id: 'b', address: at(b.port) }] }
  const alone = document({ a: a.port })
  const together = { ...alone, clusters: [...alone.clusters, other] }
  const door = await reloadable(t, alone)
  const { control } = door.server
  await door.become(together)
  t.equal((await get(door.port(), '/other')).body, 'b')
  const where = { cluster: 'other', host: '127.0.0.1', port: b.port, weight: 1 }
  await control.execute({ kind: 'register_backend', backend: 'x', ...where }, 'test')
  await control.execute({ kind: 'maint_backend', cluster: 'other', backend: 'b' }, 'test')
  await door.become(alone)
  t.equal((await get(door.port(), '/other')).body, 'a')
  t.throws(() => control.backends('other'), { code: 'unknown_cluster' })
  await door.become(together)
  t.strictSame(
    control.backends('other').map(({ id, state }) => `${id} ${state === 'maint' ? state : 'serves'}`),
    ['b maint', 'x serves'],
  )
  const nodes = [{ id: 'extra', driver: 'process', options: { directory: t.testdir() } }]
  t.match((await door.become({ ...together, nodes })).changes, ['node extra added'])
  t.match(await control.nodes(), [{ node_id: 'extra', reachable: true }])
  await t.rejects(door.become(together), { code: 'reload_refused', message: /nodes\[extra\]/ })
  const twice = { ...other, backends: [...other.backends, { id: 'x', address: at(b.port) }] }
  await t.rejects(door.become({ ...alone, nodes, clusters: [...alone.clusters, twice] }), {
    code: 'reload_refused',
    message: /clusters\[other\]\.backends\[x\].*admin API/,
  })
})
