/**
 * Points on the ring, sorted, in pages: 10,000 members have 1.6 million of them, and a pick touches few lines of memory. @pure
 *
 *   the ring   0 ───────┬───────┬─── … ───┬───────┬─── … ── 2^32     stretches of equal length, and pages of equally many of them
 *   a page     │ 3      │ 7     │ … 13    │ 2 a   9 b   │ 11 a   17 c   …
 *              └ where each stretch begins ┘ └ a point: its position and the number of its owner, ascending
 *
 * Never changed once built: a change of membership copies the pages in which points come or go, and shares the others.
 */
export interface Points {
  readonly count: number
  readonly pages: readonly Page[]
  /** A position shifted right by this is the number of its page. */
  readonly pageShift: number
  /** A position shifted right by this is the number of its stretch. */
  readonly shift: number
}

/** As drawn above: where in the page each of its stretches begins, and where the last one ends; then the points, two words each. */
export type Page = Uint32Array

/** In no order: `positions[i]` belongs to `owners[i]`. */
export interface LoosePoints {
  readonly positions: Uint32Array
  readonly owners: Uint16Array
}

/** Points in a stretch: on average when built, and how far it may go from there before the stretches are made anew. */
const stretchSize = 12
const stretchSizeMin = 4
const stretchSizeMax = 40
/** Stretches in a page: two to the power of this at most. A page is what is copied for a point that comes or goes. */
const pageBitsMax = 3
/** When more than this share of the points come or go, all are sorted anew. */
const changedShareMax = 1 / 8
const ownersMax = 2 ** 16

export function sortedPoints(loose: LoosePoints): Points {
  const { length } = loose.positions
  // At least two pages: a shift by 32 is none.
  const bits = Math.max(1, Math.ceil(Math.log2(Math.max(1, length / stretchSize))))
  return inOrder(loose, bits, Math.min(pageBitsMax, bits - 1))
}

/** `held` without `leaving` and with `coming`. */
export function changedPoints(held: Points, leaving: LoosePoints, coming: LoosePoints): Points {
  const changed = leaving.positions.length + coming.positions.length
  if (changed === 0) return held
  const count = held.count - leaving.positions.length + coming.positions.length
  const stretches = 2 ** (32 - held.shift)
  const uneven = count > stretches * stretchSizeMax || (count < stretches * stretchSizeMin && stretches > 2)
  if (uneven || changed > count * changedShareMax) return sortedPoints(allOf(held, leaving, coming, count))
  const pages = held.pages.slice()
  const out = ascending(leaving)
  const into = ascending(coming)
  let gone = 0
  let come = 0
  while (gone < out.positions.length || come < into.positions.length) {
    const number = Math.min(pageOf(held, out, gone), pageOf(held, into, come))
    const goneTo = endIn(held, out, gone, number)
    const comeTo = endIn(held, into, come, number)
    pages[number] = changedPage(pages[number]!, part(out, gone, goneTo), part(into, come, comeTo), held)
    gone = goneTo
    come = comeTo
  }
  return { ...held, count, pages }
}

/** In the page of `position`, the first point at or after it; the page's length when there is none. */
export function firstPlaceAt({ pages, pageShift, shift }: Points, position: number): number {
  const page = pages[position >>> pageShift]!
  let at = page[(position >>> shift) & ((1 << (pageShift - shift)) - 1)]!
  while (at < page.length && page[at]! < position) at += 2
  return at
}

/** By stretch, and within each by insertion: it has a few. Points at one place keep no order. */
function inOrder({ positions, owners }: LoosePoints, bits: number, pageBits: number): Points {
  const shift = 32 - bits
  const starts = new Uint32Array(2 ** bits + 1)
  for (let from = 0; from < positions.length; from++) starts[(positions[from]! >>> shift) + 1]!++
  for (let at = 1; at < starts.length; at++) starts[at] = starts[at]! + starts[at - 1]!
  const filled = starts.slice()
  const sorted = new Uint32Array(positions.length * 2)
  for (let from = 0; from < positions.length; from++) {
    const position = positions[from]!
    const first = starts[position >>> shift]! * 2
    let at = filled[position >>> shift]!++ * 2
    for (; at > first && sorted[at - 2]! > position; at -= 2) {
      sorted[at] = sorted[at - 2]!
      sorted[at + 1] = sorted[at - 1]!
    }
    sorted[at] = position
    sorted[at + 1] = owners[from]!
  }
  const stretches = 2 ** pageBits
  const pages = Array.from({ length: 2 ** (bits - pageBits) }, (_, number) => {
    const from = starts[number * stretches]! * 2
    const to = starts[(number + 1) * stretches]! * 2
    const page = new Uint32Array(stretches + 1 + to - from)
    page.set(sorted.subarray(from, to), stretches + 1)
    return withStarts(page, stretches, shift)
  })
  return { count: positions.length, pages, shift, pageShift: shift + pageBits }
}

