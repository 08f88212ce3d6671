import t from 'tap'
import { Board } from '../../../lib/cluster/board.ts'
import { compileTable } from '../../../lib/cluster/compile.ts'
import type { AffinityConfig, BalanceKind, RouteConfig } from '../../../lib/config/config.ts'
import { type Picked, pick } from '../../../lib/proxy/pick.ts'
import { RouteTable } from '../../../lib/proxy/route-table.ts'
import { chooseCluster, mirrorOf } from '../../../lib/proxy/split.ts'
import { affinityKey, clusterConfig } from '../../support/cluster-kit.ts'
import { nobody, seed, seeded } from '../../support/members.ts'

const start = seed()
t.comment(`SEED=${start}`)
const ttlSeconds = 3600
const byCookie: AffinityConfig = { method: 'cookie', name: 'tidegate', ttlSeconds }
const nowMs = 1_700_000_000_000

/** `web` with a canary and a beta beside it; a member in each. */
function scene(
  over: { affinity?: AffinityConfig; balance?: BalanceKind; route?: Partial<RouteConfig> } = {},
) {
  const { affinity = byCookie, balance = 'round_robin', route = {} } = over
  const split = [
    { cluster: 'canary', percent: 5 },
    { cluster: 'beta', percent: 20 },
  ]
  const board = Board.create(1)
  const clusters = ['web', 'canary', 'beta'].map((id, slot) => {
    board.admit(slot, 1, 'any')
    const routes = id === 'web' ? [{ host: '*', path: '/', split, ...route }] : []
    const place = { incarnation: `life-${id}`, host: '127.0.0.1', port: 1, weight: 1, slot, epoch: 1 }
    return {
      config: clusterConfig({ id, routes, affinity, balance }),
      members: [{ id: `m-${id}`, ...place }],
    }
  })
  const table = new RouteTable(compileTable(1, clusters, [affinityKey(1)]), board, 0)
  const matched = table.matchRoute('h', '/')!
  const request = (more: object = {}) => ({
    ...{ clientIp: '192.0.2.1', path: '/', headers: {}, secure: false, nowMs },
    ...more,
  })
  const random = seeded(start)
  const choose = (more: object = {}) => chooseCluster(matched, request(more), random)
  return { matched, request, choose, random, board }
}

const shares = (count: number, choose: (at: number) => string) => {
  const found: Record<string, number> = {}
  for (let at = 0; at < count; at++) {
    const id = choose(at)
    found[id] = (found[id] ?? 0) + 1 / count
  }
  return found
}
const near = (share: number | undefined, expected: number) => Math.abs((share ?? 0) - expected) < 0.02

t.test('no split: the cluster of the route', async t => {
  const { matched, request } = scene({ route: { split: [] } })
  t.equal(matched.split, null)
  t.equal(
    chooseCluster(matched, request(), () => 0),
    matched.cluster,
  )
})

t.test('new clients go by chance, in the parts that the route says', async t => {
  const { choose } = scene({ affinity: { method: 'none' } })
  const found = shares(8000, () => choose().id)
  t.ok(near(found.canary, 0.05) && near(found.beta, 0.2) && near(found.web, 0.75), JSON.stringify(found))
})

t.test('a client stays with the cluster of its session, whatever the chance', async t => {
  const { matched, request } = scene()
  for (const [chance, id] of [
    [0.01, 'canary'],
    [0.2, 'beta'],
    [0.9, 'web'],
  ] as const) {
    const cluster = chooseCluster(matched, request(), () => chance)
    t.equal(cluster.id, id)
    const first = pick(cluster, request(), nobody) as Picked
    const headers = { cookie: `other=1; ${first.setCookie!.split(';')[0]}` }
    for (const other of [0, 0.1, 0.5, 0.99])
      t.equal(chooseCluster(matched, request({ headers }), () => other).id, id)
    t.match(pick(cluster, request({ headers }), nobody), { bound: true })
  }
})

