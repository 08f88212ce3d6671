/** What every balancer keeps, whatever its algorithm, its zones and its newcomers. */
import t from 'tap'
import {
  type Balancer,
  type BalancerSetting,
  createBalancer,
  plainSetting,
} from '../../../lib/cluster/balance/balancer.ts'
import type { Member } from '../../../lib/cluster/member.ts'
import { type CrowdOptions, crowd, nobody, seed, seeded } from '../../support/members.ts'

const kinds = ['round_robin', 'random', 'least_request', 'peak_ewma', 'consistent_hash'] as const
const start = seed()
t.comment(`SEED=${start}`)

const nowMs = 1_700_000_000_000
const zones = ['a', 'b', 'c']
const variants = [
  { name: 'plain', setting: {}, crowd: {}, inShares: true },
  // Everybody began to serve this very moment.
  { name: 'slow start', setting: { slowStartMs: 30_000 }, crowd: {}, inShares: true },
  {
    name: 'zone preference',
    setting: { zone: 'b' },
    crowd: { zoneOf: (at: number) => zones[at % 3]! },
    inShares: false,
  },
] as const

for (const kind of kinds)
  for (const variant of variants)
    t.test(`${kind}, ${variant.name}`, async t => {
      const setting: BalancerSetting<Member> = {
        ...plainSetting,
        ...variant.setting,
        kind,
        random: seeded(start),
        now: () => nowMs,
      }
      const people = (weights: readonly number[]) => {
        const found = crowd(weights, variant.crowd as CrowdOptions)
        if (setting.slowStartMs > 0) for (const { slot } of found.members) found.board.noteOpened(slot, nowMs)
        return found
      }
      const balancerOf = (members: readonly Member[], previous: Balancer<Member> | null = null) =>
        createBalancer(members, setting, previous)

      t.test('knows its kind and has nothing to pick from nothing', async t => {
        const balancer = balancerOf([])
        t.equal(balancer.kind, kind)
        t.equal(balancer.pick(nobody), null)
      })

      t.test('picks nobody who is closed, fenced, in reserve, of weight 0 or tried', async t => {
        const random = seeded(start)
        for (let round = 0; round < 100; round++) {
          const count = 1 + Math.floor(random() * 24)
          const weights = Array.from({ length: count }, () => Math.floor(random() * 4))
          const { members, admit } = people(weights)
          const tried = new Set<Member>()
          for (const member of members) {
            const chance = random()
            if (chance < 0.2) admit(member.slot, 'none')
            else if (chance < 0.4) admit(member.slot, 'bound')
            else if (chance < 0.5) admit(member.slot, 'spare')
            else if (chance < 0.6) tried.add(member)
          }
          const open = members.filter(m => m.eligibility() === 'any' && m.weight > 0 && !tried.has(m))
          const balancer = balancerOf(members)
          for (let i = 0; i < 20; i++) {
            const picked = balancer.pick(tried)
            if (open.length === 0 ? picked !== null : !open.includes(picked as Member))
              throw new Error(`round ${round}: picked ${picked?.id} of ${open.map(m => m.id)}`)
          }
        }
        t.pass('100 random crowds')
      })

      t.test('finds the only one of 3,000 that admits, wherever it is', async t => {
        const { members, admit } = people(Array.from({ length: 3_000 }, (_, at) => 1 + (at % 3)))
        for (const { slot } of members) admit(slot, slot % 2 === 0 ? 'none' : 'bound')
        const balancer = balancerOf(members)
        t.equal(balancer.pick(nobody), null)
        for (const place of [0, 1, 1499, 2998, 2999]) {
          admit(place, 'any')
          t.equal(balancer.pick(nobody), members[place])
          admit(place, 'none')
        }
      })

      t.test('reaches everyone who admits', async t => {
        for (const count of [2, 8, 9, 40]) {
          const { members, admit } = people(Array<number>(count).fill(1))
          admit(0, 'none')
          const balancer = balancerOf(members)
          const seen = new Set<Member | null>()
          // Clients stay: so the own zone and the owners of keys fill up.
          for (let i = 0; i < count * 60 && seen.size < count - 1; i++) {
            const member = balancer.pick(nobody)
            member?.enter(false)
            seen.add(member)
          }
          const own = members.slice(1).filter(({ zone }) => zone === setting.zone)
          const atLeast = setting.zone === null ? count - 1 : own.length
          t.ok(seen.size >= atLeast, `${count} members: ${seen.size}`)
          for (const member of own) t.ok(seen.has(member), member.id)
        }
      })

      if (variant.inShares)
        t.test('gives each its share by weight of the clients that stay', async t => {
          for (const weights of [[1, 2, 3, 4], Array.from({ length: 40 }, (_, at) => 1 + (at % 4))]) {
            const { members } = people(weights)
            const balancer = balancerOf(members)
            const sum = weights.reduce((a, b) => a + b)
            for (let i = 0; i < sum * 200; i++) balancer.pick(nobody)!.enter(false)
            // What is on a member for each unit of its weight; 200 on average.
            const loads = members.map(member => member.load() / member.weight)
            const [low, high] = kind === 'consistent_hash' ? [100, 252] : [120, 280]
            t.ok(Math.min(...loads) > low, `${members.length} members: ${Math.min(...loads)}`)
            t.ok(Math.max(...loads) < high, `${members.length} members: ${Math.max(...loads)}`)
          }
        })

      t.test('does not change what it looks at', async t => {
        const { members, board } = people([1, 1, 1])
        const balancer = balancerOf(members)
        for (let i = 0; i < 100; i++) balancer.pick(nobody)
        for (const { slot } of members) {
          t.equal(board.total(slot, 'inFlight'), 0)
          t.equal(board.total(slot, 'started'), 0)
        }
      })

      t.test('hands over to one of the same kind or another', async t => {
        const { members } = people([1, 1, 1, 1])
        const rest = members.slice(1)
        for (const before of kinds) {
          const previous = createBalancer(members, { ...setting, kind: before })
          previous.pick(nobody)
          const next = balancerOf(rest, previous)
          const seen = new Set(Array.from({ length: 200 }, () => next.pick(nobody)?.id))
          t.notOk(seen.has('m0'))
          t.ok(seen.size === 3 || setting.zone !== null, [...seen].join())
        }
      })

      t.test('sees a member close and open between two picks', async t => {
        const { members, admit } = people([1, 1])
        const balancer = balancerOf(members)
        admit(0, 'bound')
        for (let i = 0; i < 20; i++) t.equal(balancer.pick(nobody), members[1])
        admit(0, 'any')
        admit(1, 'none')
        for (let i = 0; i < 20; i++) t.equal(balancer.pick(nobody), members[0])
      })
    })
