/** Certificates that change on disk while threads serve, and sessions that are resumed on another thread than they were made on. */
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { systemClock } from '../../../lib/clock.ts'
import { Events, type TidegateEvent } from '../../../lib/events.ts'
import { silentLog } from '../../../lib/log.ts'
import { TlsKeeper } from '../../../lib/proxy/tls/keeper.ts'
import { Authority, listenerTls } from '../../support/certificates.ts'
import { clusterOf, frontDoor } from '../../support/front-door.ts'
import { origin } from '../../support/origin.ts'
import { reloadable } from '../../support/reloadable.ts'
import { until } from '../../support/wait.ts'

const ca = new Authority(t.testdir())
const threads = 2

async function door(t: Test) {
  const pair = ca.issue('server')
  const { port: backend } = await origin(t, 'hello')
  const listener = { host: '127.0.0.1', port: 0, tls: listenerTls([pair]) }
  const cluster = clusterOf({ a: backend })
  const events = new Events(systemClock.now)
  const told: TidegateEvent[] = []
  events.subscribe(({ event }) => told.push(event))
  const keeper = await TlsKeeper.open(
    { listeners: [listener], clusters: [cluster] },
    { clock: systemClock, log: silentLog, events },
  )
  t.teardown(() => keeper.close())
  const front = await frontDoor(t, [cluster], { threads, listeners: [listener], tls: keeper })
  await until('a backend', () => front.clusters.backends('web')[0]?.state === 'ready')
  return { front, keeper, pair, told }
}

function begin(port: number, more: ConnectionOptions = {}): TLSSocket {
  return connect({ port, host: '127.0.0.1', servername: 'localhost', ca: ca.pem, ...more })
}

async function open(port: number, more: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = begin(port, more)
  await once(socket, 'secureConnect')
  return socket
}

async function ask(socket: TLSSocket): Promise<string> {
  socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
  const [answer] = await once(socket, 'data')
  return String(answer)
}

const fingerprint = (socket: TLSSocket) => socket.getPeerCertificate().fingerprint256

/** Of a connection of its own. */
async function served(port: number): Promise<string> {
  const socket = await open(port)
  const print = fingerprint(socket)
  socket.destroy()
  return print
}

t.test('a renewed certificate is served by every thread, and nobody is disconnected for it', async t => {
  const { front, keeper, pair, told } = await door(t)
  const before = await served(front.port)
  const kept = await Promise.all(Array.from({ length: 8 }, () => open(front.port)))
  const socket = new WebSocket(`wss://localhost:${front.port}/`, { ca: ca.pem, host: '127.0.0.1' })
  await once(socket, 'open')

  ca.issue('server')
  await keeper.look()
  t.match(told, [{ type: 'tls', use: 'listeners[0].tls', status: 'renewed' }])
  // New connections fall to both threads: sixteen in a row without the old one leave no thread behind.
  await until('the new certificate everywhere', async () => {
    const prints = await Promise.all(Array.from({ length: 16 }, () => served(front.port)))
    return prints.every(print => print !== before)
  })
  for (const old of kept) {
    t.equal(fingerprint(old), before)
    t.match(await ask(old), /200 OK/)
    old.destroy()
  }
  socket.send('still here')
  const [echo] = await once(socket, 'message')
  t.equal(String(echo), 'still here')

  const renewed = await served(front.port)
  writeFileSync(pair.key, 'not a key')
  await keeper.look()
  t.equal(told.length, 1, 'a single look may fall between the two files of a renewal')
  await keeper.look()
  t.match(told[1], { type: 'tls', status: 'refused', detail: /server\.key: there is no private key in it/ })
  t.equal(await served(front.port), renewed, 'the former stays in use')
  ca.issue('server')
  await keeper.look()
  t.match(told[2], { type: 'tls', status: 'renewed' })
  socket.close()
})

for (const version of ['TLSv1.2', 'TLSv1.3'] as const)
  t.test(
    `${version}: a session is resumed on whichever thread its client meets, until the ticket keys are rotated`,
    async t => {
      const { front, keeper } = await door(t)
      const spoken = { minVersion: version, maxVersion: version }
      const first = begin(front.port, spoken)
      // In 1.2 it comes with the handshake, in 1.3 after it.
      const session = new Promise<Buffer>(resolve => first.once('session', resolve))
      await once(first, 'secureConnect')
      t.equal(first.getProtocol(), version)
      t.match(await ask(first), /hello/)
      first.destroy()
      const resumed = { ...spoken, session: await session }
      const member = front.clusters.table().clusters[0]!.members[0]!
      const servedBy = (thread: number) => front.board.get(thread, member.slot, 'started')
      const before = [servedBy(0), servedBy(1)]
      let connections = 0
      // The kernel chooses the thread: until both have had one, and each time it was the same session.
      await until('both threads', async () => {
        const socket = await open(front.port, resumed)
        t.ok(socket.isSessionReused(), `connection ${++connections}`)
        await ask(socket)
        socket.destroy()
        return servedBy(0) > before[0]! && servedBy(1) > before[1]!
      })
      keeper.rotateTicketKeys()
      await until('full handshakes', async () => {
        const socket = await open(front.port, resumed)
        const reused = socket.isSessionReused()
        socket.destroy()
        return !reused
      })
    },
  )

t.test('a reload brings TLS to a listener, changes its certificate, and takes it away', async t => {
  const [one, two] = [ca.issue('one'), ca.issue('two')]
  const { port } = await origin(t, 'hello')
  const document = (tls: object | null) => ({
    listeners: [{ address: '127.0.0.1:0', ...(tls ? { tls } : {}) }],
    admin: { address: '127.0.0.1:0' },
    threads: 0,
    store: { kind: 'memory' },
    clusters: [
      { id: 'web', backends: [{ id: 'a', address: `127.0.0.1:${port}` }], health: { interval: '50ms' } },
    ],
  })
  const door = await reloadable(t, document({ certificates: [one] }))
  const commonName = async () => {
    const socket = await open(door.port())
    const name = socket.getPeerCertificate().subject.CN
    socket.destroy()
    return name
  }
  t.equal(await commonName(), 'one')
  await door.become(document({ certificates: [two] }))
  t.equal(await commonName(), 'two')
  const broken = { cert: two.cert, key: one.key }
  await t.rejects(door.become(document({ certificates: [broken] })), {
    code: 'invalid_config',
    message:
      /listeners\[0\]\.tls\.certificates\[0\]\.key: .*one\.key: the key does not belong to the certificate/,
  })
  t.equal(await commonName(), 'two', 'nothing has changed')
  await door.become(document(null))
  await until('plain text to be spoken', async () => {
    const answer = await fetch(`http://127.0.0.1:${door.port()}/`)
    return answer.status === 200
  })
})
