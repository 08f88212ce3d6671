/** An operator's drain on a whole Tidegate with clients that have cookies and WebSockets: who stays, who moves, who is told, and when. */
import t, { type Test } from 'tap'
import { parseConfig } from '../../../lib/config/parse.ts'
import { silentLog } from '../../../lib/log.ts'
import { type Server, startServer } from '../../../lib/server.ts'
import { get } from '../../support/load.ts'
import { origin } from '../../support/origin.ts'
import { Echoing } from '../../support/reloadable.ts'
import { until } from '../../support/wait.ts'

interface Client {
  readonly jar: Map<string, string>
  home: string
}

async function scene(t: Test, { ttl = 600, directory = '', threads = 0 } = {}) {
  const [a, b] = [await origin(t, 'a'), await origin(t, 'b')]
  const text = JSON.stringify({
    listeners: [{ address: '127.0.0.1:0' }],
    threads,
    admin: { address: '127.0.0.1:0' },
    store: directory === '' ? { kind: 'memory' } : { kind: 'sqlite', path: 'tidegate.db' },
    clusters: [
      {
        id: 'web',
        affinity: { method: 'cookie', ttl_seconds: ttl },
        backends: [a, b].map(({ port }, i) => ({ id: 'ab'[i], address: `127.0.0.1:${port}` })),
        health: { interval: '1s', healthy_threshold: 1 },
      },
    ],
  })
  const boot = async () => {
    const parsed = parseConfig(text, { file: 't', directory: directory || '/d', cpus: 1 })
    if ('faults' in parsed) throw new Error(JSON.stringify(parsed.faults))
    const server = await startServer(parsed.config, { log: silentLog })
    t.teardown(() => server.close({ graceMs: 0 }))
    return server
  }
  const server = await boot()
  return { server, boot }
}

/** On the loop of control, and on threads of their own, which tell it what they saw. */
function onLoops(name: string, act: (t: Test, threads: number) => Promise<void>): void {
  for (const threads of [0, 2]) t.test(`${name} (threads: ${threads})`, t => act(t, threads))
}

const port = (server: Server) => server.listeners[0]!.port
const ask = async (server: Server, { jar }: Client) => (await get(port(server), '/', { jar })).body
const cookieOf = ({ jar }: Client) => [...jar].map(([name, value]) => `${name}=${value}`).join('; ')

/** A client that is bound to the backend, as control has been told. */
async function boundTo(server: Server, home: string): Promise<Client> {
  for (;;) {
    const client = { jar: new Map<string, string>(), home: '' }
    client.home = await ask(server, client)
    const known = () => (server.control.backend('web', client.home).sessions ?? 0) > 0
    await until('its session to be counted', known)
    if (client.home === home) return client
  }
}

const drain = (server: Server, policy: object) =>
  server.control.execute({ kind: 'drain_backend', cluster: 'web', backend: 'a', policy }, 'test')
const drained = (server: Server, ms = 20_000) => server.control.waitDrained('web', 'a', ms)

t.test(
  'sessions: cut: the next request is answered elsewhere, while what is under way has its time',
  async t => {
    const { server } = await scene(t)
    const client = await boundTo(server, 'a')
    const socket = await Echoing.open(port(server), { cookie: cookieOf(client) })
    await until('the tunnel to be counted', () => server.control.backend('web', 'a').tunnels === 1)
    await drain(server, { gracePeriodMs: 60_000, sessions: 'cut' })
    t.equal(await ask(server, client), 'b')
    await socket.echo()
    const proof = await drained(server, 50)
    t.match(proof, { drained: false, in_flight: 0, tunnels: 1, deadline_reached: false })
    t.type(proof.oldest_tunnel_seconds, 'number')
    const leftMs = Date.parse(proof.deadline_at!) - Date.now()
    t.ok(leftMs > 50_000 && leftMs <= 60_000, `the deadline is ${leftMs} ms away`)
    socket.socket.close()
    const end = await drained(server)
    t.match(end, { drained: true, tunnels: 0 })
    t.notOk('oldest_tunnel_seconds' in end)
  },
)

onLoops('sessions: repin: bound clients stay until the deadline, and move then', async (t, threads) => {
  const { server } = await scene(t, { threads })
  const client = await boundTo(server, 'a')
  await drain(server, { gracePeriodMs: 700 })
  t.equal(await ask(server, client), 'a')
  t.match(await drained(server), { drained: true, sessions: 1 }, 'a session holds nothing up')
  await until('its client to move', async () => (await ask(server, client)) === 'b')
})

t.test('sessions: keep: drained when the last session has ended, and nobody has to move', async t => {
  const { server } = await scene(t, { ttl: 1 })
  const client = await boundTo(server, 'a')
  await drain(server, { gracePeriodMs: 60_000, sessions: 'keep' })
  t.equal(await ask(server, client), 'a')
  const early = await drained(server, 20)
  t.match(early, { drained: false, in_flight: 0, tunnels: 0, sessions: 1 })
  t.equal(server.control.backend('web', 'a').state, 'draining')
  t.match(await drained(server), { drained: true, sessions: 0, deadline_reached: false })
  t.equal(server.control.backend('web', 'a').state, 'drained')
})

