/**
 * What Tidegate takes from those who wait for an instance: their heads, and one piece of what they send. A body that is large waits with its
 * client; it is neither read nor kept.
 */
import { connect, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { silentLog } from '../../../lib/log.ts'
import { startServer } from '../../../lib/server.ts'
import { demoCluster } from '../../support/demo-cluster.ts'
import { freePort } from '../../support/ports.ts'
import { until } from '../../support/wait.ts'

const waiting = 4
const bodyBytes = 64 * 2 ** 20
/** A head and what was read with it, and once more what was on its way when reading stopped. */
const heldBytesMax = 3 * 64 * 1024
const looks = 10

t.test('of bodies of 64 MiB that wait, no more than a piece each is taken', async t => {
  const port = await freePort()
  const { config } = await demoCluster(t, {
    driver: 'process',
    cloneFrom: 'golden',
    affinity: 'none',
    threads: 0,
    scaleToZero: { idle_after: '1h', max_waiting: waiting, wait_timeout: '120s' },
    // It never answers: whoever waits, waits.
    command: ['node', '-e', `require('node:net').createServer().listen(${port}, '127.0.0.1')`],
  })
  const server = await startServer(config, { log: silentLog })
  t.teardown(() => server.close({ graceMs: 0 }))
  const door = server.listeners[0]!.port
  const clients = await Promise.all(Array.from({ length: waiting }, () => sender(t, door)))
  // What the kernel takes for them is full: nothing moves until somebody reads.
  const inside = () =>
    ends().filter(
      socket => socket.localPort === door && clients.some(one => one.localPort === socket.remotePort),
    )
  let before = ''
  let still = 0
  await until('all have come, and nothing more is read of them', () => {
    const now = inside().map(({ bytesRead }) => bytesRead)
    still = now.length === waiting && now.every(bytes => bytes > 0) && before === `${now}` ? still + 1 : 0
    before = `${now}`
    return still >= looks
  })
  for (const { bytesRead } of inside()) t.ok(bytesRead <= heldBytesMax, `${bytesRead} bytes were taken of it`)
  for (const client of clients) t.ok(client.writableLength > 2 ** 20, 'the rest is with its client')
  t.match(server.control.backends('demo'), [], 'they wait')
})

/** The connections that this process has. */
function ends(): readonly Socket[] {
  const handles = (process as unknown as { _getActiveHandles(): object[] })._getActiveHandles()
  return handles.filter((handle): handle is Socket => 'bytesRead' in handle && 'remotePort' in handle)
}

/** A client that sends a large body all at once. */
async function sender(t: Test, port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  socket.on('error', () => {})
  await new Promise(resolve => socket.once('connect', resolve))
  socket.write(`POST /sessions/x HTTP/1.1\r\nHost: x\r\nContent-Length: ${bodyBytes}\r\n\r\n`)
  socket.write(Buffer.alloc(bodyBytes))
  return socket
}
