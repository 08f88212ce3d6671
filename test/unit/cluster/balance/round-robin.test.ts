import t from 'tap'
import { RoundRobin } from '../../../../lib/cluster/balance/round-robin.ts'
import { crowd, nobody } from '../../../support/members.ts'

const turns = (balancer: RoundRobin<ReturnType<typeof crowd>['members'][number]>, count: number) =>
  Array.from({ length: count }, () => balancer.pick(nobody)?.id).join(' ')

t.test('equal members take turns in order, from a random one on', async t => {
  const { members } = crowd([1, 1, 1])
  t.equal(turns(new RoundRobin(members, () => 0, null), 6), 'm0 m1 m2 m0 m1 m2')
  t.equal(turns(new RoundRobin(members, () => 0.99, null), 4), 'm2 m0 m1 m2')
})

t.test("a heavy member's turns are spread", async t => {
  const { members } = crowd([4, 1, 1])
  const order = turns(new RoundRobin(members, () => 0, null), 6)
  t.equal(order.split(' ').filter(id => id === 'm0').length, 4)
  t.notMatch(order, /m0 m0 m0/)
})

t.test('a closed member leaves its turns to all the others, not to its neighbour', async t => {
  const { members, admit } = crowd([1, 1, 1, 1])
  admit(1, 'none')
  t.equal(turns(new RoundRobin(members, () => 0, null), 6), 'm0 m2 m3 m0 m2 m3')
})

t.test('the next generation goes on where this one was', async t => {
  const { members } = crowd([1, 1, 1])
  const before = new RoundRobin(members, () => 0, null)
  turns(before, 2)
  t.equal(turns(new RoundRobin(members, () => 0, before), 3), 'm2 m0 m1')
})

t.test('weights that have no small common measure are rounded, and none to nothing', async t => {
  const { members } = crowd([0.5, 1_000_003, 999_983])
  const balancer = new RoundRobin(members, () => 0, null)
  const ids = turns(balancer, 400).split(' ')
  t.ok(ids.includes('m0'), 'the lightest has a turn')
  const share = ids.filter(id => id === 'm1').length / ids.length
  t.ok(share > 0.47 && share < 0.53, `half: ${share}`)
})
