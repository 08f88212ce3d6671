import t from 'tap'
import {
  changedPoints,
  firstPlaceAt,
  type LoosePoints,
  type Points,
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

/** In their order, past the pages. */
function flat({ pages }: Points): LoosePoints {
  const positions: number[] = []
  const owners: number[] = []
  for (const page of pages)
    for (let at = page[0]!; at < page.length; at += 2) {
      positions.push(page[at]!)
      owners.push(page[at + 1]!)
    }
  return { positions: Uint32Array.from(positions), owners: Uint16Array.from(owners) }
}

function sound(points: Points, expected: LoosePoints, what: string): void {
  const { positions } = flat(points)
  if (points.count !== positions.length) throw new Error(`${what}: count`)
  if (JSON.stringify(pairs(flat(points))) !== JSON.stringify(pairs(expected)))
    throw new Error(`${what}: points`)
  for (let at = 1; at < positions.length; at++)
    if (positions[at - 1]! > positions[at]!) throw new Error(`${what}: order`)
  const stretches = 2 ** (points.pageShift - points.shift)
  for (const [number, page] of points.pages.entries())
    for (let stretch = 0; stretch <= stretches; stretch++) {
      let first = stretches + 1
      while (first < page.length && page[first]! >>> points.shift < number * stretches + stretch) first += 2
      if (page[stretch] !== first) throw new Error(`${what}: start of ${stretch} in page ${number}`)
    }
  for (let i = 0; i < 30; i++) {
    const position = Math.floor(random() * 2 ** 32)
    const page = points.pages[position >>> points.pageShift]!
    let at = stretches + 1
    while (at < page.length && page[at]! < position) at += 2
    if (firstPlaceAt(points, position) !== at) throw new Error(`${what}: found`)
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
  t.equal(empty.count, 0)
  t.equal(firstPlaceAt(empty, 0), empty.pages[0]!.length, 'there is none')
  t.equal(changedPoints(empty, loose([], 10), loose([], 10)), empty)
  const ends = { positions: Uint32Array.of(2 ** 32 - 1, 0), owners: Uint16Array.of(2 ** 16 - 1, 0) }
  const points = sortedPoints(ends)
  t.strictSame([...flat(points).positions], [0, 2 ** 32 - 1])
  t.strictSame([...flat(points).owners], [0, 2 ** 16 - 1])
  sound(points, ends, 'the ends')
  const third = loose([3], 10, 2)
  t.strictSame(pairs(flat(changedPoints(points, ends, third))), pairs(third))
})

t.test('a change shares the pages that it does not touch', async t => {
  const many = Array.from({ length: 400 }, (_, owner) => owner)
  const held = sortedPoints(loose(many, 2 ** 32))
  const before = pairs(flat(held))
  const changed = changedPoints(held, loose([7], 2 ** 32), loose([400], 2 ** 32))
  const copied = changed.pages.filter((page, number) => page !== held.pages[number]).length
  t.ok(copied > 0 && copied <= 40, `${copied} of ${held.pages.length} pages for 40 points`)
  t.strictSame(pairs(flat(held)), before, 'and what was held is as it was')
})
