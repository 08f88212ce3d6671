/** Who grows to what, and how many are made: a table of situations. */
import t from 'tap'
import type { NodeRoom } from '../../../../lib/scaling/placement/placement.ts'
import { type Grower, growthFor, memoryAt, newcomersFor } from '../../../../lib/scaling/sizing/growing.ts'

const MiB = 2 ** 20
const size = (cpus: number, mib = 256) => ({ cpus, memoryBytes: mib * MiB, diskBytes: 0 })
const template = size(1)

const one = (id: string, cpus: number, over: Partial<Grower> = {}): Grower => ({
  ...{ id, node: 'n1', resources: size(cpus), able: true },
  ...over,
})
const room = (id: string, cpus: number, mib = 65_536): NodeRoom => ({
  ...{ id, zone: 'a', capacity: size(64, 65_536), free: size(cpus, mib) },
  ...{ load: 0, instances: 0, hourly: 0, closed: null },
})
const bound = (cpus: number, mib = 0) => ({ cpus, memoryBytes: mib === 0 ? null : mib * MiB })

interface Row {
  readonly what: string
  readonly target: number
  readonly members: readonly Grower[]
  readonly bound: ReturnType<typeof bound>
  readonly rooms?: readonly NodeRoom[]
  /** Id and CPUs. */
  readonly grow: Readonly<Record<string, number>>
  readonly cpus: number
  readonly tight?: boolean
}

const twins = [one('a', 1), one('b', 1)]
const rows: readonly Row[] = [
  { what: 'no preference', target: 8, members: twins, bound: bound(0), grow: {}, cpus: 2 },
  { what: 'enough is there', target: 2, members: twins, bound: bound(4), grow: {}, cpus: 2 },
  { what: 'one is enough: the first', target: 3, members: twins, bound: bound(4), grow: { a: 2 }, cpus: 3 },
  { what: 'alike', target: 6, members: twins, bound: bound(4), grow: { a: 3, b: 3 }, cpus: 6 },
  { what: 'up to the bound', target: 9, members: twins, bound: bound(3), grow: { a: 3, b: 3 }, cpus: 6 },
  {
    ...{ what: 'the smallest first', target: 6, bound: bound(4) },
    ...{ members: [one('a', 3), one('b', 1)], grow: { b: 3 }, cpus: 6 },
  },
  {
    ...{ what: 'beyond the bound already', target: 9, bound: bound(2) },
    ...{ members: [one('a', 4), one('b', 1)], grow: { b: 2 }, cpus: 6 },
  },
  {
    ...{ what: 'a driver that cannot, or one that is ill', target: 6, bound: bound(4) },
    ...{ members: [one('a', 1, { able: false }), one('b', 1)], grow: { b: 4 }, cpus: 5 },
  },
  {
    ...{ what: 'one node is full', target: 6, bound: bound(4), tight: true },
    ...{ members: [one('a', 1), one('b', 1, { node: 'n2' })], rooms: [room('n1', 1), room('n2', 8)] },
    ...{ grow: { a: 2, b: 4 }, cpus: 6 },
  },
  {
    ...{ what: 'its node has no memory', target: 4, bound: bound(2, 512), tight: true },
    ...{ members: twins, rooms: [room('n1', 8, 256)], grow: { a: 2 }, cpus: 3 },
  },
  {
    ...{ what: 'its node cannot be asked', target: 4, bound: bound(4), tight: true },
    ...{ members: [one('a', 1), one('b', 1, { node: 'away' })], grow: { a: 3 }, cpus: 4 },
  },
  {
    ...{ what: 'fractions become whole', target: 2.5, bound: bound(4) },
    ...{ members: [one('a', 0.5), one('b', 1.5)], grow: { a: 1 }, cpus: 2.5 },
  },
]

for (const { what, target, members, bound, rooms = [room('n1', 64)], grow, cpus, tight = false } of rows)
  t.test(what, async t => {
    const found = growthFor({ target, members, bound, template, rooms })
    t.strictSame(Object.fromEntries(found.grow.map(({ id, to }) => [id, to.cpus])), grow)
    t.equal(found.cpus, cpus)
    t.equal(found.tight, tight)
    const taken = found.grow.reduce((sum, { from, to }) => sum + to.cpus - from.cpus, 0)
    const left = (of: readonly NodeRoom[]) => of.reduce((sum, { free }) => sum + free.cpus, 0)
    t.equal(left(rooms) - left(found.rooms), taken, 'what they take is gone')
  })

t.test('memory is in proportion, in whole pieces, and never above the bound', async t => {
  const at = (cpus: number, to: ReturnType<typeof bound>) => memoryAt(cpus, to, template) / MiB
  t.strictSame(
    [1, 2, 3, 4].map(cpus => at(cpus, bound(4, 1_024))),
    [256, 512, 768, 1_024],
  )
  t.strictSame(
    [2, 3].map(cpus => at(cpus, bound(3, 700))),
    [384, 640],
    'rounded down to 128 MiB beyond the template',
  )
  t.equal(at(4, bound(4)), 256, 'it stays')
  t.equal(at(1, bound(1, 1_024)), 256, 'a bound of the template itself')
  const more = one('a', 1, { resources: size(1, 4_096) })
  const wish = { target: 2, members: [more], bound: bound(2, 512), template, rooms: [room('n1', 8)] }
  t.match(growthFor(wish).grow, [{ to: { memoryBytes: 4_096 * MiB } }], 'nobody loses any')
})

t.test('as few are made as are enough', async t => {
  const live = [{ node: 'n1', instance: 'a', snapshot: null }]
  const golden = [{ node: 'n1', instance: null, snapshot: 'g' }]
  const made = (over: object) => {
    const wish = { lacking: 4, count: 9, ready: 0, need: template, sources: golden, rooms: [room('n1', 8)] }
    const { add, cpus } = newcomersFor({ ...wish, ...over })
    return [add, cpus]
  }
  t.strictSame(made({}), [4, 4], 'of golden each has the size of the template')
  const sizes = new Map([['a', size(3)]])
  t.strictSame(made({ sources: live, sizes }), [2, 6], 'clones of a live one have its size')
  t.strictSame(made({ sources: live, sizes, rooms: [room('n1', 5)] }), [1, 3], 'and take its room')
  t.strictSame(
    made({ sources: live, sizes, rooms: [room('n1', 3), room('n2', 8)] }),
    [2, 4],
    'elsewhere one boots',
  )
  t.strictSame(made({ count: 2 }), [2, 2], 'no more than may be')
  t.strictSame(made({ ready: 2, rooms: [room('n1', 1)] }), [3, 3], 'who stands ready needs no room')
  t.strictSame(made({ ready: 9, count: 3 }), [3, 3])
})
