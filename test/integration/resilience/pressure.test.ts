/** Load shedding under real pressure: clients that do not read fill a thread's memory, new requests are refused, and all is well when they go. */
import { connect, type Socket } from 'node:net'
import t from 'tap'
import { parseConfig } from '../../../lib/config/parse.ts'
import { silentLog } from '../../../lib/log.ts'
import { startServer } from '../../../lib/server.ts'
import { openRawBackend } from '../../support/traffic.ts'
import { until } from '../../support/wait.ts'

const readersMax = 3_000
const batch = 50
const piece = 'x'.repeat(256 * 1024)

t.test('memory that runs short refuses new requests with 503, and comes back', async t => {
  const backend = await openRawBackend((socket, text) => {
    const big = text.includes('/big')
    const body = big ? piece : 'ok'
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length * (big ? 16 : 1)}\r\n\r\n`)
    for (let n = 0; n < (big ? 16 : 1); n++) socket.write(body)
  })
  t.teardown(() => backend.close())
  const text = JSON.stringify({
    listeners: [{ address: '127.0.0.1:0' }],
    admin: { address: '127.0.0.1:0' },
    threads: 1,
    store: { kind: 'memory' },
    overload: { max_memory: '48MiB', max_event_loop_delay: '60s' },
    clusters: [
      {
        id: 'web',
        backends: [{ id: 'a', address: `127.0.0.1:${backend.port}` }],
        health: { interval: '1h', healthy_threshold: 1 },
      },
    ],
  })
  const parsed = parseConfig(text, { file: 't', directory: '/d', cpus: 1 })
  if ('faults' in parsed) throw new Error(JSON.stringify(parsed.faults))
  const server = await startServer(parsed.config, { log: silentLog })
  t.teardown(() => server.close({ graceMs: 0 }))
  const { port } = server.listeners[0]!
  const asked = async () => {
    const answer = await fetch(`http://127.0.0.1:${port}/`)
    return { status: answer.status, retryAfter: answer.headers.get('retry-after'), body: await answer.text() }
  }
  await until('a backend', async () => (await asked()).status === 200)

  const readers: Socket[] = []
  const slow = () => {
    const socket = connect({ port, host: '127.0.0.1' }, () =>
      socket.write('GET /big HTTP/1.1\r\nHost: x\r\n\r\n'),
    )
    socket.on('error', () => {})
    socket.pause()
    readers.push(socket)
  }
  t.teardown(() => {
    for (const socket of readers) socket.destroy()
  })
  let refused: Awaited<ReturnType<typeof asked>> | null = null
  await until('requests to be refused', async () => {
    for (let n = 0; n < batch && readers.length < readersMax; n++) slow()
    for (let n = 0; n < 10; n++) {
      const answer = await asked()
      if (answer.status === 503) refused = answer
    }
    return refused
  })
  t.match(refused, { status: 503, retryAfter: '1', body: /overloaded/i })
  t.comment(`with ${readers.length} clients that do not read`)
  for (const socket of readers) socket.destroy()
  await until('twenty in a row to be served', async () => {
    for (let n = 0; n < 20; n++) if ((await asked()).status !== 200) return false
    return true
  })
  t.pass('nobody has to start it again')
})
