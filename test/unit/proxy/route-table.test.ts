import t from 'tap'
import { Board } from '../../../lib/cluster/board.ts'
import type { TableCluster, TableData } from '../../../lib/cluster/table.ts'
import type { AffinityConfig, BalanceKind } from '../../../lib/config/config.ts'
import { RouteTable } from '../../../lib/proxy/route-table.ts'
import { affinityKey, clusterConfig } from '../../support/cluster-kit.ts'
import { plainTableBalance } from '../../support/plain-balance.ts'

const member = (id: string, slot: number, over: object = {}) => ({
  id,
  incarnation: `life-${id}`,
  host: '127.0.0.1',
  port: 1,
  weight: 1,
  slot,
  epoch: 1,
  ...over,
})
const cluster = (
  members: TableCluster['members'],
  over: {
    balance?: BalanceKind
    affinity?: AffinityConfig
    id?: string
    routes?: TableCluster['routes']
  } = {},
): TableCluster => {
  const { id, routes, balance, affinity, timeouts, resilience } = clusterConfig()
  return { id, routes, balance, ...plainTableBalance, affinity, timeouts, resilience, members, ...over }
}
const table = (generation: number, clusters: TableCluster[], keys = [affinityKey(1)]): TableData => ({
  generation,
  clusters,
  affinityKeys: keys,
})

t.test('routes to the cluster, whole', async t => {
  const board = Board.create(1)
  const shop = { id: 'shop', routes: [{ host: 'shop.example', path: '/' }] }
  const routes = new RouteTable(
    table(7, [cluster([member('a', 0), member('b', 1)]), cluster([member('c', 2)], shop)]),
    board,
    0,
  )
  t.equal(routes.generation, 7)
  t.equal(routes.match('Shop.Example:80', '/x?y')?.id, 'shop')
  const web = routes.match('else', '/')!
  t.strictSame([web.id, web.members.map(m => m.id), web.balancer.kind], ['web', ['a', 'b'], 'round_robin'])
  t.equal(web.owners.get('life-b'), web.members[1])
  t.strictSame(
    [...routes.members()].map(m => m.id),
    ['a', 'b', 'c'],
  )
  t.equal(new RouteTable(table(8, [cluster([], shop)]), board, 0).match('else', '/'), null)
})

t.test('a member that stays is the same object; one that changed is another', async t => {
  const board = Board.create(1)
  const before = new RouteTable(
    table(1, [cluster([member('a', 0), member('b', 1), member('c', 2)])]),
    board,
    0,
  )
  const after = new RouteTable(
    table(2, [cluster([member('a', 0), member('b', 1, { epoch: 2 }), member('c', 2, { weight: 5 })])]),
    board,
    0,
    before,
  )
  const [a1, b1, c1] = before.match('h', '/')!.members
  const [a2, b2, c2] = after.match('h', '/')!.members
  t.equal(a2, a1)
  t.not(b2, b1)
  t.not(c2, c1)
  t.equal(c2?.weight, 5)
})

t.test('round robin goes on where it was', async t => {
  const board = Board.create(1)
  const members = [member('a', 0), member('b', 1), member('c', 2)]
  for (const { slot } of members) board.admit(slot, 1, 'any')
  const before = new RouteTable(table(1, [cluster(members)]), board, 0, undefined, () => 0)
  const pick = (routes: RouteTable) => routes.match('h', '/')!.balancer.pick(new Set())?.id
  t.strictSame([pick(before), pick(before)], ['a', 'b'])
  const same = new RouteTable(table(2, [cluster(members)]), board, 0, before, () => 0)
  t.equal(pick(same), 'c')
  const less = new RouteTable(table(3, [cluster(members.slice(1))]), board, 0, same, () => 0)
  t.equal(pick(less), 'b')
})

t.test('ring and cookies are there where the method needs them, and carried over', async t => {
  const board = Board.create(1)
  const members = [member('a', 0), member('b', 1)]
  const hashed = { affinity: { method: 'client_ip' } } as const
  const ring1 = new RouteTable(table(1, [cluster(members, hashed)]), board, 0)
  const ring2 = new RouteTable(table(2, [cluster(members, hashed)]), board, 0, ring1)
  const ring3 = new RouteTable(table(3, [cluster(members.slice(1), hashed)]), board, 0, ring2)
  const of = (routes: RouteTable) => routes.match('h', '/')!
  t.ok(of(ring1).ring)
  t.equal(of(ring1).cookies, null)
  t.equal(of(ring2).ring, of(ring1).ring, 'the same members')
  t.not(of(ring3).ring, of(ring2).ring)

  const jar1 = new RouteTable(table(1, [cluster(members)]), board, 0)
  const jar2 = new RouteTable(table(2, [cluster(members)]), board, 0, jar1)
  const renamed = { affinity: { method: 'cookie', name: 'other', ttlSeconds: 1 } } as const
  const jar3 = new RouteTable(table(3, [cluster(members, renamed)]), board, 0, jar2)
  t.equal(of(jar1).ring, null)
  t.equal(of(jar2).cookies, of(jar1).cookies)
  t.not(of(jar3).cookies, of(jar2).cookies)
  const none = new RouteTable(table(4, [cluster(members, { affinity: { method: 'none' } })]), board, 0, jar3)
  t.strictSame([of(none).ring, of(none).cookies], [null, null])
})

