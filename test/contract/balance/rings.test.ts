/** What both rings keep, and that they are one and the same order. */
import t from 'tap'
import { EqualRing } from '../../../lib/cluster/balance/equal-ring.ts'
import { pointsPerMember, writePoints } from '../../../lib/cluster/balance/hash.ts'
import { createRing, equalMembersMax, type Ring } from '../../../lib/cluster/balance/ring.ts'
import { WeightedRing } from '../../../lib/cluster/balance/weighted-ring.ts'
import { Board } from '../../../lib/cluster/board.ts'
import type { Member } from '../../../lib/cluster/member.ts'
import { crowd, memberAt, nobody, seed, seeded } from '../../support/members.ts'

const start = seed()
t.comment(`SEED=${start}`)
const random = seeded(start)
const hashes = Array.from({ length: 4000 }, () => Math.floor(random() * 2 ** 32))
const equal = (count: number) => crowd(Array<number>(count).fill(1))

const rings: Record<string, (members: readonly Member[]) => Ring<Member>> = {
  'hashring, equal members': members => new EqualRing(members),
  'our own, any weights': members => new WeightedRing(members, null),
}

for (const [name, build] of Object.entries(rings))
  t.test(name, async t => {
    t.test('when one of n leaves only its keys move; when one comes, keys move only to it', async t => {
      // Sizes at which a share of 1/n does not multiply back to a whole number are among them.
      for (const count of [2, 10, 49, 50]) {
        const { members } = equal(count)
        const leaver = members[1]!
        const whole = build(members)
        const without = build(members.filter(member => member !== leaver))
        let moved = 0
        for (const hash of hashes) {
          const owner = whole.owner(hash)!
          if (owner === leaver) moved++
          else if (without.owner(hash) !== owner) throw new Error(`${count}: ${hash} moved from ${owner.id}`)
        }
        const share = moved / hashes.length
        t.ok(share > 0.4 / count && share < 2 / count, `${count} members: ${share} of the keys moved`)
      }
    })

    t.test('every member owns a fair share, whatever the order in which they come', async t => {
      const { members } = equal(10)
      const ring = build(members)
      const other = build([...members].reverse())
      const counts = new Map<Member, number>()
      for (const hash of hashes) {
        const owner = ring.owner(hash)!
        if (other.owner(hash) !== owner) throw new Error(`${hash} depends on the order`)
        counts.set(owner, (counts.get(owner) ?? 0) + 1)
      }
      for (const member of members) {
        const count = counts.get(member) ?? 0
        t.ok(count > 240 && count < 600, `${member.id}: ${count} of a mean of 400`)
      }
    })

    t.test('a closed member leaves its keys to several others, and only its own', async t => {
      const { members, admit } = equal(10)
      const ring = build(members)
      admit(4, 'none')
      const heirs = new Set<Member>()
      for (const hash of hashes) {
        const server = ring.next(hash, nobody, null)!
        const owner = ring.passedOwner!
        if (owner !== ring.owner(hash)) throw new Error('another owner on the walk')
        if (owner === members[4]) heirs.add(server)
        else if (server !== owner) throw new Error(`${hash} moved from ${owner.id}`)
      }
      t.ok(heirs.size >= 5, `${heirs.size} heirs`)
      t.notOk(heirs.has(members[4]!))
    })

    t.test('tried and unfitting members are passed over; when nobody is left there is none', async t => {
      const { members, admit } = equal(3)
      const ring = build(members)
      const owner = ring.owner(7)!
      const second = ring.next(7, new Set([owner]), null)!
      t.not(second, owner)
      t.equal(
        ring.next(7, nobody, member => member !== owner),
        second,
      )
      t.equal(ring.next(7, new Set(members), null), null)
      for (const { slot } of members) admit(slot, 'bound')
      t.equal(ring.next(7, nobody, null), null)
    })

    t.test('where nearly all refuse, a key still has one stand-in of its own', async t => {
      const { members, admit } = equal(60)
      const ring = build(members)
      for (const { slot } of members) admit(slot, 'none')
      admit(12, 'any')
      for (const hash of hashes.slice(0, 200)) t.equal(ring.next(hash, nobody, null), members[12])
      admit(40, 'any')
      const stand = hashes.slice(0, 200).map(hash => ring.next(hash, nobody, null)!)
      t.strictSame(
        hashes.slice(0, 200).map(hash => ring.next(hash, nobody, null)),
        stand,
      )
      t.equal(new Set(stand).size, 2)
    })

    t.test('an empty ring has no owner', async t => {
      const ring = build([])
      t.equal(ring.owner(1), null)
      t.equal(ring.next(1, nobody, null), null)
      t.equal(ring.passedOwner, null)
    })

    t.test('the ends of the ring, and one member', async t => {
      const { members } = equal(1)
      const ring = build(members)
      for (const hash of [0, 1, 2 ** 31, 2 ** 32 - 1]) t.equal(ring.owner(hash), members[0])
    })

    t.test('ids that mean something to an object are plain text', async t => {
      const board = Board.create(1)
      const ids = ['__proto__', 'constructor', 'a:80', '7', 'x-1', 'x']
      const members = ids.map((id, slot) => memberAt(board, slot, { id }))
      for (const { slot } of members) board.admit(slot, 1, 'any')
      const ring = build(members)
      t.strictSame([...new Set(hashes.map(hash => ring.owner(hash)?.id))].sort(), [...ids].sort())
    })
  })

