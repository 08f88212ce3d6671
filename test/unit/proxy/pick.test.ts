import t from 'tap'
import type { Member } from '../../../lib/cluster/member.ts'
import type { AffinityConfig, ClusterConfig } from '../../../lib/config/config.ts'
import { type Picked, pick, type Refused } from '../../../lib/proxy/pick.ts'
import { affinityKey, backend, clusterConfig, clusterKit } from '../../support/cluster-kit.ts'
import { nobody } from '../../support/members.ts'

const ttlSeconds = 3600
const byCookie: AffinityConfig = { method: 'cookie', name: 'tidegate', ttlSeconds }

/** A cluster of a, b, c; `ask` is one request, `cookie` the pair that a response set. */
function scene(affinity: AffinityConfig, ids = ['a', 'b', 'c'], over: Partial<ClusterConfig> = {}) {
  const backends = ids.map((id, i) => ({ id, host: '127.0.0.1', port: i + 1, weight: 1 }))
  const kit = clusterKit([clusterConfig({ affinity, backends, ...over })])
  kit.clusters.start([])
  kit.plane.take(kit.clusters.table())
  const ask = (over: object = {}, tried: ReadonlySet<Member> = nobody) =>
    pick(
      kit.plane.table!.match('h', '/')!,
      { clientIp: '192.0.2.1', path: '/', headers: {}, secure: false, nowMs: kit.clock.now(), ...over },
      tried,
    )
  const taken = (answer: Picked | Refused): Picked => {
    if (answer.member === null) throw new Error(answer.reason)
    answer.member.leave('ok')
    return answer
  }
  const served = (over: object = {}, tried: ReadonlySet<Member> = nobody) => taken(ask(over, tried))
  const withCookie = (cookie: string | null) => ({ headers: { cookie: cookie ?? '' } })
  return { ...kit, ask, served, withCookie }
}

const pairOf = ({ setCookie }: Picked) => setCookie!.split(';')[0]!

t.test('the member is entered, once', async t => {
  const { ask } = scene({ method: 'none' })
  const { member } = ask()
  t.equal(member?.load(), 1)
  member?.leave('ok')
  t.equal(member?.load(), 0)
})

t.test('no affinity: the balancer, nothing bound, no cookie', async t => {
  const { served, plane } = scene({ method: 'none' })
  const picks = Array.from({ length: 6 }, () => served())
  t.strictSame([...new Set(picks.map(p => p.member.id))].sort(), ['a', 'b', 'c'])
  for (const p of picks) t.match(p, { bound: false, setCookie: null, sighting: null })
  const tried = new Set([plane.member('a'), plane.member('c')])
  t.equal(served({}, tried).member.id, 'b')
})

t.test('a refusal says how many members there are and what keeps them', async t => {
  const { ask, clusters, plane, clock, health } = scene({ method: 'none' })
  health.set(1, { ok: false, reason: 'no' })
  await clock.advance(7000)
  clusters.fence('web', 'b', 'x')
  clusters.mark('web', 'c', 'drain')
  t.strictSame(ask(), {
    member: null,
    code: 'no_backend',
    reason: '3 members: 1 not ready, 2 draining',
    full: false,
  })
  clusters.unfence('web', 'b')
  t.match(ask({}, new Set([plane.member('b')])), {
    reason: '3 members: 1 not ready, 1 already tried, 1 draining',
  })
  t.match(scene({ method: 'none' }, []).ask(), { member: null, reason: 'cluster web has no members' })
})

for (const affinity of [{ method: 'none' }, byCookie] as const)
  t.test(`${affinity.method}: those in reserve serve when nobody else can, the least busy first`, async t => {
    const { ask, served, plane } = scene(affinity)
    const [a, b, c] = ['a', 'b', 'c'].map(id => plane.member(id)) as [Member, Member, Member]
    for (const { slot, epoch } of [a, b]) plane.board.admit(slot, epoch, 'spare')
    for (let i = 0; i < 6; i++) t.equal(served().member.id, 'c')
    t.ok(a.enter(false), 'who comes is let in')
    t.equal(served({}, new Set([c])).member.id, 'b')
    t.match(ask({}, new Set([a, b, c])), { member: null })
    plane.board.admit(c.slot, c.epoch, 'none')
    t.equal(served().member.id, 'b')
  })

t.test('client_ip: the owner may be in reserve; when it is closed another in reserve serves', async t => {
  const { served, plane } = scene({ method: 'client_ip' })
  const owner = served().member
  for (const id of ['a', 'b', 'c']) plane.board.admit(plane.member(id).slot, plane.member(id).epoch, 'spare')
  t.match(served(), { bound: true, member: { id: owner.id } })
  plane.board.admit(owner.slot, owner.epoch, 'none')
  const other = served()
  t.notOk(other.bound)
  t.not(other.member.id, owner.id)
})

