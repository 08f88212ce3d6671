/**
 * A whole server of two threads before static backends whose checks are one thing and whose exchanges are another: who fails
 * its clients is ejected, who says that it leaves is left, and with too few well ones health is ignored where that was chosen.
 */
import type { RequestListener } from 'node:http'
import t, { type Test } from 'tap'
import { parseConfig } from '../../../lib/config/load.ts'
import type { TidegateEvent } from '../../../lib/events.ts'
import { silentLog } from '../../../lib/log.ts'
import { startServer } from '../../../lib/server.ts'
import { asker } from '../../support/admin.ts'
import { origin } from '../../support/origin.ts'
import { until } from '../../support/wait.ts'

/** A backend: `check` answers its checks, `serve` its clients; both may be changed. */
async function backend(t: Test, name: string) {
  const state: { check: RequestListener; serve: RequestListener } = {
    check: (_, response) => response.end('well'),
    serve: (_, response) => response.end(name),
  }
  const { port } = await origin(t, name, (request, response) =>
    request.url === '/healthz' ? state.check(request, response) : state.serve(request, response),
  )
  return Object.assign(state, { port, id: name })
}

async function scene(t: Test, more: string) {
  const backends = await Promise.all(['a', 'b', 'c'].map(name => backend(t, name)))
  const list = backends.map(({ id, port }) => `{ id: ${id}, address: "127.0.0.1:${port}" }`).join(', ')
  const text = `
listeners: [{ address: "127.0.0.1:0" }]
admin: { address: "127.0.0.1:0" }
threads: 2
debug_headers: true
store: { kind: memory }
clusters:
  - { id: web, balance: round_robin, backends: [${list}], ${more} }`
  const parsed = parseConfig(text, { file: 't', directory: '/', cpus: 2 })
  if ('faults' in parsed) throw new Error(JSON.stringify(parsed.faults))
  const server = await startServer(parsed.config, { log: silentLog })
  t.teardown(() => server.close({ graceMs: 0 }))
  const events: TidegateEvent[] = []
  server.control.subscribe(({ event }) => events.push(event), 0)
  const admin = asker(server.admin.port)
  const api = async (path: string, method = 'GET') =>
    (await admin(`/api/v1/clusters/web${path}`, { method })).body
  const row = async (id: string) =>
    (await api('/backends')).backends.find((one: { id: string }) => one.id === id)
  /** What clients meet: the names that answered, or statuses of failure. */
  const ask = asker(server.listeners[0]!.port)
  const asked = async (count: number) => {
    const met: string[] = []
    for (let i = 0; i < count; i++) {
      const { status, headers, text } = await ask('/')
      met.push(status === 200 ? text : `${status} of ${headers['x-tidegate-backend'] ?? 'nobody'}`)
    }
    return met
  }
  const [a, b, c] = backends as [(typeof backends)[0], (typeof backends)[0], (typeof backends)[0]]
  return { a, b, c, api, row, asked, events }
}

const checks =
  'health: { path: /healthz, interval: 100ms, timeout: 10s, unhealthy_threshold: 1, healthy_threshold: 1, slow_ratio: 0'

t.test(
  'a backend that breaks its exchanges is ejected though its checks pass, and an operator takes it back',
  async t => {
    const { a, row, asked, api, events } = await scene(
      t,
      `${checks} }, outlier: { consecutive_failures: 3, failure_ratio: 0, base_ejection: 1h, max_ejection: 2h }`,
    )
    a.serve = request => request.socket.destroy()
    await until('ejected', async () => {
      await asked(6)
      return (await row('a')).state === 'down'
    })
    t.match(await row('a'), {
      admits: 'none',
      health: {
        status: 'unhealthy',
        reason: /^ejected for \d+(\.\d)?s: \d+ exchanges in a row ended without an answer$/,
        ejected_until: /^\d{4}-/,
        says: 'ready',
      },
    })
    t.strictSame([...new Set(await asked(12))].sort(), ['b', 'c'])
    t.match(await api('/status'), { health_status: 'degraded', panic: false })
    const seen = events.filter(event => event.type === 'backend_health' && event.backend === 'a')
    t.match(seen.at(-1), { from: 'healthy', to: 'unhealthy', reason: /^ejected/ })

    a.serve = (_, response) => response.end('a')
    await api('/backends/a/ready', 'POST')
    t.match(await row('a'), { state: 'ready', health: { status: 'healthy', ejected_until: null } })
    t.strictSame([...new Set(await asked(12))].sort(), ['a', 'b', 'c'])
  },
)

t.test('an application that says that it drains gets no new clients, until it says otherwise', async t => {
  const { a, row, asked } = await scene(t, `${checks} }`)
  a.check = (_, response) => {
    response.statusCode = 503
    response.setHeader('X-Tidegate-Health', 'draining')
    response.end()
  }
  await until('drained', async () => (await row('a')).state === 'drained')
  t.match(await row('a'), { admits: 'bound', health: { status: 'healthy', says: 'draining' } })
  t.strictSame([...new Set(await asked(9))].sort(), ['b', 'c'])
  a.check = (_, response) => response.end()
  await until('ready', async () => (await row('a')).state === 'ready')
  t.strictSame([...new Set(await asked(9))].sort(), ['a', 'b', 'c'])
})

t.test('with too few well, health is ignored where that was chosen, and only there', async t => {
  for (const [threshold, panic] of [
    [50, true],
    [0, false],
  ] as const) {
    const { a, b, asked, api, row, events } = await scene(t, `${checks}, panic_threshold: ${threshold} }`)
    for (const ill of [a, b])
      ill.check = (_, response) => {
        response.statusCode = 500
        response.end()
      }
    await until('both ill', async () =>
      (await api('/backends')).backends.every((one: { id: string; health: { status: string } }) =>
        one.id === 'c' ? true : one.health.status === 'unhealthy',
      ),
    )
    t.match(await api('/status'), { panic, health_status: 'degraded' })
    t.strictSame([...new Set(await asked(9))].sort(), panic ? ['a', 'b', 'c'] : ['c'])
    t.match(await row('a'), { state: panic ? 'ready' : 'down', health: { status: 'unhealthy' } })
    const told = events.filter(event => event.type === 'cluster_panic')
    t.match(told, panic ? [{ panic: true, well: 1, backends: 3 }] : [])
  }
})