onLoops('sessions: keep: also one that control has not been told of', async (t, threads) => {
  const { server } = await scene(t, { ttl: 1, threads })
  for (let home = ''; home !== 'a'; ) home = await ask(server, { jar: new Map(), home })
  // Threads tell what they saw five times a second.
  await drain(server, { gracePeriodMs: 60_000, sessions: 'keep' })
  t.match(await drained(server, 20), { drained: false, in_flight: 0, tunnels: 0 })
  t.match(await drained(server), { drained: true, sessions: 0, deadline_reached: false })
})

onLoops(
  'tunnels: told with the code that was asked for, one after another, before the deadline',
  async (t, threads) => {
    const { server } = await scene(t, { threads })
    const client = await boundTo(server, 'a')
    const cookie = cookieOf(client)
    const sockets = await Promise.all(Array.from({ length: 8 }, () => Echoing.open(port(server), { cookie })))
    await until('the tunnels to be counted', () => server.control.backend('web', 'a').tunnels === 8)
    const order: number[] = []
    const closes = sockets.map(async ({ closed }) => {
      const code = await closed
      order.push(sockets.filter(({ open }) => open).length)
      return code
    })
    await drain(server, { gracePeriodMs: 800, closeCode: 1012, closeSpreadMs: 800 })
    t.strictSame(
      await Promise.all(closes),
      Array.from({ length: 8 }, () => 1012),
    )
    t.ok(new Set(order).size >= 4, `they did not end together: ${order}`)
    t.match(await drained(server), { drained: true, tunnels: 0 })
    t.equal(await ask(server, client), 'b', 'who was told does not come back here')
  },
)

t.test('tunnels: keep: left alone behind the deadline; ready takes it all back', async t => {
  const { server } = await scene(t)
  const client = await boundTo(server, 'a')
  const socket = await Echoing.open(port(server), { cookie: cookieOf(client) })
  await until('the tunnel to be counted', () => server.control.backend('web', 'a').tunnels === 1)
  await drain(server, { gracePeriodMs: 100, tunnels: 'keep' })
  await until('the deadline', async () => (await drained(server, 20)).deadline_reached)
  t.equal(await ask(server, client), 'b')
  await socket.echo()
  t.match(await drained(server, 20), { drained: false, tunnels: 1, deadline_reached: true })
  await server.control.execute({ kind: 'ready_backend', cluster: 'web', backend: 'a' }, 'test')
  await socket.echo()
  t.match(await drained(server, 20), { deadline_at: null, deadline_reached: false })
  socket.socket.terminate()
})

t.test('GET drain waits for the end of it, and changes nothing', async t => {
  const { server } = await scene(t)
  const url = `http://127.0.0.1:${server.admin!.port}/api/v1/clusters/web/backends/a/drain`
  const read = async (wait: string) => (await (await fetch(`${url}${wait}`)).json()) as { proof: object }
  t.match(await read(''), { proof: { deadline_at: null } }, 'nobody drains it')
  const client = await boundTo(server, 'a')
  const socket = await Echoing.open(port(server), { cookie: cookieOf(client) })
  await until('the tunnel to be counted', () => server.control.backend('web', 'a').tunnels === 1)
  await drain(server, { gracePeriodMs: 60_000, tunnels: 'keep' })
  t.match(await read(''), { proof: { drained: false, tunnels: 1 } }, 'without wait: at once')
  const end = read('?wait=60s')
  await socket.echo()
  socket.socket.close()
  t.match(await end, { backend: { id: 'a', state: 'drained' }, proof: { drained: true, tunnels: 0 } })
})

t.test('a restart goes on with what is left of the time', async t => {
  const { server, boot } = await scene(t, { directory: t.testdir() })
  const client = await boundTo(server, 'a')
  await drain(server, { gracePeriodMs: 60_000, sessions: 'keep' })
  const { deadline_at } = await drained(server, 20)
  await server.close({ graceMs: 0 })
  const second = await boot()
  const resumed = await drained(second, 20)
  t.match(
    resumed,
    { drained: false, sessions: 0, deadline_reached: false },
    'nobody has been seen yet, and may be there',
  )
  t.ok(Math.abs(Date.parse(resumed.deadline_at!) - Date.parse(deadline_at!)) < 50)
  t.equal(await ask(second, client), 'a')
  await drain(second, { gracePeriodMs: 300 })
  await second.close({ graceMs: 0 })
  await until('the deadline to pass', () => Date.now() > Date.parse(resumed.deadline_at!) - 60_000 + 400)
  const third = await boot()
  await until('the bound client to be answered elsewhere', async () => (await ask(third, client)) === 'b')
  t.equal(third.control.backend('web', 'a').state, 'drained')
})