t.test('a member of weight 0 takes nobody new, and keeps who is bound', async t => {
  const { ask, clusters, served, withCookie } = scene(byCookie, [])
  await clusters.change('web', { add: [backend('z')] })
  const pair = pairOf(served())
  await clusters.change('web', { remove: ['z'], add: [backend('z', { weight: 0 })] })
  t.match(ask(), { member: null, reason: '1 member: 1 of weight 0' })
  t.match(served(withCookie(pair)), { bound: true })
})

for (const closed of ['bound', 'none'] as const)
  t.test(`lost against a fence (${closed}) between look and entry: another is taken`, async t => {
    const { plane, board, ask } = scene({ method: 'none' })
    const { members } = plane.table!.match('h', '/')!
    const loser = plane.member('a')
    // The fence falls at the last moment: after the balancer looked, before the entry.
    let looked = 0
    const enter = loser.enter.bind(loser)
    Object.defineProperty(loser, 'enter', {
      value: (bound: boolean) => {
        looked++
        board.admit(loser.slot, loser.epoch, closed)
        return enter(bound)
      },
    })
    const seen = new Set<string | undefined>()
    for (let i = 0; i < 6; i++) seen.add(ask().member?.id)
    t.equal(looked, 1)
    t.strictSame([...seen].sort(), ['b', 'c'])
    t.equal(loser.load(), 0, 'nothing stays counted')
    t.equal(board.total(loser.slot, 'started'), 0)
    t.equal(
      members.reduce((sum, member) => sum + member.load(), 0),
      6,
    )
  })

t.test('cookie: issued once, then bound wherever the balancer would go', async t => {
  const { served, withCookie, clock, plane } = scene(byCookie)
  const first = served({ secure: true })
  t.match(first, {
    bound: false,
    setCookie: /^tidegate=[\w-]+; Max-Age=3600; Path=\/; HttpOnly; Secure; SameSite=Lax$/,
  })
  const { slot, epoch } = first.member
  t.match(first.sighting, { slot, epoch, expiresAtMs: clock.now() + ttlSeconds * 1000 })
  const pair = pairOf(first)
  for (let i = 0; i < 5; i++) {
    const again = served(withCookie(`other=1; ${pair}`))
    t.match(again, { member: { id: first.member.id }, bound: true, setCookie: null })
    t.equal(again.sighting === null, i > 0, 'told once a thread')
    if (i === 0) t.strictSame(again.sighting, first.sighting)
  }
  t.equal(plane.member(first.member.id), first.member)
})

t.test('cookie: a fenced or draining member keeps its client and takes no other', async t => {
  const { served, withCookie, clusters } = scene(byCookie)
  const first = served()
  const { id } = first.member
  clusters.fence('web', id, 'x')
  t.match(served(withCookie(pairOf(first))), { member: { id }, bound: true, setCookie: null })
  for (let i = 0; i < 6; i++) t.not(served().member.id, id)
})

t.test(
  'cookie: a member that is down, gone or tried gives its client up, with the session id kept',
  async t => {
    const { served, withCookie, clusters, plane } = scene(byCookie)
    const first = served()
    const { id } = first.member
    clusters.mark('web', id, 'maint')
    const moved = served(withCookie(pairOf(first)))
    t.not(moved.member.id, id)
    t.match(moved, { bound: false, setCookie: /^tidegate=/ })
    t.equal(moved.sighting?.session, first.sighting?.session)
    t.match(served(withCookie(pairOf(moved))), { member: { id: moved.member.id }, bound: true })

    const retried = served(withCookie(pairOf(moved)), new Set([moved.member]))
    t.not(retried.member.id, moved.member.id)
    t.match(retried, { bound: false, setCookie: /^tidegate=/ })

    await clusters.change('web', { remove: [moved.member.id] })
    t.not(served(withCookie(pairOf(moved))).member.id, moved.member.id)
    t.throws(() => plane.member(moved.member.id))
  },
)

t.test('cookie: a new life at an old address inherits nobody', async t => {
  const { served, withCookie, clusters } = scene(byCookie, [])
  await clusters.change('web', { add: [backend('z')] })
  const first = served()
  await clusters.change('web', { remove: ['z'], add: [backend('z', { incarnation: 'second' })] })
  t.match(served(withCookie(pairOf(first))), { bound: false, setCookie: /^tidegate=/ })
})

t.test('cookie: what cannot be believed is as good as none', async t => {
  const { served, withCookie } = scene(byCookie)
  const pair = pairOf(served())
  const value = pair.slice('tidegate='.length)
  const changed = `${value.slice(0, -2)}${value.endsWith('AA') ? 'BB' : 'AA'}`
  for (const cookie of ['tidegate=', 'tidegate=x', `tidegate=${changed}`, 'tidegate=%00%ff', `tidegate="`]) {
    const answer = served(withCookie(cookie))
    t.match(answer, { bound: false, setCookie: /^tidegate=/ }, cookie)
  }
})

