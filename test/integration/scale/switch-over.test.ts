/**
 * All instances replaced at once on real processes, behind a real front door with two threads and under load: no request fails, and
 * from the first new client of a new instance on none is dealt to an old one.
 */
import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import { silentLog } from '../../../lib/log.ts'
import { startServer } from '../../../lib/server.ts'
import { demoCluster } from '../../support/demo-cluster.ts'
import { get, Load } from '../../support/load.ts'
import { until } from '../../support/wait.ts'

const waitMs = 120_000

t.test(
  'new clients change from the old instances to the new ones at once, and nobody is refused',
  async t => {
    const { config } = await demoCluster(t, { driver: 'process', minInstances: 2, drainSeconds: 1 })
    const server = await startServer(config, { log: silentLog })
    t.teardown(() => server.close({ graceMs: 0 }))
    const { port } = server.listeners[0]!
    const backends = () => server.control.backends('demo')
    await until('both serve', () => backends().filter(({ state }) => state === 'ready').length === 2)
    const old = backends().map(({ id }) => id)
    const load = new Load({
      ...{ port, connections: 4, webSockets: 2, pauseMs: 20 },
      ...{ limitMs: 2 * waitMs, reopen: true },
    })
    t.teardown(() => load.stop())
    await load.start()
    const newcomers = comeAndGo(port, 8)
    t.teardown(() => newcomers.stop())
    await newcomers.more(50)

    const done = await server.control.execute({ kind: 'replace_all', cluster: 'demo' }, 'test')
    if (done.result !== 'operation') throw new Error('no operation')
    const operation = await server.control.waitOperation(done.operation.id, waitMs)
    t.match(operation, { status: 'completed', error: null })
    await newcomers.more(50)
    const { met, failures } = await newcomers.stop()
    const report = await load.stop()

    t.strictSame(failures, [], 'no newcomer was turned away')
    t.strictSame(report.failures, [], 'no request failed')
    const fresh = met.filter(({ instance }) => !old.includes(instance))
    const firstAtMs = Math.min(...fresh.map(({ answeredAtMs }) => answeredAtMs))
    const late = met.filter(({ askedAtMs, instance }) => askedAtMs > firstAtMs && old.includes(instance))
    t.ok(
      fresh.length >= 50 && met.length > fresh.length,
      `${met.length} newcomers, ${fresh.length} of the new`,
    )
    t.strictSame(late, [], 'nobody met an old one who asked after somebody had met a new one')
  },
)

interface Met {
  readonly instance: string
  readonly askedAtMs: number
  readonly answeredAtMs: number
}

/** So many at a time, each without a cookie and on a connection of its own. */
function comeAndGo(port: number, abreast: number) {
  const met: Met[] = []
  const failures: string[] = []
  let stopped = false
  const coming = Array.from({ length: abreast }, async () => {
    while (!stopped) {
      const askedAtMs = performance.now()
      const answer = await get(port, '/whoami').catch((error: Error) => ({ status: 0, body: error.message }))
      const answeredAtMs = performance.now()
      if (answer.status !== 200) failures.push(`${answer.status} ${answer.body}`)
      else met.push({ instance: JSON.parse(answer.body).instance_id, askedAtMs, answeredAtMs })
      await setTimeout(2)
    }
  })
  return {
    more: (count: number) => {
      const enough = met.length + count
      return until('more newcomers', () => met.length >= enough || failures.length > 0)
    },
    stop: async () => {
      stopped = true
      await Promise.all(coming)
      return { met, failures }
    },
  }
}
