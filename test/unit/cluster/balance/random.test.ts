import t from 'tap'
import { balancerOf } from '../../../support/balancers.ts'
import { crowd, nobody, seed, seeded, tally } from '../../../support/members.ts'

const start = seed()
t.comment(`SEED=${start}`)

t.test('draws by weight also from the few that admit', async t => {
  const { members, admit } = crowd([5, 1, 3, ...Array<number>(97).fill(1)])
  for (let slot = 3; slot < 100; slot++) admit(slot, 'none')
  const balancer = balancerOf('random', members, { random: seeded(start) })
  const counts = tally(9000, () => balancer.pick(nobody))
  t.ok(Math.abs(counts.get('m0')! - 5000) < 300, `5/9: ${counts.get('m0')}`)
  t.ok(Math.abs(counts.get('m1')! - 1000) < 200, `1/9: ${counts.get('m1')}`)
  t.ok(Math.abs(counts.get('m2')! - 3000) < 300, `3/9: ${counts.get('m2')}`)
})

t.test('every weight has its share of the draws', async t => {
  for (const weights of [
    [1, 1000],
    [3, 3, 3],
    [0.5, 2, 7, 1, 40],
    Array.from({ length: 30 }, (_, i) => 1 + i),
  ]) {
    const { members } = crowd(weights)
    const balancer = balancerOf('random', members, { random: seeded(start) })
    const sum = weights.reduce((a, b) => a + b)
    const counts = tally(30_000, () => balancer.pick(nobody))
    for (const { id, weight } of members) {
      const expected = (30_000 * weight) / sum
      t.ok(Math.abs((counts.get(id) ?? 0) - expected) < 6 * Math.sqrt(expected) + 6, `${id} of ${weight}`)
    }
  }
})

t.test('the greatest value of the source stays within the list', async t => {
  const { members } = crowd([1, 2, 3])
  t.ok(balancerOf('random', members, { random: () => 1 - 2 ** -53 }).pick(nobody))
})