t.test(
  'to be looked at here does not count as seen: the session is still told of when it is picked',
  async t => {
    const { matched, request, board } = scene()
    const first = pick(matched.cluster, request(), nobody) as Picked
    const headers = { cookie: first.setCookie!.split(';')[0] }
    // As in another thread, which has not opened the cookie yet.
    const clusters = [
      {
        config: clusterConfig({ routes: matched.cluster.from.routes }),
        members: matched.cluster.from.members,
      },
    ]
    const other = new RouteTable(compileTable(1, clusters, [affinityKey(1)]), board, 0).matchRoute('h', '/')!
    chooseCluster({ ...other, split: matched.split }, request({ headers }), () => 0)
    t.ok((pick(other.cluster, request({ headers }), nobody) as Picked).sighting)
  },
)

t.test('a session that is over, of no cluster here, or made up, holds nobody', async t => {
  const { matched, request } = scene()
  const [canary] = matched.split!
  const { setCookie } = pick(canary!.cluster, request(), nobody) as Picked
  const cookie = setCookie!.split(';')[0]!
  const of = (more: object) => chooseCluster(matched, request(more), () => 0.99).id
  t.equal(of({ headers: { cookie } }), 'canary')
  t.equal(of({ headers: { cookie }, nowMs: nowMs + ttlSeconds * 1000 }), 'web')
  t.equal(of({ headers: { cookie: `${cookie}x` } }), 'web')
  t.equal(of({ headers: { cookie: 'tidegate=' } }), 'web')
  const stranger = scene({ route: { split: [{ cluster: 'beta', percent: 1 }] } })
  t.equal(chooseCluster(stranger.matched, request({ headers: { cookie } }), () => 0.99).id, 'web')
})

t.test('of two sessions the newer one', async t => {
  const { matched, request } = scene()
  const cookieOf = (cluster: typeof matched.cluster, atMs: number) =>
    (pick(cluster, request({ nowMs: atMs }), nobody) as Picked).setCookie!.split(';')[0]
  const older = cookieOf(matched.cluster, nowMs - 1000)
  const newer = cookieOf(matched.split![0]!.cluster, nowMs)
  for (const cookie of [`${older}; ${newer}`, `${newer}; ${older}`])
    t.equal(chooseCluster(matched, request({ headers: { cookie } }), () => 0.99).id, 'canary')
})

t.test('with 0 percent it takes nobody new and keeps who is bound', async t => {
  const { matched, request } = scene({ route: { split: [{ cluster: 'canary', percent: 0 }] } })
  t.equal(chooseCluster(matched, request(), () => 0).id, 'web')
  const { setCookie } = pick(matched.split![0]!.cluster, request(), nobody) as Picked
  t.equal(
    chooseCluster(matched, request({ headers: { cookie: setCookie!.split(';')[0] } }), () => 0.5).id,
    'canary',
  )
})

for (const over of [
  { affinity: { method: 'client_ip' } },
  { affinity: { method: 'none' }, balance: 'consistent_hash' },
] as const)
  t.test(
    `${over.affinity.method}, ${'balance' in over ? over.balance : 'any balance'}: by the key`,
    async t => {
      const of = (percent: number) => {
        const { matched, request } = scene({ ...over, route: { split: [{ cluster: 'canary', percent }] } })
        return Array.from({ length: 4000 }, (_, at) => {
          const clientIp = `10.0.${at >> 8}.${at & 255}`
          return chooseCluster(matched, request({ clientIp }), () => Math.random()).id
        })
      }
      const few = of(5)
      t.ok(near(few.filter(id => id === 'canary').length / 4000, 0.05))
      t.strictSame(of(5), few, 'the same clients each time')
      const more = of(20)
      t.ok(near(more.filter(id => id === 'canary').length / 4000, 0.2))
      t.ok(
        few.every((id, at) => id === 'web' || more[at] === 'canary'),
        'a higher percentage only adds clients',
      )
    },
  )

t.test('copies go by chance to the mirror', async t => {
  const { matched, random } = scene({ route: { mirror: { cluster: 'beta', percent: 10 } } })
  const found = shares(6000, () => mirrorOf(matched, random)?.cluster.id ?? 'nobody')
  t.ok(near(found.beta, 0.1), JSON.stringify(found))
  t.equal(
    mirrorOf(scene().matched, () => 0),
    null,
  )
  const all = scene({ route: { mirror: { cluster: 'beta', percent: 100 } } }).matched
  t.equal(mirrorOf(all, () => 1 - 2 ** -53)?.cluster.id, 'beta')
})
