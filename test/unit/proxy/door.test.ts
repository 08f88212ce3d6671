/** A listening socket: who gets its connections may change, and nobody who has come is lost by it. */
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { TidegateError } from '../../../lib/errors.ts'
import { silentLog } from '../../../lib/log.ts'
import { Door, type Receiver, requireFreePort } from '../../../lib/proxy/door.ts'

const here = { host: '127.0.0.1', port: 0 }

async function open(
  t: Test,
  receiver: Receiver = socket => socket.destroy(),
  address = here,
  reusePort = false,
) {
  const door = await Door.open(address, { reusePort, log: silentLog, receiver })
  t.teardown(() => door.close())
  return door
}

async function visit(t: Test, { host, port }: { host: string; port: number }): Promise<Socket> {
  const socket = connect(port, host)
  t.teardown(() => socket.destroy())
  await once(socket, 'connect')
  return socket
}

t.test('a port in use is named, with what to do', async t => {
  const door = await open(t)
  const again = open(t, undefined, { ...here, port: door.port })
  const error = await again.catch((error: unknown) => error)
  t.type(error, TidegateError)
  t.match(error, { code: 'port_in_use', message: new RegExp(`127\\.0\\.0\\.1:${door.port} .*listeners`) })
  await t.rejects(requireFreePort({ ...here, port: door.port }), { code: 'port_in_use' })
  await t.rejects(open(t, undefined, { host: '192.0.2.1', port: 0 }), { code: 'invalid_config' })
})

t.test('several are open on one port where they share it', async t => {
  const first = await open(t, undefined, here, true)
  const second = await open(t, undefined, { ...here, port: first.port }, true)
  t.equal(second.port, first.port)
})

t.test('handed to another: the next connection is his, and those before are not touched', async t => {
  const greeted = (name: string) => (socket: Socket) => void socket.on('error', () => {}).write(name)
  const door = await open(t, greeted('one'))
  const early = await visit(t, door)
  t.equal(String((await once(early, 'data'))[0]), 'one')
  door.handTo(greeted('two'))
  const late = await visit(t, door)
  t.equal(String((await once(late, 'data'))[0]), 'two')
  await door.close()
  await t.rejects(visit(t, door), { code: 'ECONNREFUSED' })
  t.strictSame([early.destroyed, late.destroyed], [false, false])
})

t.test('who waits to be accepted is let in before it closes', async t => {
  const accepted: Socket[] = []
  const door = await open(t, socket => {
    accepted.push(socket.on('error', () => {}))
    socket.end('hello')
  })
  const visitors = Array.from({ length: 40 }, () => connect(door.port, door.host))
  const greeted = visitors.map(async visitor => String((await once(visitor, 'data'))[0]))
  // The kernel has made all of them before this loop looks again.
  spawnSync('true')
  await door.close()
  t.strictSame(new Set(await Promise.all(greeted)), new Set(['hello']))
  t.equal(accepted.length, visitors.length)
  await t.rejects(visit(t, door), { code: 'ECONNREFUSED' })
})