/** Notes where each stretch begins; the points are there. */
function withStarts(page: Page, stretches: number, shift: number): Page {
  let at = stretches + 1
  for (let stretch = 0; stretch < stretches; stretch++) {
    page[stretch] = at
    while (at < page.length && ((page[at]! >>> shift) & (stretches - 1)) === stretch) at += 2
  }
  page[stretches] = at
  return page
}

/** Both of this page and ascending; `leaving` is used up. */
function changedPage(page: Page, leaving: LoosePoints, coming: LoosePoints, held: Points): Page {
  const stretches = 2 ** (held.pageShift - held.shift)
  const more = coming.positions.length - leaving.positions.length
  const changed = new Uint32Array(page.length + 2 * more)
  let to = stretches + 1
  let come = 0
  const take = (before: number) => {
    for (; come < coming.positions.length && coming.positions[come]! < before; come++) {
      changed[to++] = coming.positions[come]!
      changed[to++] = coming.owners[come]!
    }
  }
  let gone = 0
  for (let at = stretches + 1; at < page.length; at += 2) {
    const position = page[at]!
    if (goes(leaving, gone, position, page[at + 1]!)) {
      gone++
      continue
    }
    take(position)
    changed[to++] = position
    changed[to++] = page[at + 1]!
  }
  take(Number.POSITIVE_INFINITY)
  return withStarts(changed, stretches, held.shift)
}

/** This point is among those at its place that leave, from `next` on: it is put there. Those of one place lie in any order. */
function goes({ positions, owners }: LoosePoints, next: number, position: number, owner: number): boolean {
  for (let at = next; at < positions.length && positions[at] === position; at++) {
    if (owners[at] !== owner) continue
    owners[at] = owners[next]!
    owners[next] = owner
    return true
  }
  return false
}

const pageOf = ({ pageShift }: Points, { positions }: LoosePoints, at: number): number =>
  at < positions.length ? positions[at]! >>> pageShift : Number.POSITIVE_INFINITY

/** From `from` on, the first of these that is of a later page than `number`. */
function endIn(points: Points, loose: LoosePoints, from: number, number: number): number {
  let at = from
  while (pageOf(points, loose, at) === number) at++
  return at
}

const part = ({ positions, owners }: LoosePoints, from: number, to: number): LoosePoints => ({
  positions: positions.subarray(from, to),
  owners: owners.subarray(from, to),
})

/** A copy. */
function ascending({ positions, owners }: LoosePoints): LoosePoints {
  // 48 bits, exact as a number: sorting them sorts the positions and takes the owners along.
  const pairs = new Float64Array(positions.length)
  for (let at = 0; at < positions.length; at++) pairs[at] = positions[at]! * ownersMax + owners[at]!
  pairs.sort()
  return {
    positions: Uint32Array.from(pairs, pair => Math.floor(pair / ownersMax)),
    owners: Uint16Array.from(pairs, pair => pair % ownersMax),
  }
}

/** Everything that will be there, in no order. */
function allOf(held: Points, leaving: LoosePoints, coming: LoosePoints, count: number): LoosePoints {
  const positions = new Uint32Array(count)
  const owners = new Uint16Array(count)
  const gone = new Uint8Array(ownersMax)
  for (const owner of leaving.owners) gone[owner] = 1
  let to = 0
  for (const page of held.pages)
    for (let at = page[0]!; at < page.length; at += 2) {
      const owner = page[at + 1]!
      if (gone[owner] === 1) continue
      positions[to] = page[at]!
      owners[to++] = owner
    }
  positions.set(coming.positions, to)
  owners.set(coming.owners, to)
  return { positions, owners }
}
