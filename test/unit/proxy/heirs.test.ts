/** Where a session goes that its backend does not take any more, on a real board and a real table. */
import t from 'tap'
import type { AffinityConfig } from '../../../lib/config/config.ts'
import { failoverValue } from '../../../lib/proxy/heirs.ts'
import { type Picked, pick } from '../../../lib/proxy/pick.ts'
import { backend, clusterConfig, clusterKit } from '../../support/cluster-kit.ts'
import { nobody } from '../../support/members.ts'

const affinity: AffinityConfig = { method: 'cookie', name: 'tidegate', ttlSeconds: 3600 }
const of = (id: string, asOfMs: number) => ({ instance: id, incarnation: `life-of-${id}`, asOfMs })

/** a; b and c are its clones as of 10 and 20; x has nothing of them. */
async function family(over: object = {}) {
  const kit = clusterKit([clusterConfig({ affinity, ...over })])
  const { clusters, plane, clock } = kit
  clusters.start([])
  const lives = [
    backend('a', { port: 1 }),
    backend('b', { port: 2, lineage: [of('a', 10)] }),
    backend('c', { port: 3, lineage: [of('a', 20)] }),
    backend('x', { port: 4 }),
  ]
  await clusters.change('web', { add: lives })
  const ask = (cookie: string | null, tried = nobody) => {
    const headers = cookie === null ? {} : { cookie }
    const request = { clientIp: '192.0.2.1', path: '/', headers, secure: false, nowMs: clock.now() }
    const answer = pick(plane.table!.match('h', '/')!, request, tried)
    if (answer.member !== null) answer.member.leave('ok')
    return answer
  }
  /** A client of that backend: the pair that it would send. */
  const clientOf = (id: string): string => {
    for (;;) {
      const answer = ask(null) as Picked
      if (answer.member.id === id) return answer.setCookie!.split(';')[0]!
    }
  }
  const lose = (id: string) => {
    const { incarnation, lineage = [] } = lives.find(life => life.id === id)! as ReturnType<
      typeof backend
    > & {
      readonly lineage?: []
    }
    return clusters.change('web', { remove: [id], lost: [{ id, incarnation, lineage }] })
  }
  return { ...kit, ask, clientOf, lose }
}

t.test(
  'a session of one that is gone goes to who has most of its memory, and takes the name along',
  async t => {
    const { ask, clientOf, lose } = await family()
    const cookie = clientOf('a')
    t.match(ask(cookie), { member: { id: 'a' }, bound: true, moved: null })
    await lose('a')
    const moved = ask(cookie) as Picked
    t.match(moved, { member: { id: 'c' }, bound: false, moved: { from: 'a', asOfMs: 20 } })
    t.equal(failoverValue(moved.moved!), 'from=a; as-of=1970-01-01T00:00:00.020Z')
    t.match(ask(cookie), { moved: { from: 'a' } }, 'until the client uses its new cookie')
    t.match(ask(moved.setCookie!.split(';')[0]!), { member: { id: 'c' }, bound: true, moved: null })
  },
)

t.test('the next best where the best does not take it; the balancer where nobody has anything', async t => {
  const { ask, clientOf, lose, clusters, plane } = await family()
  const [cookie, stranger] = [clientOf('a'), clientOf('x')]
  await lose('a')
  clusters.fence('web', 'c', 'leaving')
  t.match(ask(cookie), { member: { id: 'b' }, moved: { from: 'a', asOfMs: 10 } })
  t.match(ask(cookie, new Set([plane.member('b')])), { member: { id: 'x' }, moved: null })
  await lose('x')
  for (let i = 0; i < 4; i++) t.match(ask(stranger), { moved: null }, 'nobody has anything of x')
})

t.test('also before anybody has noticed: the backend was tried in vain, or is down', async t => {
  const { ask, clientOf, plane, clusters } = await family()
  const cookie = clientOf('b')
  t.match(ask(cookie, new Set([plane.member('b')])), { moved: { from: 'b', asOfMs: 10 } })
  clusters.mark('web', 'b', 'maint')
  t.match(ask(cookie), { moved: { from: 'b', asOfMs: 10 } })
})

t.test('of several that have the same the least busy', async t => {
  const { ask, clientOf, lose, plane } = await family()
  const cookie = clientOf('b')
  await lose('b')
  plane.member('a').enter(false)
  t.match(ask(cookie), { member: { id: 'c' }, moved: { asOfMs: 10 } })
  plane.member('c').enter(false)
  plane.member('c').enter(false)
  t.match(ask(cookie), { member: { id: 'a' } })
})

t.test('who comes without a cookie, or with one that nobody issued, is told nothing', async t => {
  const { ask, lose } = await family()
  await lose('a')
  for (const cookie of [null, 'tidegate=AQHk', 'other=1']) t.match(ask(cookie), { moved: null })
})
