import t from 'tap'
import { createRing } from '../../../../lib/cluster/balance/ring.ts'
import { balancerOf } from '../../../support/balancers.ts'
import { crowd, nobody, seed, seeded } from '../../../support/members.ts'

const start = seed()
t.comment(`SEED=${start}`)
const random = seeded(start)
const hashes = Array.from({ length: 500 }, () => Math.floor(random() * 2 ** 32))

for (const weights of [Array<number>(10).fill(1), Array.from({ length: 10 }, (_, at) => 1 + at)]) {
  const name = `weights ${weights.join(' ')}`
  t.test(`${name}: without load each key goes to its owner`, async t => {
    const { members } = crowd(weights)
    const ring = createRing(members, null)
    const balancer = balancerOf('consistent_hash', members, { ring })
    for (const hash of hashes)
      if (balancer.pick(nobody, hash) !== ring.owner(hash)) throw new Error(`${hash}`)
    t.pass(`${hashes.length} keys`)
  })

  t.test(`${name}: one key with many clients fills nobody above the bound`, async t => {
    for (const factor of [1.1, 1.25, 2]) {
      const { members } = crowd(weights)
      const balancer = balancerOf('consistent_hash', members, { hashBalanceFactor: factor })
      const sum = weights.reduce((a, b) => a + b)
      for (let total = 1; total <= 400; total++) {
        const member = balancer.pick(nobody, 42)!
        member.enter(false)
        const allowed = Math.ceil((factor * total * member.weight) / sum)
        if (member.load() > allowed) throw new Error(`${member.id}: ${member.load()} of ${allowed}`)
      }
      t.equal(
        members.reduce((all, member) => all + member.load(), 0),
        400,
      )
    }
  })

  t.test(`${name}: keys come back to their owner when there is room again`, async t => {
    const { members } = crowd(weights)
    const ring = createRing(members, null)
    const balancer = balancerOf('consistent_hash', members, { ring })
    const owner = ring.owner(7)!
    for (let i = 0; i < 50; i++) owner.enter(false)
    const other = balancer.pick(nobody, 7)!
    t.not(other, owner)
    t.equal(balancer.pick(nobody, 7), other, 'the next in its order, always the same')
    for (let i = 0; i < 50; i++) owner.leave('ok')
    t.equal(balancer.pick(nobody, 7), owner)
  })
}

t.test('only those that take clients count for the mean', async t => {
  const { members, admit } = crowd(Array<number>(10).fill(1))
  for (let at = 2; at < 10; at++) {
    for (let i = 0; i < 30; i++) members[at]!.enter(false)
    admit(at, 'bound')
  }
  const balancer = balancerOf('consistent_hash', members)
  for (let i = 0; i < 100; i++) balancer.pick(nobody, 1)!.enter(false)
  for (const member of members.slice(0, 2)) t.ok(member.load() <= 63, `${member.load()} of 50 on average`)
})

t.test('with hundreds of members a burst between two sums is counted', async t => {
  const { members } = crowd(Array<number>(300).fill(1))
  // The clock stands still: the sums are made once.
  const balancer = balancerOf('consistent_hash', members, { now: () => 1 })
  for (let i = 0; i < 1200; i++) balancer.pick(nobody, 5)!.enter(false)
  const most = Math.max(...members.map(member => member.load()))
  t.ok(most <= 5, `at most ⌈1.25 · 4⌉ on one: ${most}`)
})

t.test('without a key by chance', async t => {
  const { members } = crowd(Array<number>(10).fill(1))
  const balancer = balancerOf('consistent_hash', members, { random })
  t.equal(new Set(Array.from({ length: 300 }, () => balancer.pick(nobody))).size, 10)
})
