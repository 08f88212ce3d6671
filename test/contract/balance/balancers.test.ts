/** What every balancer keeps, whatever its algorithm. */
import t from 'tap'
import { createBalancer } from '../../../lib/cluster/balance/balancer.ts'
import type { Member } from '../../../lib/cluster/member.ts'
import { crowd, nobody, seed, seeded } from '../../support/members.ts'

const kinds = ['round_robin', 'random', 'least_request'] as const
const start = seed()
t.comment(`SEED=${start}`)

for (const kind of kinds) {
  t.test(kind, async t => {
    t.test('knows its kind and has nothing to pick from nothing', async t => {
      const balancer = createBalancer(kind, [] as Member[], seeded(start))
      t.equal(balancer.kind, kind)
      t.equal(balancer.pick(nobody), null)
    })

    t.test('picks nobody who is closed, fenced, of weight 0 or tried', async t => {
      const random = seeded(start)
      for (let round = 0; round < 200; round++) {
        const count = 1 + Math.floor(random() * 24)
        const weights = Array.from({ length: count }, () => Math.floor(random() * 4))
        const { members, admit } = crowd(weights)
        const tried = new Set<Member>()
        for (const member of members) {
          const chance = random()
          if (chance < 0.25) admit(member.slot, 'none')
          else if (chance < 0.5) admit(member.slot, 'bound')
          else if (chance < 0.6) tried.add(member)
        }
        const open = members.filter(m => m.eligibility() === 'any' && m.weight > 0 && !tried.has(m))
        const balancer = createBalancer(kind, members, random)
        for (let i = 0; i < 20; i++) {
          const picked = balancer.pick(tried)
          if (open.length === 0 ? picked !== null : !open.includes(picked as Member))
            throw new Error(`round ${round}: picked ${picked?.id} of ${open.map(m => m.id)}`)
        }
      }
      t.pass('200 random crowds')
    })

    t.test('finds the only one of 10,000 that admits, wherever it is', async t => {
      const { members, admit } = crowd(Array<number>(10_000).fill(1))
      for (const { slot } of members) admit(slot, slot % 2 === 0 ? 'none' : 'bound')
      const balancer = createBalancer(kind, members, seeded(start))
      t.equal(balancer.pick(nobody), null)
      for (const place of [0, 1, 4999, 9998, 9999]) {
        admit(place, 'any')
        t.equal(balancer.pick(nobody), members[place])
        admit(place, 'none')
      }
    })

    t.test('reaches everyone who admits', async t => {
      for (const count of [2, 8, 9, 40]) {
        const { members, admit } = crowd(Array<number>(count).fill(1))
        admit(0, 'none')
        const balancer = createBalancer(kind, members, seeded(start))
        const seen = new Set<Member | null>()
        for (let i = 0; i < count * 60; i++) seen.add(balancer.pick(nobody))
        t.equal(seen.size, count - 1, `${count} members`)
      }
    })

    t.test('gives each its share by weight of the clients that stay', async t => {
      const weights = [1, 2, 3, 4]
      const { members } = crowd(weights)
      const balancer = createBalancer(kind, members, seeded(start))
      const counts = new Map<string, number>()
      for (let i = 0; i < 10_000; i++) {
        const member = balancer.pick(nobody)!
        member.enter(false)
        counts.set(member.id, (counts.get(member.id) ?? 0) + 1)
      }
      for (const { id, weight } of members) {
        const share = (counts.get(id) ?? 0) / 10_000
        t.ok(Math.abs(share - weight / 10) < 0.03, `${id}: ${share} of ${weight / 10}`)
      }
    })

    t.test('does not change what it looks at', async t => {
      const { members, board } = crowd([1, 1, 1])
      const balancer = createBalancer(kind, members, seeded(start))
      for (let i = 0; i < 100; i++) balancer.pick(nobody)
      for (const { slot } of members) {
        t.equal(board.total(slot, 'inFlight'), 0)
        t.equal(board.total(slot, 'started'), 0)
      }
    })

    t.test('hands over to one of the same kind or another', async t => {
      const { members } = crowd([1, 1, 1, 1])
      for (const before of kinds) {
        const previous = createBalancer(before, members, seeded(start))
        previous.pick(nobody)
        const next = createBalancer(kind, members.slice(1), seeded(start), previous)
        const seen = new Set(Array.from({ length: 200 }, () => next.pick(nobody)?.id))
        t.strictSame([...seen].sort(), ['m1', 'm2', 'm3'])
      }
    })

    t.test('sees a member close and open between two picks', async t => {
      const { members, admit } = crowd([1, 1])
      const balancer = createBalancer(kind, members, seeded(start))
      admit(0, 'bound')
      for (let i = 0; i < 20; i++) t.equal(balancer.pick(nobody), members[1])
      admit(0, 'any')
      admit(1, 'none')
      for (let i = 0; i < 20; i++) t.equal(balancer.pick(nobody), members[0])
    })
  })
}