t.test('cookie: its life ends here, whatever the browser does', async t => {
  const { served, withCookie, clock } = scene(byCookie)
  const first = served()
  await clock.advance(ttlSeconds * 1000 - 1)
  t.ok(served(withCookie(pairOf(first))).bound, 'the last moment')
  await clock.advance(1)
  const late = served(withCookie(pairOf(first)))
  t.notOk(late.bound)
  t.not(late.sighting?.session, first.sighting?.session)
})

t.test('cookie: renewed when a quarter of its life is over, so that who stays active stays', async t => {
  const { served, withCookie, clock } = scene(byCookie)
  const first = served()
  await clock.advance(ttlSeconds * 250)
  t.equal(served(withCookie(pairOf(first))).setCookie, null)
  await clock.advance(1)
  const renewed = served(withCookie(pairOf(first)))
  t.match(renewed, { bound: true, setCookie: /^tidegate=/, member: { id: first.member.id } })
  t.match(renewed.sighting, {
    session: first.sighting!.session,
    expiresAtMs: clock.now() + ttlSeconds * 1000,
  })
  await clock.advance(ttlSeconds * 800)
  t.ok(served(withCookie(pairOf(renewed))).bound, 'longer than the first one lived')
})

t.test('cookie: a clock that was set back does not make it immortal', async t => {
  const { served, withCookie, clock } = scene(byCookie)
  const nowMs = clock.now()
  const first = served({ nowMs: nowMs + 10 * ttlSeconds * 1000 })
  const renewed = served({ ...withCookie(pairOf(first)), nowMs })
  t.match(renewed, { bound: true, setCookie: /^tidegate=/ })
  t.equal(renewed.sighting?.expiresAtMs, nowMs + ttlSeconds * 1000)
})

t.test('cookie: keys rotate under a session', async t => {
  const { served, withCookie, clusters } = scene(byCookie)
  const first = served()
  const cookie = pairOf(first)
  await clusters.setAffinityKeys([affinityKey(2), affinityKey(1)])
  const renewed = served(withCookie(cookie))
  t.match(renewed, { bound: true, setCookie: /^tidegate=/, member: { id: first.member.id } })
  const next = pairOf(renewed)
  await clusters.setAffinityKeys([affinityKey(2)])
  t.ok(served(withCookie(next)).bound)
  t.notOk(served(withCookie(cookie)).bound, 'under the key that is gone')
})

t.test('cookie: of several the one that is ours, of several of ours one whose member is here', async t => {
  const { served, withCookie, clusters } = scene(byCookie)
  const here = served()
  const left = served()
  t.not(here.member.id, left.member.id)
  await clusters.change('web', { remove: [left.member.id] })
  const cookie = `tidegate=rubbish; ${pairOf(left)}; ${pairOf(here)}`
  t.match(served(withCookie(cookie)), { bound: true, member: { id: here.member.id } })
})

t.test(
  'client_ip: one member an address; fenced it keeps them, down it gives them up and takes them back',
  async t => {
    const { served, clusters, clock, plane } = scene({ method: 'client_ip' })
    const of = (clientIp: string) => served({ clientIp })
    const { id } = of('192.0.2.1').member
    for (let i = 0; i < 5; i++) t.match(of('192.0.2.1'), { member: { id }, bound: true, setCookie: null })
    const ips = Array.from({ length: 60 }, (_, i) => `198.51.100.${i}`)
    t.equal(new Set(ips.map(ip => of(ip).member.id)).size, 3)
    const retried = served({ clientIp: '192.0.2.1' }, new Set([plane.member(id)]))
    t.not(retried.member.id, id)
    t.notOk(retried.bound)
    clusters.fence('web', id, 'x')
    t.match(of('192.0.2.1'), { member: { id }, bound: true })
    clusters.unfence('web', id)
    const before = ips.map(ip => of(ip).member.id)
    clusters.mark('web', id, 'maint')
    const during = ips.map(ip => of(ip).member.id)
    for (const [i, ip] of ips.entries()) {
      if (before[i] === id) t.not(during[i], id, ip)
      else t.equal(during[i], before[i], ip)
    }
    t.match(of('192.0.2.1'), { bound: false })
    clusters.mark('web', id, null)
    await clock.advance(1)
    t.strictSame(
      ips.map(ip => of(ip).member.id),
      before,
    )
  },
)

