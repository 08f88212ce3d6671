/**
 * `npm run test:succession-vm`: one machine after another, all of them real VMs, under a gentle load: one is killed and the clone that stood by takes its place with the sessions, a
 * new release replaces it, and an ill one is taken back. No client of a machine that was not killed sees any of it.
 */
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import type { Config } from '../../../lib/config/config.ts'
import { silentLog } from '../../../lib/log.ts'
import { startServer } from '../../../lib/server.ts'
import { demoCluster, parseDemo } from '../../support/demo-cluster.ts'
import { get } from '../../support/load.ts'
import { until } from '../../support/wait.ts'

const waitMs = 400_000

/** Loaded before the application: it says which release it is, and the one named `ill` tells its checks so once it has served a client. */
const preload = `
  import http from 'node:http'
  let ill = false
  const { emit } = http.Server.prototype
  http.Server.prototype.emit = function (event, request, response, ...rest) {
    if (event === 'request' && request.url === '/release') return response.end(process.env.RELEASE)
    if (event === 'request' && request.url === '/whoami') ill = process.env.RELEASE === 'ill'
    if (event === 'request' && request.url === '/healthz' && ill) return response.writeHead(503).end()
    return emit.call(this, event, request, response, ...rest)
  }
`
const preloaded = `--import=data:text/javascript,${encodeURIComponent(preload)}`

t.test('a machine dies, a release comes, an ill one goes', async t => {
  const standby = { count: 1, refresh: '*/10 * * * * *', wait_timeout: '300s' }
  const demo = await demoCluster(t, { driver: 'qemu', healthyThreshold: 1, healthInterval: '500ms', standby })
  const release = (name: string, stands = false): Config => {
    const document = JSON.parse(demo.text) as {
      clusters: { instance: { template: { env?: object } }; scaling: { standby?: object } }[]
    }
    const [cluster] = document.clusters
    cluster!.instance.template.env = { RELEASE: name, NODE_OPTIONS: preloaded }
    if (!stands) delete cluster!.scaling.standby
    return parseDemo(JSON.stringify(document), demo.directory)
  }
  const server = await startServer(release('1', true), { log: silentLog })
  t.teardown(() => server.close({ graceMs: 0 }))
  const { port } = server.listeners[0]!
  const { control } = server
  const ready = () => control.backends('demo').filter(({ state }) => state === 'ready')
  const first = await until('the first serves', () => ready()[0], waitMs)

  const bound = new Map<string, string>()
  t.equal((await get(port, '/sessions/kept', { method: 'POST', body: 'treasure', jar: bound })).status, 200)
  const writtenMs = Date.now()
  const asOf = async () =>
    (await control.status('demo')).standby?.map(row => Date.parse(row.as_of ?? '')) ?? []
  await until('its clone knows that too', async () => (await asOf()).some(ms => ms > writtenMs), waitMs)
  const clients = new Clients(port, bound)
  t.teardown(() => clients.stop())
  await until('they are served', () => clients.answers > 10, waitMs)

  const { pid } = (await control.nodes())[0]!.instances.find(({ id }) => id === first.id)!
  const killedMs = performance.now()
  process.kill(pid!, 'SIGKILL')
  const heir = await until('its clone serves', () => ready().find(({ id }) => id !== first.id), waitMs)
  t.comment(`served again ${Math.round(performance.now() - killedMs)} ms after the kill`)
  await until('they are served', clients.further(10), waitMs)
  t.match(
    heir.instance?.lineage,
    [{ instance_id: first.id, golden: false }],
    'it has the memory of the dead one',
  )
  t.match((await get(port, '/sessions/kept', { jar: bound })).body, /treasure/, 'and the session')
  const cut = clients.failures.splice(0)
  t.ok(cut.length <= 2, `what was under way may fail, and nothing else: ${cut.join('; ') || 'nothing did'}`)
  await until(
    'it has taken its place',
    async () => (await control.operations({ limit: 1 }))[0]!.status !== 'running',
    waitMs,
  )
  t.match(
    (await control.operations({ limit: 9 })).find(({ type }) => type === 'failover'),
    { status: 'completed' },
  )

  const roll = async (name: string) => {
    await control.reload('test', release(name))
    const wish = { batch_size: 1, pause_seconds: 2, max_failure_ratio: 0.01 }
    const result = await control.execute({ kind: 'replace_rolling', cluster: 'demo', wish }, 'test')
    if (result.result !== 'operation') throw new Error('no operation')
    return control.waitOperation(result.operation.id, waitMs)
  }
  const good = await roll('2')
  t.match(good, { status: 'completed', error: null }, JSON.stringify(good.error))
  t.equal((await get(port, '/release')).body, '2')
  t.not(ready()[0]?.id, heir.id)
  await until('they are served', clients.further(10), waitMs)
  const second = ready().map(({ id }) => id)

  const ill = await roll('ill')
  t.match(ill, { status: 'failed', phase: 'rolled_back', error: { code: 'checkpoint_failed' } })
  t.strictSame(
    ready().map(({ id }) => id),
    second,
    'who served before serves still',
  )
  t.equal((await get(port, '/release')).body, '2')
  await until('they are served', clients.further(10), waitMs)
  await clients.stop()
  t.strictSame(clients.failures, [], 'no request failed while releases came and went')
  t.comment(`${clients.answers} answers`)
  const [node] = await control.nodes()
  t.strictSame(
    node?.instances.map(({ id }) => id),
    second,
    'nobody else is left',
  )
})

/** One that is bound by its cookie, and a row of newcomers. */
class Clients {
  answers = 0
  readonly failures: string[] = []
  #stopped = false
  readonly #asking: Promise<unknown>

  constructor(port: number, jar: Map<string, string>) {
    this.#asking = Promise.all([
      this.#ask(() => get(port, '/whoami', { jar, timeoutMs: waitMs })),
      this.#ask(() => get(port, '/whoami', { timeoutMs: waitMs })),
    ])
  }

  /** Whether so many more have been answered than when it is called. */
  further(count: number): () => boolean {
    const from = this.answers
    return () => this.answers >= from + count
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#asking
  }

  async #ask(once: () => Promise<{ readonly status: number; readonly body: string }>): Promise<void> {
    while (!this.#stopped) {
      const { status, body } = await once().catch((error: Error) => ({ status: 0, body: error.message }))
      if (status === 200) this.answers++
      else this.failures.push(`${status} ${body.slice(0, 100)}`)
      // Pacing, not synchronisation: an emulated machine has other things to do.
      await delay(100)
    }
  }
}