t.test('both have one order: of owners, and of those who stand in', async t => {
  const { members, admit } = equal(equalMembersMax)
  const packaged = new EqualRing(members)
  const own = new WeightedRing(members, null)
  for (const closed of [0, 10, 50]) {
    for (let at = 0; at < closed; at++) admit(at, 'bound')
    for (const hash of hashes.slice(0, 1000)) {
      if (packaged.owner(hash) !== own.owner(hash)) throw new Error(`${hash}: another owner`)
      const tried = new Set([own.owner(hash)!])
      if (packaged.next(hash, tried, null) !== own.next(hash, tried, null))
        throw new Error(`${hash}: another heir`)
    }
  }
  t.pass('the same everywhere')
})

t.test(
  'the package serves moderate numbers of equal members; from one kind to the other only due keys move',
  async t => {
    const { members } = equal(equalMembersMax + 1)
    const some = createRing(members.slice(1), null)
    const all = createRing(members, some)
    t.ok(some instanceof EqualRing)
    t.ok(all instanceof WeightedRing)
    for (const hash of hashes) {
      const owner = all.owner(hash)!
      if (owner !== members[0] && owner !== some.owner(hash)) throw new Error(`${hash} moved to ${owner.id}`)
    }
    const { members: unequal } = crowd([1, 1, 2, 0])
    t.ok(createRing(unequal, null) instanceof WeightedRing)
    t.ok(createRing(unequal.slice(0, 2), null) instanceof EqualRing)
    t.ok(
      createRing([...unequal.slice(0, 2), unequal[3]!], null) instanceof EqualRing,
      'weight 0 owns nothing',
    )
  },
)

/** Ids of which a point of one is at the very place of a point of the other, and that place. */
function neighbours(): { readonly ids: readonly [string, string]; readonly place: number } {
  const owners = new Map<number, string>()
  const points = new Uint32Array(pointsPerMember)
  for (let at = 0; ; at++) {
    const id = `n${at}`
    writePoints(id, points, 0)
    for (const place of points) {
      const other = owners.get(place)
      if (other !== undefined && other !== id) return { ids: [other, id], place }
      owners.set(place, id)
    }
  }
}

t.test('of two points at one place the lower id counts, in both, in any order', async t => {
  const { ids, place } = neighbours()
  const board = Board.create(1)
  const members = ids.map((id, slot) => memberAt(board, slot, { id }))
  for (const { slot } of members) board.admit(slot, 1, 'any')
  const lower = [...ids].sort()[0]
  for (const listed of [members, [...members].reverse()])
    for (const build of Object.values(rings)) {
      t.equal(build(listed).owner(place)?.id, lower)
      t.equal(build(listed).next(place, nobody, null)?.id, lower)
    }
})
