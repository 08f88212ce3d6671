import t from 'tap'
import { Ring } from '../../../../lib/cluster/balance/ring.ts'
import { Board } from '../../../../lib/cluster/board.ts'
import type { Member } from '../../../../lib/cluster/member.ts'
import { crowd, memberAt, nobody } from '../../../support/members.ts'

const keys = Array.from({ length: 5000 }, (_, i) => `key ${i}`)
const ownerOf = (ring: Ring<Member>, key: string) => ring.owner(ring.place(key))

t.test('when one of n leaves only its keys move; when one comes, keys move only to it', async t => {
  // Sizes at which a share of 1/n does not multiply back to a whole number are among them.
  for (const count of [10, 49, 50]) {
    const { members } = crowd(Array<number>(count).fill(1))
    const leaver = members[3]!
    const whole = new Ring(members)
    const without = new Ring(members.filter(member => member !== leaver))
    let moved = 0
    for (const key of keys) {
      const owner = ownerOf(whole, key)!
      if (owner === leaver) moved++
      else if (ownerOf(without, key) !== owner) throw new Error(`${count}: ${key} moved from ${owner.id}`)
    }
    const share = moved / keys.length
    t.ok(share > 0.4 / count && share < 2 / count, `${count} members: ${share} of the keys moved`)
  }
})

t.test('every member owns a fair share', async t => {
  const { members } = crowd(Array<number>(10).fill(1))
  const ring = new Ring(members)
  const counts = new Map<Member, number>()
  for (const key of keys) counts.set(ownerOf(ring, key)!, (counts.get(ownerOf(ring, key)!) ?? 0) + 1)
  for (const member of members) {
    const count = counts.get(member) ?? 0
    t.ok(count > 300 && count < 750, `${member.id}: ${count} of a mean of 500`)
  }
})

t.test('a closed member leaves its keys to several others, and only its own', async t => {
  const { members, admit } = crowd(Array<number>(10).fill(1))
  const ring = new Ring(members)
  admit(4, 'none')
  const heirs = new Set<Member>()
  for (const key of keys) {
    const place = ring.place(key)
    const owner = ring.owner(place)!
    const server = ring.next(place, nobody)!
    if (owner === members[4]) heirs.add(server)
    else if (server !== owner) throw new Error(`${key} moved from ${owner.id}`)
  }
  t.ok(heirs.size >= 5, `${heirs.size} heirs`)
  t.notOk(heirs.has(members[4]!))
})

t.test('tried members are passed over; when nobody is left there is none', async t => {
  const { members, admit } = crowd([1, 1, 1])
  const ring = new Ring(members)
  const place = ring.place('key')
  const owner = ring.owner(place)!
  const second = ring.next(place, new Set([owner]))!
  t.not(second, owner)
  t.equal(ring.next(place, new Set(members)), null)
  for (const { slot } of members) admit(slot, 'bound')
  t.equal(ring.next(place, nobody), null)
})

t.test('members of weight 0 own nothing; greater weights own no more', async t => {
  const { members } = crowd([0, 1, 1])
  const plain = new Ring(members)
  const heavy = new Ring(crowd([0, 1, 100]).members)
  for (const key of keys.slice(0, 500)) {
    t.not(ownerOf(plain, key)?.id, 'm0')
    t.equal(ownerOf(heavy, key)?.id, ownerOf(plain, key)?.id)
  }
})

t.test('an empty ring has no owner', async t => {
  const ring = new Ring<Member>([])
  t.equal(ring.owner(ring.place('key')), null)
  t.equal(ring.next(ring.place('key'), nobody), null)
})

t.test('keys and ids that mean something to an object are plain text', async t => {
  const board = Board.create(1)
  const ids = ['__proto__', 'constructor', 'a:80', '7']
  const members = ids.map((id, slot) => memberAt(board, slot, { id }))
  for (const { slot } of members) board.admit(slot, 1, 'any')
  const ring = new Ring(members)
  const owners = new Set(keys.map(key => ownerOf(ring, key)?.id))
  t.strictSame([...owners].sort(), [...ids].sort())
  for (const key of ['__proto__', 'constructor', '', 'toString']) t.ok(ownerOf(ring, key), key)
})
