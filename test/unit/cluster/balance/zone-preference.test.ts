import t from 'tap'
import { balancerOf } from '../../../support/balancers.ts'
import { type Crowd, crowd, nobody, seed, seeded } from '../../../support/members.ts'

const start = seed()
t.comment(`SEED=${start}`)

/** `layout`: how many members each zone has; the Tidegate is in `a`. */
function scene(layout: Readonly<Record<string, number>>, kind: Parameters<typeof balancerOf>[0] = 'random') {
  const zones = Object.entries(layout).flatMap(([zone, count]) => Array<string>(count).fill(zone))
  const clock = { ms: 1_700_000_000_000 }
  const people = crowd(
    zones.map(() => 1),
    { zoneOf: at => (zones[at] === 'none' ? null : zones[at]!) },
  )
  const over = { zone: 'a', random: seeded(start), now: () => clock.ms }
  const balancer = balancerOf(kind, people.members, over)
  const shares = (picks = 6000) => {
    const found: Record<string, number> = {}
    for (let i = 0; i < picks; i++) {
      const { zone } = balancer.pick(nobody)!
      found[zone ?? 'none'] = (found[zone ?? 'none'] ?? 0) + 1 / picks
    }
    return found
  }
  return { ...people, clock, balancer, shares, over }
}

const near = (share: number | undefined, expected: number) => Math.abs((share ?? 0) - expected) < 0.03
const close = ({ members, admit }: Crowd, zone: string, count: number) => {
  for (const member of members.filter(one => one.zone === zone).slice(0, count)) admit(member.slot, 'none')
}

t.test('the own zone takes every client as long as it has its fair part of the capacity', async t => {
  t.strictSame(Object.keys(scene({ a: 3, b: 3 }).shares()), ['a'])
  t.strictSame(Object.keys(scene({ a: 2, b: 2, c: 2 }).shares()), ['a'])
  t.strictSame(Object.keys(scene({ a: 5, b: 1 }).shares()), ['a'])
})

t.test('with less, the rest goes to the zones that have more than theirs', async t => {
  const half = scene({ a: 2, b: 4 }).shares()
  t.ok(near(half.a, 2 / 3) && near(half.b, 1 / 3), JSON.stringify(half))
  const three = scene({ a: 1, b: 3, c: 5 }).shares()
  t.ok(near(three.a, 1 / 3) && near(three.b, 0) && near(three.c, 2 / 3), JSON.stringify(three))
})

t.test('it goes by who is ready now', async t => {
  const people = scene({ a: 4, b: 4 })
  t.strictSame(Object.keys(people.shares()), ['a'])
  close(people, 'a', 2)
  people.clock.ms += 1000
  const shares = people.shares()
  t.ok(near(shares.a, 2 / 3) && near(shares.b, 1 / 3), JSON.stringify(shares))
  close(people, 'a', 4)
  t.strictSame(Object.keys(people.shares(100)), ['b'], 'at once, when nobody is left')
  close(people, 'b', 4)
  t.equal(people.balancer.pick(nobody), null)
})

t.test('members that were tried are left out, also across zones', async t => {
  const { members, balancer } = scene({ a: 1, b: 1 })
  t.equal(balancer.pick(new Set([members[0]!])), members[1])
  t.equal(balancer.pick(new Set(members)), null)
})

t.test('a member of no zone is elsewhere; a Tidegate alone in its zone sends everything out', async t => {
  const mixed = scene({ a: 3, none: 3 })
  t.strictSame(Object.keys(mixed.shares(200)), ['a'])
  const away = scene({ b: 2, c: 2 }).shares()
  t.ok(near(away.b, 0.5) && near(away.c, 0.5), JSON.stringify(away))
})

t.test('within its zone the balancer of the cluster decides, and keeps its place', async t => {
  const { members, over } = scene({ a: 3, b: 3 }, 'round_robin')
  const before = balancerOf('round_robin', members, { ...over, random: () => 0 })
  const ids = (balancer: typeof before, count: number) =>
    Array.from({ length: count }, () => balancer.pick(nobody)?.id).join(' ')
  t.equal(ids(before, 4), 'm0 m1 m2 m0')
  t.equal(ids(balancerOf('round_robin', members, { ...over, random: () => 0 }, before), 2), 'm1 m2')
})

t.test('keys go to their owner, wherever it is', async t => {
  const { members, over } = scene({ a: 3, b: 3 }, 'consistent_hash')
  const balancer = balancerOf('consistent_hash', members, over)
  const zones = new Set(Array.from({ length: 100 }, (_, i) => balancer.pick(nobody, i * 40_000_003)?.zone))
  t.strictSame([...zones].sort(), ['a', 'b'])
})
