import t from 'tap'
import type { Balancer } from '../../../../lib/cluster/balance/balancer.ts'
import type { Member } from '../../../../lib/cluster/member.ts'
import { balancerOf } from '../../../support/balancers.ts'
import { crowd, nobody, tally } from '../../../support/members.ts'

const turns = (balancer: Balancer<Member>, count: number) =>
  Array.from({ length: count }, () => balancer.pick(nobody)?.id).join(' ')
const from = (random: number) => ({ random: () => random })

t.test('equal members take turns in order, from a random one on', async t => {
  const { members } = crowd([1, 1, 1])
  t.equal(turns(balancerOf('round_robin', members, from(0)), 6), 'm0 m1 m2 m0 m1 m2')
  t.equal(turns(balancerOf('round_robin', members, from(0.99)), 4), 'm2 m0 m1 m2')
})

t.test("a heavy member's turns are spread", async t => {
  const { members } = crowd([5, 1, 1])
  const order = turns(balancerOf('round_robin', members, from(0)), 14)
  t.equal(order.split(' ').filter(id => id === 'm0').length, 10)
  t.notMatch(order, /m0 m0 m0 m0/)
})

t.test('a closed member leaves its turns to all the others, not to its neighbour', async t => {
  const { members, admit } = crowd([1, 1, 1, 1])
  admit(1, 'none')
  t.equal(turns(balancerOf('round_robin', members, from(0)), 6), 'm0 m2 m3 m0 m2 m3')
})

t.test('what is left keeps its shares when a heavy member closes', async t => {
  const { members, admit } = crowd([50, 1, 2, 3])
  admit(0, 'none')
  const balancer = balancerOf('round_robin', members, from(0))
  const counts = tally(600, () => balancer.pick(nobody))
  t.strictSame([...counts].sort(), [
    ['m1', 100],
    ['m2', 200],
    ['m3', 300],
  ])
})

t.test('the next generation goes on where this one was', async t => {
  const { members } = crowd([1, 1, 1])
  const before = balancerOf('round_robin', members, from(0))
  turns(before, 2)
  t.equal(turns(balancerOf('round_robin', members, from(0), before), 3), 'm2 m0 m1')
  const { members: mixed } = crowd([3, 1, 1])
  const whole = turns(balancerOf('round_robin', mixed, from(0)), 10)
  let balancer = balancerOf('round_robin', mixed, from(0))
  const parts: string[] = []
  for (let i = 0; i < 5; i++) {
    parts.push(turns(balancer, 2))
    balancer = balancerOf('round_robin', mixed, from(0.3), balancer)
  }
  t.equal(parts.join(' '), whole)
})

t.test('weights that have no small common measure, and none gets nothing', async t => {
  const { members } = crowd([5000.5, 1_000_003, 999_983])
  const balancer = balancerOf('round_robin', members, from(0))
  const counts = tally(2000, () => balancer.pick(nobody))
  t.ok((counts.get('m0') ?? 0) >= 4, 'the lightest has its turns')
  t.ok(Math.abs(counts.get('m1')! - counts.get('m2')!) < 3)
})

/** How far a member gets ahead of its share, and behind it, together: the greatest of all members. In turns. */
function unevenness(order: readonly number[], weights: readonly number[]): number {
  const sum = weights.reduce((a, b) => a + b)
  const counts = weights.map(() => 0)
  const ahead = weights.map(() => 0)
  const behind = weights.map(() => 0)
  order.forEach((turn, at) => {
    counts[turn]!++
    weights.forEach((weight, i) => {
      const off = counts[i]! - ((at + 1) * weight) / sum
      ahead[i] = Math.max(ahead[i]!, off)
      behind[i] = Math.min(behind[i]!, off)
    })
  })
  return Math.max(...weights.map((_, i) => ahead[i]! - behind[i]!))
}

/** The method of nginx: each gains its weight, the highest is picked and loses the sum. */
function nginx(weights: readonly number[], count: number): number[] {
  const sum = weights.reduce((a, b) => a + b)
  const current = weights.map(() => 0)
  return Array.from({ length: count }, () => {
    let best = 0
    weights.forEach((weight, i) => {
      current[i]! += weight
      if (current[i]! > current[best]!) best = i
    })
    current[best]! -= sum
    return best
  })
}

t.test('as even as the method of nginx', async t => {
  for (const weights of [
    [5, 1, 1],
    [4, 1, 1],
    [3, 2, 1],
    [1, 2, 3, 4],
    [7, 5, 3, 2, 1],
    [100, 1, 1, 1],
    [20, 19, 18, 17, 3, 2, 1],
    [10, 1.01, 1.02, 1.03, 1.04, 1.05],
    [5, ...Array<number>(10).fill(1)],
    [8, 8, ...Array<number>(16).fill(1)],
    Array.from({ length: 100 }, (_, i) => 1 + (i % 10)),
  ]) {
    const count = Math.round(6 * weights.reduce((a, b) => a + b))
    const { members } = crowd(weights)
    const balancer = balancerOf('round_robin', members, from(0))
    const order = Array.from({ length: count }, () => balancer.pick(nobody)!.slot)
    const own = unevenness(order, weights)
    const theirs = unevenness(nginx(weights, count), weights)
    t.ok(own < 2, `${weights.slice(0, 12)}: ${own.toFixed(2)}`)
    t.ok(own < theirs + 0.3, `${own.toFixed(2)}, nginx ${theirs.toFixed(2)}`)
  }
})
