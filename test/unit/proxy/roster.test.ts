import t from 'tap'
import { type Listed, Roster } from '../../../lib/proxy/roster.ts'

const entry = (name: string) => ({ name, listedAt: -1 })

t.test('who comes is there until it leaves, once', t => {
  const roster = new Roster<Listed & { name: string }>()
  const [a, b, c] = [entry('a'), entry('b'), entry('c')] as const
  for (const one of [a, b, c]) roster.add(one)
  t.equal(roster.remove(a), true)
  t.equal(roster.remove(a), false, 'the second time it is not here')
  t.same([...roster].map(one => one.name).sort(), ['b', 'c'])
  t.equal(roster.remove(c), true)
  t.equal(roster.remove(b), true)
  t.same([roster.size, [...roster]], [0, []])
  roster.add(a)
  t.same([...roster], [a], 'who has left may come again')
  t.end()
})

t.test('who leaves while all are looked at disturbs nobody', t => {
  const roster = new Roster<Listed & { name: string }>()
  const all = Array.from({ length: 9 }, (_, i) => entry(String(i)))
  for (const one of all) roster.add(one)
  const seen: string[] = []
  for (const one of roster) {
    seen.push(one.name)
    roster.remove(one)
  }
  t.same(seen.sort(), all.map(one => one.name).sort())
  t.equal(roster.size, 0)
  t.end()
})

t.test('in any order of coming and leaving it holds what a set would', t => {
  const roster = new Roster<Listed>()
  const model = new Set<Listed>()
  const pool = Array.from({ length: 20 }, () => ({ listedAt: -1 }))
  for (let i = 0, seed = 7; i < 2_000; i++) {
    seed = (seed * 48_271) % 2_147_483_647
    const one = pool[seed % pool.length]!
    if (model.has(one)) {
      model.delete(one)
      roster.remove(one)
    } else {
      model.add(one)
      roster.add(one)
    }
    if (roster.size !== model.size) t.fail(`after ${i + 1} steps`)
  }
  t.same(new Set(roster), model)
  t.end()
})
