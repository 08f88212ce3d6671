import t from 'tap'
import {
  changedPoints,
  firstPointAt,
  type LoosePoints,
  sortedPoints,
} from '../../../../lib/cluster/balance/points.ts'
import { seed, seeded } from '../../../support/members.ts'

const start = seed()
t.comment(`SEED=${start}`)
const random = seeded(start)

/** Of owners that have `each` points; from few places, so that some fall together. */
function loose(owners: readonly number[], places: number, each = 20): LoosePoints {
  const positions = Uint32Array.from(owners.flatMap(owner => positionsOf(owner, places, each)))
  return { positions, owners: Uint16Array.from(owners.flatMap(owner => Array<number>(each).fill(owner))) }
}

/** The same for the same owner. */
function positionsOf(owner: number, places: number, each: number): number[] {
  const chance = seeded(owner * 7919 + 1)
  return Array.from({ length: each }, () => Math.floor(chance() * places) * Math.floor(2 ** 32 / places))
}

const pairs = ({ positions, owners }: LoosePoints) =>
  [...positions].map((position, at) => `${position} ${owners[at]}`).sort()

function sound(points: ReturnType<typeof sortedPoints>, expected: LoosePoints, what: string): void {
  if (JSON.stringify(pairs(points)) !== JSON.stringify(pairs(expected))) throw new Error(`${what}: points`)
  for (let at = 1; at < points.positions.length; at++)
    if (points.positions[at - 1]! > points.positions[at]!) throw new Error(`${what}: order`)
  for (let stretch = 0; stretch < points.starts.length - 1; stretch++) {
    const from = points.positions.findIndex(position => position >>> points.shift >= stretch)
    const first = from < 0 ? points.positions.length : from
    if (points.starts[stretch] !== first) throw new Error(`${what}: start of ${stretch}`)
  }
  for (let i = 0; i < 30; i++) {
    const position = Math.floor(random() * 2 ** 32)
    const found = points.positions.findIndex(one => one >= position)
    if (firstPointAt(points, position) !== (found < 0 ? points.positions.length : found))
      throw new Error(`${what}: found`)
  }
}

for (const places of [37, 1000, 2 ** 32])
  t.test(`${places} places: changed step by step they are what sorting gives`, async t => {
    let owners = Array.from({ length: 30 }, (_, owner) => owner)
    let next = owners.length
    let points = sortedPoints(loose(owners, places))
    sound(points, loose(owners, places), 'at first')
    for (let step = 0; step < 60; step++) {
      const goes = owners.filter(() => random() < (step % 20 === 19 ? 0.8 : 0.05))
      const comes = Array.from({ length: Math.floor(random() * (step % 20 === 9 ? 120 : 4)) }, () => next++)
      owners = [...owners.filter(owner => !goes.includes(owner)), ...comes]
      points = changedPoints(points, loose(goes, places), loose(comes, places))
      sound(points, loose(owners, places), `step ${step}`)
    }
    t.pass('60 changes')
  })

t.test('none, and the ends', async t => {
  const empty = sortedPoints(loose([], 10))
  t.equal(firstPointAt(empty, 0), 0)
  t.equal(changedPoints(empty, loose([], 10), loose([], 10)), empty)
  const ends = { positions: Uint32Array.of(2 ** 32 - 1, 0), owners: Uint16Array.of(2 ** 16 - 1, 0) }
  const points = sortedPoints(ends)
  t.strictSame([...points.positions], [0, 2 ** 32 - 1])
  t.strictSame([...points.owners], [0, 2 ** 16 - 1])
  t.equal(firstPointAt(points, 1), 1)
  t.equal(firstPointAt(points, 2 ** 32 - 1), 1)
  t.strictSame(pairs(changedPoints(points, ends, loose([3], 10, 2))), pairs(loose([3], 10, 2)))
})