t.test('new keys reach cookies that are carried over', async t => {
  const board = Board.create(1)
  const members = [member('a', 0)]
  const of = (routes: RouteTable) => routes.match('h', '/')!.cookies!
  const session = { incarnation: 'i', id: 'AAAAAAAAAAAAAAAA', firstIssuedMs: 1, issuedMs: 1 }
  const before = new RouteTable(table(1, [cluster(members)]), board, 0)
  const value = of(before).seal(session)
  const after = new RouteTable(table(2, [cluster(members)], [affinityKey(2)]), board, 0, before)
  t.equal(of(after).open(value), null)
})

t.test('a route has its own timeouts, split and mirror; what it does not say is the cluster’s', async t => {
  const board = Board.create(1)
  const routes = [
    { host: '*', path: '/' },
    {
      host: '*',
      path: '/slow',
      timeouts: { headerMs: 90_000 },
      split: [
        { cluster: 'canary', percent: 5 },
        { cluster: 'gone', percent: 5 },
      ],
      mirror: { cluster: 'shadow', percent: 10 },
    },
  ]
  const hidden = { routes: [] }
  const built = new RouteTable(
    table(1, [
      cluster([member('a', 0)], { routes }),
      cluster([member('b', 1)], { ...hidden, id: 'canary' }),
      cluster([member('c', 2)], { ...hidden, id: 'shadow' }),
    ]),
    board,
    0,
  )
  const plain = built.matchRoute('h', '/x')!
  t.match(plain, { split: null, mirror: null })
  t.equal(plain.timeouts, plain.cluster.timeouts)
  const slow = built.matchRoute('h', '/slow/x')!
  t.strictSame(slow.timeouts, { ...plain.timeouts, headerMs: 90_000 })
  t.equal(slow.cluster, plain.cluster)
  t.strictSame(
    slow.split?.map(part => [part.cluster.id, part.percent]),
    [['canary', 5]],
  )
  t.equal(slow.mirror?.cluster.id, 'shadow')
  t.equal(built.match('h', '/slow'), slow.cluster)
  t.equal(new RouteTable(table(1, [cluster([], { routes: [] })]), board, 0).matchRoute('h', '/'), null)
})

t.test('routes lead to the clusters of their own generation, also where the routes are the same', async t => {
  const board = Board.create(1)
  const one = cluster([member('a', 0)])
  const first = new RouteTable(table(1, [one]), board, 0)
  const two = { ...one, members: [...one.members, member('b', 1)] }
  const second = new RouteTable(table(2, [two]), board, 0, first)
  t.equal(first.match('h', '/')?.members.length, 1)
  t.equal(second.match('h', '/')?.members.length, 2)
})

t.test('who has departed is told once, and a member that was re-weighted has not', async t => {
  const board = Board.create(1)
  const other = { id: 'other', routes: [{ host: 'o', path: '/' }] }
  const first = new RouteTable(
    table(1, [cluster([member('a', 0), member('b', 1), member('c', 2)]), cluster([member('d', 3)], other)]),
    board,
    0,
  )
  t.strictSame(first.departed, [])
  const second = new RouteTable(
    table(2, [cluster([member('c', 2, { epoch: 2 }), member('a', 0, { weight: 3 })])]),
    board,
    0,
    first,
  )
  const departed = second.departed.map(({ id, epoch }) => `${id} ${epoch}`)
  t.strictSame(departed.sort(), ['b 1', 'c 1', 'd 1'])
  t.strictSame(new RouteTable(second.data, board, 0, second).departed, [])
})

t.test('for peak_ewma the members keep what their answers take', async t => {
  const board = Board.create(1)
  board.admit(0, 1, 'any')
  const of = (balance: BalanceKind, previous?: RouteTable) =>
    new RouteTable(
      table(1, [cluster([member('a', 0)], { balance })]),
      board,
      0,
      previous,
      Math.random,
      undefined,
      () => 5,
    )
  const plain = of('random')
  const timed = of('peak_ewma', plain)
  const memberOf = (routes: RouteTable) => routes.match('h', '/')!.members[0]!
  for (const routes of [plain, timed]) {
    memberOf(routes).enter(false)
    memberOf(routes).leave('ok', 12)
    t.equal(memberOf(routes).latencyMs(5, false) > 0, routes === timed)
  }
  t.equal(memberOf(of('peak_ewma', timed)), memberOf(timed))
})

t.test('zones and slow start reach the balancer', async t => {
  const board = Board.create(1)
  const members = ['a', 'b'].map((zone, slot) => {
    board.admit(slot, 1, 'any')
    return member(zone, slot, { zone })
  })
  const picks = (over: object) => {
    const data = table(1, [{ ...cluster(members, { balance: 'random' }), ...over }])
    const { balancer } = new RouteTable(data, board, 0, undefined, Math.random, undefined, () => 1000).match(
      'h',
      '/',
    )!
    return new Set(Array.from({ length: 60 }, () => balancer.pick(new Set())?.id))
  }
  t.equal(picks({}).size, 2)
  t.strictSame([...picks({ preferredZone: 'b' })], ['b'])
})
