import t from 'tap'
import { RandomPick } from '../../../../lib/cluster/balance/random.ts'
import { crowd, nobody, seed, seeded } from '../../../support/members.ts'

const start = seed()
t.comment(`SEED=${start}`)

t.test('draws by weight also from the few that admit', async t => {
  const { members, admit } = crowd([5, 1, 3, ...Array<number>(97).fill(1)])
  for (let slot = 3; slot < 100; slot++) admit(slot, 'none')
  const balancer = new RandomPick(members, seeded(start))
  const counts = { m0: 0, m1: 0, m2: 0 } as Record<string, number>
  for (let i = 0; i < 9000; i++) counts[balancer.pick(nobody)!.id]!++
  t.ok(Math.abs(counts.m0! - 5000) < 300, `5/9: ${counts.m0}`)
  t.ok(Math.abs(counts.m1! - 1000) < 200, `1/9: ${counts.m1}`)
  t.ok(Math.abs(counts.m2! - 3000) < 300, `3/9: ${counts.m2}`)
})

t.test('the greatest value of the source stays within the list', async t => {
  const { members } = crowd([1, 2, 3])
  const balancer = new RandomPick(members, () => 1 - 2 ** -53)
  t.ok(balancer.pick(nobody))
})
