/**
 * More threads and fewer by a reload, under load: no connection is reset, tunnels stay where they are, and what was counted stays counted.
 * Where the kernel does not hand connections over that nobody has accepted yet (net.ipv4.tcp_migrate_req), it may reset one that comes in
 * the very moment in which a socket is closed; a client that was accepted never sees that.
 */
import { readFileSync } from 'node:fs'
import { Agent } from 'node:http'
import t, { type Test } from 'tap'
import { askOnce } from '../../support/ask-once.ts'
import { get } from '../../support/load.ts'
import { origin } from '../../support/origin.ts'
import { Echoing, type Reloadable, reloadable } from '../../support/reloadable.ts'
import { until } from '../../support/wait.ts'

const document = (port: number, threads: number, over: object = {}) => ({
  listeners: [{ address: '127.0.0.1:0' }],
  threads,
  admin: { address: '127.0.0.1:0' },
  store: { kind: 'memory' },
  // A machine that has much else to do is not what is tested here.
  overload: { max_event_loop_delay: '60s' },
  shutdown: { grace: '600s', tunnels: 'keep' },
  clusters: [
    {
      id: 'web',
      backends: [{ id: 'a', address: `127.0.0.1:${port}` }],
      health: { type: 'tcp', timeout: '60s' },
      timeouts: { connect: '60s' },
    },
  ],
  ...over,
})

/** Numbers of the threads that started or stopped, in the order of their events. */
const threadsThat = (door: Reloadable, status: string) =>
  door.events.flatMap(({ event }) =>
    event.type === 'thread' && event.status === status ? [event.thread] : [],
  )

/** Clients that make a connection for each request. */
function newcomers(t: Test, port: number, count: number) {
  const failures: string[] = []
  let [answers, resets, stopped] = [0, 0, false]
  const loops = Array.from({ length: count }, async () => {
    while (!stopped) {
      const got = await askOnce(port).catch((error: NodeJS.ErrnoException) => `${error.code}`)
      if (/^HTTP\/1\.1 200 [\s\S]*\r\n\r\na$/.test(got)) answers++
      else if (!handsOver && /^(ECONNRESET|EPIPE)$/.test(got)) resets++
      else failures.push(got)
    }
  })
  const stop = async () => {
    stopped = true
    await Promise.all(loops)
  }
  t.teardown(stop)
  const further = (more: number) => {
    const target = answers + more
    return until(`${more} further answers`, () => answers >= target || failures.length > 0)
  }
  return { failures, stop, further, answers: () => answers, resets: () => resets }
}

const handsOver = readFileSync('/proc/sys/net/ipv4/tcp_migrate_req', 'utf8').trim() === '1'

/** Clients that keep their connections. */
function regulars(t: Test, port: number, count: number) {
  const agent = new Agent({ keepAlive: true, maxSockets: count })
  const failures: string[] = []
  let stopped = false
  const loops = Array.from({ length: count }, async () => {
    while (!stopped) {
      const answer = await get(port, '/', { agent, timeoutMs: patienceMs }).catch((error: Error) => error)
      if (answer instanceof Error || answer.status !== 200) failures.push(String(answer))
    }
  })
  const stop = async () => {
    stopped = true
    await Promise.all(loops)
    agent.destroy()
  }
  t.teardown(stop)
  return { failures, stop }
}

/** Asked for again where the kernel reset it. */
async function opened(port: number): Promise<Echoing> {
  for (let left = 5; ; left--) {
    try {
      return await Echoing.open(port)
    } catch (error) {
      if (handsOver || left === 0) throw error
    }
  }
}

/** Longer than anybody may freeze or starve the process. */
const patienceMs = 120_000

t.test('more and fewer under load: no connection is reset, and no WebSocket is closed', async t => {
  const a = await origin(t, 'a')
  const door = await reloadable(t, document(a.port, 1))
  const sockets = [await Echoing.open(door.port())]
  const kept = regulars(t, door.port(), 8)
  const load = newcomers(t, door.port(), 8)
  await load.further(20)
  for (const threads of [3, 1, 4, 2]) {
    const { changes } = await door.become(document(a.port, threads))
    t.match(changes, [/^threads: \d to \d$/])
    sockets.push(await opened(door.port()), await opened(door.port()))
    await load.further(60)
    await Promise.all(sockets.map(socket => socket.echo()))
  }
  await Promise.all([load.stop(), kept.stop()])
  t.strictSame(kept.failures, [])
  t.strictSame(load.failures, [], `${load.answers()} connections`)
  t.comment(`${load.answers()} connections, ${load.resets()} reset by the kernel before they were accepted`)
  t.ok(sockets.every(socket => socket.open))
  t.equal(door.server.control.backend('web', 'a').tunnels, sockets.length, 'those on leaving threads too')
  for (const { socket } of sockets) socket.terminate()
  await until('the board to be at zero', () => {
    const { in_flight, tunnels } = door.server.control.backend('web', 'a')
    return in_flight === 0 && tunnels === 0
  })
  await until('all that left to have ended', () => threadsThat(door, 'stopped').length === 4)
  t.ok(
    door.server.control.backend('web', 'a').requests >= load.answers() + sockets.length,
    'what a thread counted stays counted when it has left',
  )
  t.strictSame(threadsThat(door, 'crashed'), [])
})

t.test(
  'new threads serve before the reload answers, and a leaving one lets its tunnels go as told',
  async t => {
    const a = await origin(t, 'a')
    const closing = { shutdown: { grace: '2s', tunnels: 'close', close_spread: '0s', close_code: 1012 } }
    const door = await reloadable(t, document(a.port, 1, closing))
    await door.become(document(a.port, 3, closing))
    t.strictSame(threadsThat(door, 'started').sort(), [1, 2])
    const sockets = await Promise.all(Array.from({ length: 24 }, () => Echoing.open(door.port())))
    await door.become(document(a.port, 1, closing))
    await until('two to have left', () => threadsThat(door, 'stopped').length === 2)
    const gone = sockets.filter(socket => !socket.open)
    t.ok(gone.length > 0 && gone.length < 24, `${gone.length} of 24 were on the two`)
    for (const socket of gone) t.equal(await socket.closed, 1012)
    await Promise.all(sockets.filter(socket => socket.open).map(socket => socket.echo()))
    t.equal((await get(door.port(), '/')).body, 'a')
    for (const { socket } of sockets) socket.terminate()
  },
)

t.test('a refused reload takes back the threads that it had started', async t => {
  const a = await origin(t, 'a')
  const door = await reloadable(t, document(a.port, 1))
  const taken = { listeners: [{ address: '127.0.0.1:0' }, { address: `127.0.0.1:${a.port}` }] }
  await t.rejects(door.become(document(a.port, 3, taken)), { code: 'port_in_use' })
  await until('both to be gone', () => threadsThat(door, 'stopped').length === 2)
  t.equal((await get(door.port(), '/')).body, 'a')
  await t.rejects(door.become(document(a.port, 0)), {
    code: 'reload_refused',
    message: /`threads`.*main thread/,
  })
})
