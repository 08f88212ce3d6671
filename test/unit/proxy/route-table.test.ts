import t from 'tap'
import { Board } from '../../../lib/cluster/board.ts'
import type { TableCluster, TableData } from '../../../lib/cluster/table.ts'
import type { AffinityConfig, BalanceKind } from '../../../lib/config/config.ts'
import { RouteTable } from '../../../lib/proxy/route-table.ts'
import { affinityKey, clusterConfig } from '../../support/cluster-kit.ts'

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
  const { id, routes, balance, affinity, timeouts } = clusterConfig()
  return { id, routes, balance, affinity, timeouts, members, ...over }
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
  t.equal(web.byIncarnation.get('life-b'), web.members[1])
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
