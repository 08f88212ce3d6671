import t from 'tap'
import { WeightedRing } from '../../../../lib/cluster/balance/weighted-ring.ts'
import { Board } from '../../../../lib/cluster/board.ts'
import type { Member } from '../../../../lib/cluster/member.ts'
import { crowd, memberAt, nobody, seed, seeded } from '../../../support/members.ts'

const start = seed()
t.comment(`SEED=${start}`)
const random = seeded(start)
const hashes = Array.from({ length: 20_000 }, () => Math.floor(random() * 2 ** 32))

t.test('shares go by weight', async t => {
  const weights = [1, 2, 3, 4, 10, 20]
  const { members } = crowd(weights)
  const ring = new WeightedRing(members, null)
  const counts = new Map<Member, number>()
  for (const hash of hashes) counts.set(ring.owner(hash)!, (counts.get(ring.owner(hash)!) ?? 0) + 1)
  for (const member of members) {
    const expected = (hashes.length * member.weight) / 40
    const ratio = (counts.get(member) ?? 0) / expected
    t.ok(ratio > 0.6 && ratio < 1.5, `weight ${member.weight}: ${ratio.toFixed(2)} of its share`)
  }
})

t.test('one that comes, leaves or is re-weighted moves its own keys and no other', async t => {
  const board = Board.create(1)
  const people = (weights: readonly number[]) =>
    weights.map((weight, slot) => {
      board.admit(slot, 1, 'any')
      return memberAt(board, slot, { weight })
    })
  const ids = (members: readonly Member[]) => {
    const ring = new WeightedRing(
      members.filter(({ weight }) => weight > 0),
      null,
    )
    return hashes.map(hash => ring.owner(hash)!.id)
  }
  const before = [5, 1, 3, 1000, 17, 2, 1, 64]
  const owners = ids(people(before))
  for (const [at, to] of [
    [0, 6],
    [0, 4],
    [1, 900],
    [3, 999],
    [3, 1],
    [4, 0],
    [7, 63],
  ] as const) {
    const after = ids(people(before.map((weight, i) => (i === at ? to : weight))))
    const more = to > before[at]!
    let moved = 0
    hashes.forEach((hash, i) => {
      if (owners[i] === after[i]) return
      moved++
      const due = more ? after[i] === `m${at}` : owners[i] === `m${at}`
      if (!due) throw new Error(`${hash}: ${owners[i]} → ${after[i]} when m${at} went to ${to}`)
    })
    t.ok(moved > 0 || Math.abs(to - before[at]!) === 1, `m${at} from ${before[at]} to ${to}: ${moved} moved`)
  }
})

t.test('changed step by step it is the ring built at once', async t => {
  const board = Board.create(1)
  let slot = 0
  const fresh = () => {
    board.admit(slot, 1, 'any')
    return memberAt(board, slot++, { weight: 1 + Math.floor(random() * 12) })
  }
  let members = Array.from({ length: 40 }, fresh)
  let ring = new WeightedRing(members, null)
  for (let step = 0; step < 120; step++) {
    const leave = random() < 0.1 ? 20 : Math.floor(random() * 3)
    const come = random() < 0.1 ? 30 : Math.floor(random() * 3)
    members = [
      ...members.filter(() => random() > leave / members.length),
      ...Array.from({ length: come }, fresh),
    ]
    if (random() < 0.05) members.reverse()
    // Another object of the same id, and one of another weight.
    members = members.map(member =>
      random() < 0.02 ? memberAt(board, member.slot, { weight: random() < 0.5 ? member.weight : 7 }) : member,
    )
    ring = new WeightedRing(members, ring)
    const anew = new WeightedRing(members, null)
    for (const hash of hashes.slice(0, 100))
      if (ring.owner(hash) !== anew.owner(hash))
        throw new Error(`step ${step}: ${ring.owner(hash)?.id}, not ${anew.owner(hash)?.id}`)
  }
  t.pass('120 changes')
})

t.test('down to nobody and up again', async t => {
  const { members } = crowd([1, 5, 1])
  const empty = new WeightedRing([], new WeightedRing(members, null))
  t.equal(empty.owner(5), null)
  const again = new WeightedRing(members, empty)
  t.equal(again.owner(5), new WeightedRing(members, null).owner(5))
})

t.test('the former ring goes on as it was', async t => {
  const { members } = crowd(Array<number>(30).fill(2))
  const former = new WeightedRing(members, null)
  const owners = hashes.slice(0, 500).map(hash => former.owner(hash))
  new WeightedRing(members.slice(5), former)
  t.strictSame(
    hashes.slice(0, 500).map(hash => former.owner(hash)?.id),
    owners.map(owner => owner?.id),
  )
  t.ok(former.next(1, nobody, null))
})

t.test('a key that comes again has the same order, whatever came between at its place', async t => {
  const { members } = crowd([3, 1, 2, 7])
  const ring = new WeightedRing(members, null)
  // A multiple of the table's places, however many it has.
  const places = 2 ** 13
  for (const hash of [0, 1, 77, 2 ** 32 - 1]) {
    const [owner, second] = [ring.owner(hash)!, ring.next(hash, new Set([ring.owner(hash)!]), null)!]
    for (let n = 1; n <= 50; n++) ring.next((hash + n * places) % 2 ** 32, nobody, null)
    t.equal(ring.next(hash, nobody, null), owner)
    t.equal(ring.next(hash, nobody, null), owner)
    t.equal(ring.next(hash, new Set([owner]), null), second)
    t.equal(ring.passedOwner, owner)
    t.equal(
      ring.next(hash, nobody, member => member !== owner),
      second,
    )
    const left = new WeightedRing(
      members.filter(member => member !== owner),
      ring,
    )
    t.equal(left.owner(hash), second)
  }
})
