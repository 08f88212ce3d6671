/** The zone of a backend that is registered through the admin API: chosen by it, shown, and kept over a restart and a reload. */
import { join } from 'node:path'
import t from 'tap'
import { parseConfig } from '../../../lib/config/parse.ts'
import { silentLog } from '../../../lib/log.ts'
import { type Server, startServer } from '../../../lib/server.ts'
import { get } from '../../support/load.ts'
import { origin } from '../../support/origin.ts'
import { until } from '../../support/wait.ts'

t.test('new clients stay with a registered backend of the own zone', async t => {
  const [far, near] = [await origin(t, 'far'), await origin(t, 'near')]
  const cluster = {
    id: 'web',
    balance: 'round_robin',
    zone_preference: 'prefer',
    health: { interval: '200ms', healthy_threshold: 1 },
    backends: [{ id: 'a', address: `127.0.0.1:${far.port}`, zone: 'fra-2' }],
  }
  const other = { ...cluster, id: 'other', routes: [{ path: '/other' }], zone_preference: 'off' }
  const document = {
    listeners: [{ address: '127.0.0.1:0' }],
    threads: 0,
    zone: 'fra-1',
    admin: { address: '127.0.0.1:0' },
    store: { kind: 'sqlite', path: join(t.testdir(), 'tidegate.db') },
    clusters: [cluster, other],
  }
  const configOf = (document: object) => {
    const parsed = parseConfig(JSON.stringify(document), {
      file: 'tidegate.yaml',
      directory: '/d',
      cpus: 2,
    })
    if ('faults' in parsed) throw new Error(JSON.stringify(parsed.faults))
    return parsed.config
  }
  const start = async () => {
    const server = await startServer(configOf(document), { log: silentLog })
    t.teardown(() => server.close({ graceMs: 0 }))
    return server
  }
  const register = (server: Server, id: string, zone: object) =>
    fetch(`http://127.0.0.1:${server.admin.port}/api/v1/clusters/web/backends`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ id, address: `127.0.0.1:${near.port}`, ...zone }),
    })
  const answers = async (server: Server) => {
    await until('all to be ready', () =>
      server.control.backends('web').every(({ state }) => state === 'ready'),
    )
    const bodies: string[] = []
    for (let i = 0; i < 8; i++) bodies.push((await get(server.listeners[0]!.port, '/')).body)
    return new Set(bodies)
  }

  const first = await start()
  t.strictSame(await answers(first), new Set(['far']))
  const registered = await register(first, 'b', { zone: 'fra-1' })
  t.match(await registered.json(), { backend: { id: 'b', zone: 'fra-1' } })
  t.strictSame(await answers(first), new Set(['near']))
  t.match(first.control.backend('web', 'a').zone, 'fra-2', 'the file has its own')

  // A cluster that leaves and comes back has it still.
  await first.reload(configOf({ ...document, clusters: [other] }))
  await first.reload(configOf(document))
  t.strictSame(await answers(first), new Set(['near']))
  await first.close({ graceMs: 0 })

  const second = await start()
  t.equal(second.control.backend('web', 'b').zone, 'fra-1')
  t.strictSame(await answers(second), new Set(['near']))
  await register(second, 'c', {})
  t.equal(second.control.backend('web', 'c').zone, null, 'nobody said')
})
