/**
 * The death of an instance that a clone stands by for, with real processes and real threads under load: whose cookie names the dead one
 * goes on where the clone's memory ends, and the application hears of that exactly then.
 */
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { silentLog } from '../../../lib/log.ts'
import { startServer } from '../../../lib/server.ts'
import { demoCluster } from '../../support/demo-cluster.ts'
import { until } from '../../support/wait.ts'

const library = join(import.meta.dirname, '../../../lib/guest/index.ts')

/** Counts each user's hits in memory, and says what it was told. */
const application = `
import { createServer } from 'node:http'
import { guest } from ${JSON.stringify(library)}
let hits = new Map()
guest({ handOver: () => [...hits], takeBack: state => { hits = new Map(state) } })
createServer((request, response) => {
  const user = request.url.slice(1)
  if (user === 'healthz') return response.end('well')
  hits.set(user, (hits.get(user) ?? 0) + 1)
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify({ pid: process.pid, hits: hits.get(user), told: request.headers['tidegate-failover'] ?? null }))
}).listen(process.env.PORT, process.env.HOST)
`

interface Hit {
  readonly sentMs: number
  readonly doneMs: number
  readonly status: number
  readonly hits: number
  readonly pid: number
  readonly told: string | null
}

/** A browser: its cookie comes back with each request. */
class Client {
  cookie: string | null = null
  readonly log: Hit[] = []

  async hit(port: number, user: string, method = 'GET'): Promise<void> {
    const sentMs = Date.now()
    const forged = { 'tidegate-failover': 'from=nobody; as-of=1970-01-01T00:00:00.000Z' }
    const headers = { ...forged, ...(this.cookie === null ? {} : { cookie: this.cookie }) }
    const answer = await fetch(`http://127.0.0.1:${port}/${user}`, { headers, method })
    const set = answer.headers.get('set-cookie')
    if (set !== null) this.cookie = set.split(';')[0]!
    const text = await answer.text()
    const said = answer.status === 200 ? JSON.parse(text) : { hits: 0, pid: 0, told: null }
    this.log.push({ sentMs, doneMs: Date.now(), status: answer.status, ...said })
  }
}

t.test('its clients go on with their sessions as of the refresh; nobody else is told anything', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'tidegate-'))
  writeFileSync(join(directory, 'app.mjs'), application)
  const demo = await demoCluster(t, {
    directory,
    driver: 'process',
    command: ['node', join(directory, 'app.mjs')],
    standby: { count: 1, refresh: '*/2 * * * * *', wait_timeout: '60s' },
  })
  const server = await startServer(demo.config, { log: silentLog })
  t.teardown(() => server.close({ graceMs: 0 }))
  const { port } = server.listeners[0]!
  const primary = await until('it serves', () =>
    server.control.backends('demo').find(({ state }) => state === 'ready'),
  )
  const standby = async () =>
    (await server.control.status('demo')).standby?.find(({ as_of: asOf }) => asOf !== null)

  const clients = Array.from({ length: 6 }, () => new Client())
  for (const [n, client] of clients.entries()) await client.hit(port, `user${n}`)
  const writtenMs = Date.now()
  await until('the clone has all of it', async () => Date.parse((await standby())?.as_of ?? '') > writtenMs)

  let loading = true
  const strangers: Hit[] = []
  const load = Promise.all([
    ...clients.map(async (client, n) => {
      while (loading) await client.hit(port, `user${n}`)
    }),
    (async () => {
      while (loading) {
        const stranger = new Client()
        await stranger.hit(port, 'stranger')
        strangers.push(...stranger.log)
      }
    })(),
  ])
  const served = () => clients.every(({ log }) => log.length > 50)
  await until('they have come and gone', served)
  const node = (await server.control.nodes())[0]!
  const killedMs = Date.now()
  process.kill(node.instances.find(({ id }) => id === primary.id)!.pid!, 'SIGKILL')
  const heir = await until('another serves', () =>
    server.control.backends('demo').find(({ id, state }) => id !== primary.id && state === 'ready'),
  )
  const since = clients.map(({ log }) => log.length)
  await until('all have come again', () => clients.every(({ log }, n) => log.length > since[n]! + 5))
  loading = false
  await load

  const lineage = heir.instance!.lineage!
  t.match(lineage, [{ instance_id: primary.id, golden: false }])
  const asOfMs = Date.parse(lineage[0]!.as_of)
  t.ok(asOfMs > writtenMs && asOfMs < killedMs)
  const failed: string[] = []
  for (const [n, { log }] of clients.entries()) {
    failed.push(...log.filter(({ status }) => status !== 200).map(({ status }) => String(status)))
    const moved = log.findIndex(({ told }) => told !== null)
    const first = log[moved]!
    t.equal(first.told, `from=${primary.id}; as-of=${lineage[0]!.as_of}`, `client ${n} is told`)
    t.equal(log.filter(({ told }) => told !== null).length, 1, 'once')
    const before = log.slice(0, moved).filter(({ status }) => status === 200)
    t.ok(before.every(({ pid }) => pid !== first.pid))
    t.ok(
      log.slice(moved).every(({ pid }) => pid === first.pid),
      'and it stays there',
    )
    const sure = before.filter(({ doneMs }) => doneMs < asOfMs).length
    t.ok(first.hits > sure, `${first.hits - 1} hits were kept, ${sure} at least were there`)
    t.ok(first.hits <= before.length + 1, 'and none was made up')
  }
  t.strictSame(
    strangers.filter(({ told }) => told !== null),
    [],
    'who had no cookie is told nothing',
  )
  failed.push(...strangers.filter(({ status }) => status !== 200).map(({ status }) => String(status)))
  t.comment(
    `of ${clients.length + 1} clients under load these requests failed: ${failed.join(' ') || 'none'}`,
  )
  t.ok(
    failed.every(status => status === '502'),
    'a request whose answer the death cut off may fail, and no other',
  )
  t.ok(failed.length <= clients.length + 1)
  const ended = await until('the failover to end', async () =>
    (await server.control.operations({ limit: 5 })).find(
      ({ type, completed_at: at }) => type === 'failover' && at,
    ),
  )
  t.match(ended, { status: 'completed', error: null })
})
