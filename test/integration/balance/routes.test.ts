/** Routes with splits, mirrors and timeouts of their own, and a balance that follows latency: on real sockets. */
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { ClusterConfig, RouteConfig } from '../../../lib/config/config.ts'
import { backend } from '../../support/cluster-kit.ts'
import { clusterOf, frontDoor } from '../../support/front-door.ts'
import { get } from '../../support/load.ts'
import { origin } from '../../support/origin.ts'
import { until } from '../../support/wait.ts'

const byCookie = { affinity: { method: 'cookie', name: 'tidegate', ttlSeconds: 600 } } as const

async function scene(t: Test, threads: number, route: Partial<RouteConfig>, over: Partial<ClusterConfig>) {
  const origins = [await origin(t, 'web'), await origin(t, 'canary')]
  const routes = [{ host: '*', path: '/', ...route }]
  return frontDoor(
    t,
    [
      clusterOf({ a: origins[0]!.port }, { ...over, id: 'web', routes }),
      clusterOf({ a: origins[1]!.port }, { ...over, id: 'canary', routes: [] }),
    ],
    { threads },
  )
}

t.test('a canary gets its part of the clients, and keeps them on every thread', async t => {
  const { port } = await scene(t, 2, { split: [{ cluster: 'canary', percent: 50 }] }, byCookie)
  const clients = await Promise.all(
    Array.from({ length: 40 }, async () => {
      const jar = new Map<string, string>()
      return { jar, home: (await get(port, '/', { jar })).body }
    }),
  )
  t.strictSame(new Set(clients.map(({ home }) => home)), new Set(['web', 'canary']))
  for (const { jar, home } of clients)
    for (let i = 0; i < 2; i++) {
      const { body } = await get(port, '/', { jar })
      if (body !== home) throw new Error(`strayed from ${home}`)
    }
  t.pass('nobody strayed')
})

t.test('by address all requests of a client go one way', async t => {
  const over = { affinity: { method: 'client_ip' } } as const
  const { port } = await scene(t, 0, { split: [{ cluster: 'canary', percent: 50 }] }, over)
  const bodies = await Promise.all(Array.from({ length: 20 }, () => get(port, '/')))
  t.equal(new Set(bodies.map(({ body }) => body)).size, 1)
})

t.test('a mirror gets copies, and the client sees nothing of it', async t => {
  const copies: string[] = []
  const shadow = await origin(t, 'shadow', (request, response) => {
    copies.push(request.url ?? '')
    // Its health is asked after at `/`.
    response.statusCode = request.url === '/' ? 200 : 500
    response.end('broken')
  })
  const web = await origin(t, 'web')
  const routes = [{ host: '*', path: '/', mirror: { cluster: 'shadow', percent: 100 } }]
  const { port } = await frontDoor(
    t,
    [
      clusterOf({ a: web.port }, { id: 'web', routes }),
      clusterOf({ a: shadow.port }, { id: 'shadow', routes: [] }),
    ],
    { threads: 0 },
  )
  for (let i = 0; i < 3; i++) t.match(await get(port, `/page-${i}`), { status: 200, body: 'web' })
  await until('the copies came', () => ['/page-0', '/page-1', '/page-2'].every(path => copies.includes(path)))
})

t.test("a route's timeouts are its own", async t => {
  const release = Promise.withResolvers<void>()
  const slow = await origin(t, 'slow', async (_request, response) => {
    await release.promise
    response.end('late')
  })
  const routes = [
    { host: '*', path: '/' },
    { host: '*', path: '/short', timeouts: { headerMs: 100 } },
  ]
  const { port } = await frontDoor(t, [clusterOf({ a: slow.port }, { routes })], { threads: 0 })
  const patient = get(port, '/')
  t.equal((await get(port, '/short')).status, 504)
  release.resolve()
  t.match(await patient, { status: 200, body: 'late' }, 'the other was asked first and is still waited for')
})

t.test('peak_ewma: clients leave a backend that has become slow', async t => {
  let lagMs = 0
  const lame = await origin(t, 'lame', async (_request, response) => {
    if (lagMs > 0) await sleep(lagMs, undefined, { ref: false })
    response.end('lame')
  })
  const fit = await origin(t, 'fit')
  const ports = { lame: lame.port, fit: fit.port }
  const { port, clusters } = await frontDoor(t, [clusterOf(ports, { balance: 'peak_ewma' })], { threads: 0 })
  const ask = async () => (await get(port, '/')).body
  const askMany = () => Promise.all(Array.from({ length: 20 }, ask))
  await until('both were asked', async () => new Set(await askMany()).size === 2)
  lagMs = 400
  await until('one has felt it', async () => (await askMany()).includes('lame'))
  for (let i = 0; i < 20; i++) t.equal(await ask(), 'fit')
  // A newcomer is not taken for instant, nor left out.
  const fresh = await origin(t, 'fresh')
  await clusters.change('web', { add: [backend('fresh', { port: fresh.port })] })
  await until('the newcomer has its part', async () => {
    const seen = await askMany()
    return seen.includes('fresh') && seen.includes('fit')
  })
})
