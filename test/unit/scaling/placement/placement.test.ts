/** Where instances go: room, locality, spread, load, price; and what a node has left. */
import t from 'tap'
import type { Held } from '../../../../lib/hypervisor/driver.ts'
import { freeOn, type NodeRoom, place, type Wanted } from '../../../../lib/scaling/placement/placement.ts'

const need = { cpus: 1, memoryBytes: 10, diskBytes: 1 }

const room = (id: string, cpus: number, over: Partial<NodeRoom> = {}): NodeRoom => ({
  id,
  zone: 'a',
  capacity: { cpus: 16, memoryBytes: 1000, diskBytes: 100 },
  free: { cpus, memoryBytes: 1000, diskBytes: 99 },
  load: 0,
  instances: 0,
  hourly: 0,
  closed: null,
  ...over,
})
const source = (node: string) => ({ node, instance: `on-${node}`, snapshot: null })
const nodes = (rooms: NodeRoom[], count: number, over: Partial<Wanted> = {}) =>
  place({ count, need, sources: [], ...over }, rooms).places.map(
    ({ node, source }) => `${node}${source ? '*' : ''}`,
  )

t.test(
  'a source decides whatever else is said of its node; what does not fit there boots elsewhere',
  async t => {
    const crowded = room('b', 2, { load: 1000, instances: 9, zone: 'b' })
    t.strictSame(nodes([room('a', 9), crowded], 3, { sources: [source('b')] }), ['b*', 'b*', 'a'])
    t.strictSame(nodes([room('a', 1), room('b', 1)], 4), ['a', 'b'], 'fewer when there is no room')
    t.strictSame(nodes([room('a', 9, { free: { ...need, memoryBytes: 9 } })], 1), [], 'memory counts')
    t.strictSame(nodes([room('a', 9, { closed: 'being drained' })], 1, { sources: [source('a')] }), [])
  },
)

t.test(
  'a second source is paused for the sake of a zone, but not for the memory of somebody else',
  async t => {
    const sources = [source('a'), source('b')]
    const rooms = [room('a', 9, { instances: 3 }), room('b', 16, { zone: 'b' })]
    t.strictSame(nodes(rooms, 1, { sources }), ['b*'])
    t.strictSame(nodes(rooms, 1, { sources, memories: ['on-a'] }), ['a*'])
    const each = { sources, memories: ['on-b', 'on-a'] }
    t.strictSame(nodes([room('a', 9), room('b', 9)], 2, each), ['b*', 'a*'], 'each its own')
  },
)

t.test(
  'of a source that was resized there is room for its own size, or for another source, or for none',
  async t => {
    const sizes = new Map([['on-a', { ...need, cpus: 3 }]])
    const sources = [source('a')]
    const placing = (cpus: number, count = 1) => place({ count, need, sizes, sources }, [room('a', cpus)])
    t.strictSame(placing(2).places, [])
    t.match(placing(2).candidates, [{ fits: 0, why: 'no room: cpus 2 of 3' }])
    t.match(placing(7, 3), { places: { length: 2 }, candidates: [{ fits: 2, taken: 2 }] })
    t.strictSame(nodes([room('a', 2), room('b', 9)], 1, { sizes, sources }), ['b'], 'elsewhere from nothing')
    const smaller = { node: 'a', instance: 'smaller', snapshot: null }
    const both = { count: 2, need, sizes, sources: [...sources, smaller] }
    t.match(place(both, [room('a', 4)]).places, [{ source: sources[0] }, { source: smaller }])
  },
)

t.test('free room, other zones, little load and a low price', async t => {
  t.strictSame(nodes([room('a', 4), room('b', 9)], 1), ['b'])
  t.strictSame(nodes([room('a', 9, { zone: 'x' }), room('b', 9, { zone: 'y' })], 4), ['a', 'b', 'a', 'b'])
  t.strictSame(nodes([room('a', 9, { instances: 1 }), room('b', 9, { zone: 'b' })], 1), ['b'])
  t.strictSame(nodes([room('a', 9, { load: 50 }), room('b', 9)], 1), ['b'])
  t.strictSame(nodes([room('a', 9, { hourly: 2 }), room('b', 9, { hourly: 1 })], 1), ['b'])
  t.strictSame(nodes([room('a', 9)], 0), [])
})

t.test('the record says of every node how it scored, how many fit and why not', async t => {
  const full = room('c', 0.5)
  const { candidates } = place({ count: 2, need, sources: [source('b')] }, [room('a', 9), room('b', 1), full])
  t.match(candidates, [
    { node: 'b', fits: 1, taken: 1, parts: { locality: 1 }, why: null },
    { node: 'a', fits: 9, taken: 1, parts: { locality: 0, load: 1, spread: 1 }, why: null },
    { node: 'c', fits: 0, taken: 0, why: 'no room: cpus 0.5 of 1' },
  ])
  t.ok(candidates[0]!.score > 8 && candidates[1]!.score < 8)
  const many = Array.from({ length: 80 }, (_, n) => room(`n${n}`, 1))
  t.equal(place({ count: 1, need, sources: [] }, many).candidates.length, 50, 'bounded')
})

t.test('free: capacity less the worst case of what is held, what was promised, and snapshots', async t => {
  const owner = { installation: 'i', cluster: 'web', operation: 'o' }
  const plain = { owner, state: 'running', residentBytes: 3, createdAtMs: 0, address: null, pid: null }
  const held = (name: string, over: object = {}) => ({ ...plain, name, ...over })
  const reality = {
    snapshots: [{ name: 's', owner, createdAtMs: 0, source: 'a', bytes: 5, complete: true }],
    instances: [
      held('a'),
      held('grown', { residentBytes: 15 }),
      held('gone', { state: 'stopped' }),
      held('alien', { owner: { ...owner, cluster: 'alien' } }),
      held('resized'),
    ],
  } as unknown as Held
  const promised = ['a', 'b'].map(name => ({ name, resources: need }))
  const own = { cpus: 2, memoryBytes: 20, diskBytes: 2 }
  const free = freeOn({ cpus: 8, memoryBytes: 100, diskBytes: 50 }, reality, promised, (name, cluster) =>
    name === 'resized' ? own : cluster === 'web' ? need : null,
  )
  t.strictSame(free, {
    cpus: 8 - 1 - 1 - 2 - 1,
    memoryBytes: 100 - 10 - 15 - 3 - 20 - 10,
    diskBytes: 50 - 5 - 2 - 3,
  })
  const made = freeOn(
    { ...need, cpus: 8 },
    { ...reality, snapshots: [], instances: [held('c')] } as never,
    [{ name: 'c', resources: { ...need, cpus: 3 } }],
    () => need,
  )
  t.equal(made.cpus, 5, 'who is being made has the size that was promised')
  const begun = freeOn(
    { ...need, cpus: 8 },
    { ...reality, snapshots: [], instances: [held('c', { state: 'stopped' })] } as never,
    [{ name: 'c', resources: { ...need, cpus: 3 } }],
    () => need,
  )
  t.equal(begun.cpus, 5, 'also while it is there and does not run yet')
})