t.test('client_ip: addresses of one /64 are one client', async t => {
  const { served } = scene({ method: 'client_ip' }, ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'])
  const ids = Array.from({ length: 20 }, (_, i) => served({ clientIp: `2001:db8::${i + 1}` }).member.id)
  t.equal(new Set(ids).size, 1)
})

t.test('consistent_hashing: by the key; without one the balancer', async t => {
  const parameter = { from: 'header', name: 'x-user' } as const
  const { served, ask, clusters } = scene({ method: 'consistent_hashing', parameter })
  const of = (user: string) => served({ headers: { 'x-user': user } })
  const { id } = of('u1').member
  for (let i = 0; i < 5; i++) t.match(of('u1'), { member: { id }, bound: true })
  t.equal(new Set(Array.from({ length: 60 }, (_, i) => of(`u${i}`).member.id)).size, 3)
  t.equal(new Set(Array.from({ length: 6 }, () => served().member.id)).size, 3)
  t.match(served(), { bound: false })
  for (const backend of ['a', 'b', 'c']) clusters.mark('web', backend, 'maint')
  t.match(ask({ headers: { 'x-user': 'u1' } }), { member: null, reason: '3 members: 3 not ready' })
})

const byHash = { balance: 'consistent_hash' } as const

t.test('consistent_hash: by the address; what is over the bound goes to the next', async t => {
  const { ask, served } = scene({ method: 'none' }, ['a', 'b', 'c', 'd'], byHash)
  const of = (clientIp: string) => served({ clientIp }).member.id
  const ips = Array.from({ length: 60 }, (_, i) => `198.51.100.${i}`)
  const before = ips.map(of)
  t.equal(new Set(before).size, 4)
  t.strictSame(ips.map(of), before)
  const stay = Array.from({ length: 40 }, () => ask({ clientIp: '192.0.2.1' }).member!)
  for (const member of stay)
    t.ok(member.load() <= Math.ceil((1.25 * 40) / 4), `${member.id} ${member.load()}`)
})

t.test('consistent_hash: a fenced owner keeps its keys and takes no other', async t => {
  const parameter = { from: 'header', name: 'x-user' } as const
  const { served, clusters } = scene({ method: 'consistent_hashing', parameter }, ['a', 'b', 'c'], byHash)
  const of = (user: string) => served({ headers: { 'x-user': user } })
  const users = Array.from({ length: 30 }, (_, i) => `u${i}`)
  const owners = users.map(user => of(user).member.id)
  t.match(of('u0'), { bound: true })
  clusters.fence('web', owners[0]!, 'x')
  t.strictSame(
    users.map(user => of(user).member.id),
    owners,
  )
  t.match(of('u0'), { bound: true })
  t.equal(served().member, served().member, 'without the key by the address')
  clusters.mark('web', owners[0]!, 'maint')
  const moved = users.map(user => of(user).member.id)
  for (const [i, owner] of owners.entries())
    if (owner === owners[0]) t.not(moved[i], owner)
    else t.equal(moved[i], owner)
})

t.test('consistent_hash with a cookie: a new client by its address, then by its cookie', async t => {
  const { served, withCookie, clusters } = scene(byCookie, ['a', 'b', 'c'], byHash)
  const first = served({ clientIp: '192.0.2.9' })
  for (let i = 0; i < 5; i++) t.equal(served({ clientIp: '192.0.2.9' }).member, first.member)
  clusters.fence('web', first.member.id, 'x')
  t.not(served({ clientIp: '192.0.2.9' }).member, first.member)
  t.match(served({ ...withCookie(pairOf(first)), clientIp: '192.0.2.9' }), {
    member: { id: first.member.id },
  })
})

t.test('consistent_hash: nobody, and those in reserve', async t => {
  const { ask, clusters, plane, board } = scene({ method: 'none' }, ['a', 'b'], byHash)
  for (const id of ['a', 'b']) clusters.mark('web', id, 'maint')
  t.match(ask(), { member: null, reason: '2 members: 2 not ready' })
  const { slot, epoch } = plane.member('b')
  board.admit(slot, epoch, 'spare')
  t.match(ask(), { member: { id: 'b' } })
})

t.test('who looks while some open as others close finds somebody, in whichever order it looks', async t => {
  for (const opening of ['a', 'b']) {
    const { ask, board, plane } = scene({ method: 'none' }, ['a', 'b'])
    const [comes, leaves] = ['a', 'b'].toSorted(id => (id === opening ? -1 : 1)).map(id => plane.member(id))
    board.admitAtTurn(comes!.slot, comes!.epoch, 'none', 'any')
    board.admitAtTurn(leaves!.slot, leaves!.epoch, 'any', 'bound')
    const own = board.eligibility
    let looks = 0
    board.eligibility = (slot, epoch) => {
      const seen = own.call(board, slot, epoch)
      if (++looks === 1) board.turn()
      return seen
    }
    t.equal(ask().member?.id, opening, `${opening} opens`)
  }
})
