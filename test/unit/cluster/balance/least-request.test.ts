import t from 'tap'
import { balancerOf } from '../../../support/balancers.ts'
import { crowd, nobody, seed, seeded, tally } from '../../../support/members.ts'

const start = seed()
t.comment(`SEED=${start}`)

t.test('of a few, the one with the least under way', async t => {
  const { members } = crowd([1, 1, 1])
  members[0]!.enter(false)
  members[0]!.enter(false)
  members[1]!.enter(false)
  const balancer = balancerOf('least_request', members, { random: seeded(start) })
  for (let i = 0; i < 20; i++) t.equal(balancer.pick(nobody)?.id, 'm2')
  members[2]!.enter(false)
  members[2]!.becomeTunnel()
  members[2]!.enter(false)
  t.equal(balancer.pick(nobody)?.id, 'm1', 'a tunnel counts like an exchange')
})

for (const count of [4, 40])
  t.test(`with nothing under way ${count} are picked by chance, by weight`, async t => {
    const weights = Array.from({ length: count }, (_, at) => 1 + (at % 2) * 3)
    const { members } = crowd(weights)
    const balancer = balancerOf('least_request', members, { random: seeded(start) })
    const counts = tally(count * 1000, () => balancer.pick(nobody))
    for (const { id, weight } of members) {
      const expected = (weight * count * 1000) / ((count / 2) * 5)
      const found = counts.get(id) ?? 0
      t.ok(Math.abs(found - expected) < expected * 0.35, `${id} of weight ${weight}: ${found} of ${expected}`)
    }
  })

t.test('of many, the lesser of two: the busiest is never picked, the spread stays narrow', async t => {
  const { members } = crowd(Array<number>(50).fill(1))
  for (let i = 0; i < 40; i++) members[7]!.enter(false)
  const balancer = balancerOf('least_request', members, { random: seeded(start) })
  for (let i = 0; i < 49 * 10; i++) {
    const member = balancer.pick(nobody)!
    if (member === members[7]) throw new Error('picked the busiest')
    member.enter(false)
  }
  const loads = members.filter(member => member !== members[7]).map(member => member.load())
  t.ok(Math.max(...loads) <= 16, `mean 10, most ${Math.max(...loads)}`)
})

t.test('of many, a heavy member has its whole share, not that of one draw in two', async t => {
  const { members } = crowd([60, ...Array<number>(39).fill(1)])
  const balancer = balancerOf('least_request', members, { random: seeded(start) })
  for (let i = 0; i < 990; i++) balancer.pick(nobody)!.enter(false)
  t.ok(members[0]!.load() > 480, `${members[0]!.load()} of 600`)
})

t.test('of many, two that admit are compared even where few admit', async t => {
  const { members, admit } = crowd(Array<number>(100).fill(1))
  for (let slot = 0; slot < 98; slot++) admit(slot, 'none')
  members[98]!.enter(false)
  const balancer = balancerOf('least_request', members, { random: seeded(start) })
  for (let i = 0; i < 50; i++) t.equal(balancer.pick(nobody)?.id, 'm99')
})
