import t from 'tap'
import { LeastRequest } from '../../../../lib/cluster/balance/least-request.ts'
import { crowd, nobody, seed, seeded } from '../../../support/members.ts'

const start = seed()
t.comment(`SEED=${start}`)

t.test('of a few, the one with the least under way', async t => {
  const { members } = crowd([1, 1, 1])
  members[0]!.enter(false)
  members[0]!.enter(false)
  members[1]!.enter(false)
  const balancer = new LeastRequest(members, seeded(start))
  for (let i = 0; i < 20; i++) t.equal(balancer.pick(nobody)?.id, 'm2')
  members[2]!.enter(false)
  members[2]!.becomeTunnel()
  members[2]!.enter(false)
  t.equal(balancer.pick(nobody)?.id, 'm1', 'a tunnel counts like an exchange')
})

t.test('equals are picked by chance, evenly', async t => {
  const { members } = crowd([1, 1, 1, 1])
  const balancer = new LeastRequest(members, seeded(start))
  const counts = new Map<string, number>()
  for (let i = 0; i < 4000; i++) {
    const { id } = balancer.pick(nobody)!
    counts.set(id, (counts.get(id) ?? 0) + 1)
  }
  for (const [id, count] of counts) t.ok(Math.abs(count - 1000) < 150, `${id}: ${count}`)
})

t.test('of many, the lesser of two: the busiest is never picked, the spread stays narrow', async t => {
  const { members } = crowd(Array<number>(50).fill(1))
  for (let i = 0; i < 40; i++) members[7]!.enter(false)
  const balancer = new LeastRequest(members, seeded(start))
  for (let i = 0; i < 49 * 10; i++) {
    const member = balancer.pick(nobody)!
    if (member === members[7]) throw new Error('picked the busiest')
    member.enter(false)
  }
  const loads = members.filter(member => member !== members[7]).map(member => member.load())
  t.ok(Math.max(...loads) <= 15, `mean 10, most ${Math.max(...loads)}`)
})

t.test('of many, two that admit are compared even where few admit', async t => {
  const { members, admit } = crowd(Array<number>(100).fill(1))
  for (let slot = 0; slot < 98; slot++) admit(slot, 'none')
  members[98]!.enter(false)
  const balancer = new LeastRequest(members, seeded(start))
  for (let i = 0; i < 50; i++) t.equal(balancer.pick(nobody)?.id, 'm99')
})
