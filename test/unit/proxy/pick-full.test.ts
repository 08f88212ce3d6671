/** `limits.requests_per_member`: who is passed over when it is full, and who waits for it. */
import t from 'tap'
import type { Member } from '../../../lib/cluster/member.ts'
import type { AffinityConfig, ClusterConfig } from '../../../lib/config/config.ts'
import { type Picked, pick } from '../../../lib/proxy/pick.ts'
import { plainGuard } from '../../../lib/proxy/resilience/guards.ts'
import { noLimits } from '../../../lib/proxy/resilience/plain.ts'
import { clusterConfig, clusterKit } from '../../support/cluster-kit.ts'
import { nobody } from '../../support/members.ts'

const idsOf = (count: number) => Array.from({ length: count }, (_, i) => `m${i}`)

/** Members with room for so many each; what `ask` takes stays on them. */
function scene(
  affinity: AffinityConfig,
  requestsPerMember: number,
  ids: readonly string[],
  over: Partial<ClusterConfig> = {},
) {
  const backends = ids.map((id, i) => ({ id, host: '127.0.0.1', port: i + 1, weight: 1 }))
  const kit = clusterKit([clusterConfig({ affinity, backends, ...over })])
  kit.clusters.start([])
  kit.plane.take(kit.clusters.table())
  const matched = kit.plane.table!.match('h', '/')!
  const cluster = { ...matched, guard: { ...plainGuard, limits: { ...noLimits, requestsPerMember } } }
  const ask = (more: object = {}, tried: ReadonlySet<Member> = nobody) => {
    const request = { clientIp: '192.0.2.1', path: '/', headers: {}, secure: false, ...more }
    return pick(cluster, { ...request, nowMs: kit.clock.now() }, tried)
  }
  return { ...kit, ask, member: (id: string) => kit.plane.member(id) }
}

for (const balance of ['round_robin', 'random', 'least_request', 'peak_ewma', 'consistent_hash'] as const)
  t.test(`${balance}: full members are passed over until all are`, async t => {
    const { ask, member } = scene({ method: 'none' }, 2, idsOf(40), { balance })
    const taken = Array.from({ length: 80 }, (_, i) => ask({ clientIp: `192.0.2.${i}` }).member?.id)
    for (const id of idsOf(40)) t.equal(taken.filter(other => other === id).length, 2, id)
    t.match(ask(), { member: null, full: true, reason: '40 members: 40 full' })
    member('m7').leave('ok')
    t.equal(ask().member?.id, 'm7')
    t.match(ask({}, new Set([member('m7')])), { full: true }, 'also where one was tried')
  })

t.test('members in reserve take what the others have no room for, and have the same limit', async t => {
  const { ask, member, board } = scene({ method: 'none' }, 1, ['a', 'b', 'c'])
  for (const id of ['a', 'b']) board.admit(member(id).slot, member(id).epoch, 'spare')
  t.equal(ask().member?.id, 'c')
  t.same(new Set([ask().member?.id, ask().member?.id]), new Set(['a', 'b']))
  t.match(ask(), { member: null, full: true })
})

t.test('a cluster that nobody would serve is not full', async t => {
  const { ask, member, board } = scene({ method: 'none' }, 1, ['a', 'b'])
  ask()
  ask()
  for (const id of ['a', 'b']) board.admit(member(id).slot, member(id).epoch, 'none')
  t.match(ask(), { member: null, full: false, reason: '2 members: 2 not ready' })
  board.admit(member('a').slot, member('a').epoch, 'any')
  t.match(ask(), { member: null, full: true, reason: '2 members: 1 full, 1 not ready' })
})

t.test('cookie: who is bound to a full member waits for that one, also when it is fenced', async t => {
  const { ask, member, board } = scene({ method: 'cookie', name: 'tidegate', ttlSeconds: 60 }, 1, ['a', 'b'])
  const first = ask()
  const { id, slot, epoch } = first.member!
  const headers = { cookie: (first as Picked).setCookie?.split(';')[0] }
  t.match(ask({ headers }), { member: null, full: true }, 'although the other one has room')
  board.admit(slot, epoch, 'bound')
  t.match(ask({ headers }), { member: null, full: true })
  member(id).leave('ok')
  t.match(ask({ headers }), { member: { id }, bound: true, setCookie: null })
  board.admit(slot, epoch, 'none')
  t.notMatch(ask({ headers }), { member: { id } }, 'for one that is gone nobody waits')
})

t.test('client_ip: who belongs to a full member waits for that one', async t => {
  const { ask, member } = scene({ method: 'client_ip' }, 1, ['a', 'b', 'c'])
  const { id } = ask().member!
  t.match(ask(), { member: null, full: true })
  member(id).leave('ok')
  t.match(ask(), { member: { id }, bound: true })
})

t.test('two loops that come for the last place at once: it is full, not gone', async t => {
  const { ask, member } = scene({ method: 'none' }, 1, ['a'])
  const a = member('a')
  const enter = a.enter.bind(a)
  // The other loop enters as well, between our look and our entry, and steps back as we do.
  Object.defineProperty(a, 'enter', {
    value: (bound: boolean) => {
      enter(bound)
      const entered = enter(bound)
      queueMicrotask(() => a.leave('aborted'))
      return entered
    },
  })
  t.match(ask(), { member: null, full: true })
  await Promise.resolve()
  t.equal(a.load(), 0)
})
