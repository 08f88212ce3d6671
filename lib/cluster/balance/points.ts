/**
 * Points on the ring, sorted, in flat arrays: 10,000 members have 1.6 million of them, and a pick touches few lines of memory. @pure
 *
 *   the ring   0 ──────┬────────┬────────┬── … ── 2^32     stretches of equal length
 *   starts             0        3        4                 the first point of each stretch
 *   positions          2  5  9  │11      │17  …            ascending
 *   owners             4  0  4  │ 7      │ 0  …            the number of the member that each belongs to
 *
 * Never changed once built: a change of membership copies what lies between the points that come or go, run by run.
 */
export interface Points extends LoosePoints {
  readonly starts: Uint32Array
  /** A position shifted right by this is the number of its stretch. */
  readonly shift: number
}

/** In no order: `positions[i]` belongs to `owners[i]`. */
export interface LoosePoints {
  readonly positions: Uint32Array
  readonly owners: Uint16Array
}

/** Points in a stretch: on average when built, and how far it may go from there before the stretches are made anew. */
const stretchSize = 12
const stretchSizeMin = 4
const stretchSizeMax = 40
/** When more than this share of the points come or go, all are sorted anew. */
const changedShareMax = 1 / 8

export function sortedPoints(loose: LoosePoints): Points {
  const { length } = loose.positions
  // At least one bit: a shift by 32 is none.
  const bits = Math.max(1, Math.ceil(Math.log2(Math.max(1, length / stretchSize))))
  return inOrder(loose, 2 ** bits, 32 - bits)
}

/** `held` without `leaving` and with `coming`. */
export function changedPoints(held: Points, leaving: LoosePoints, coming: LoosePoints): Points {
  const changed = leaving.positions.length + coming.positions.length
  if (changed === 0) return held
  const count = held.positions.length - leaving.positions.length + coming.positions.length
  const stretches = held.starts.length - 1
  const uneven = count > stretches * stretchSizeMax || (count < stretches * stretchSizeMin && stretches > 2)
  if (uneven || changed > count * changedShareMax) return sortedPoints(allOf(held, leaving, coming, count))
  const out = placesOf(leaving, held)
  const into = ascending(coming)
  const starts = new Uint32Array(stretches + 1)
  let gone = 0
  let come = 0
  for (let at = 0; at <= stretches; at++) {
    const start = held.starts[at]!
    while (gone < out.length && out[gone]! < start) gone++
    while (come < into.positions.length && into.positions[come]! >>> held.shift < at) come++
    starts[at] = start - gone + come
  }
  return { ...merged(held, out, into, count), starts, shift: held.shift }
}

/** The first point at or after `position`, or their number when there is none. */
export function firstPointAt({ positions, starts, shift }: Points, position: number): number {
  let at = starts[position >>> shift]!
  while (at < positions.length && positions[at]! < position) at++
  return at
}

/** By stretch, and within each by insertion: it has a few. Points at one place keep no order. */
function inOrder({ positions, owners }: LoosePoints, stretches: number, shift: number): Points {
  const starts = new Uint32Array(stretches + 1)
  for (let from = 0; from < positions.length; from++) starts[(positions[from]! >>> shift) + 1]!++
  for (let at = 1; at <= stretches; at++) starts[at] = starts[at]! + starts[at - 1]!
  const filled = starts.slice()
  const sorted = { positions: new Uint32Array(positions.length), owners: new Uint16Array(positions.length) }
  for (let from = 0; from < positions.length; from++) {
    const position = positions[from]!
    const stretch = position >>> shift
    const first = starts[stretch]!
    let at = filled[stretch]!++
    for (; at > first && sorted.positions[at - 1]! > position; at--) {
      sorted.positions[at] = sorted.positions[at - 1]!
      sorted.owners[at] = sorted.owners[at - 1]!
    }
    sorted.positions[at] = position
    sorted.owners[at] = owners[from]!
  }
  return { ...sorted, starts, shift }
}

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

/** Where in `held` these are, ascending. */
function placesOf(loose: LoosePoints, held: Points): Uint32Array {
  const { positions, owners } = ascending(loose)
  const places = new Uint32Array(positions.length)
  for (let at = 0; at < positions.length; at++) {
    // A member may have two points at one place.
    const again = at > 0 && positions[at] === positions[at - 1] && owners[at] === owners[at - 1]
    let place = again ? places[at - 1]! + 1 : firstPointAt(held, positions[at]!)
    while (held.owners[place] !== owners[at]) place++
    places[at] = place
  }
  // Those of several owners at one place may lie in another order there.
  return places.sort()
}

function merged(held: Points, leaving: Uint32Array, coming: LoosePoints, count: number): LoosePoints {
  const positions = new Uint32Array(count)
  const owners = new Uint16Array(count)
  let from = 0
  let to = 0
  const copyUntil = (end: number) => {
    positions.set(held.positions.subarray(from, end), to)
    owners.set(held.owners.subarray(from, end), to)
    to += end - from
    from = end
  }
  let goes = 0
  for (let comes = 0; comes < coming.positions.length; comes++) {
    const place = firstPointAt(held, coming.positions[comes]!)
    for (; goes < leaving.length && leaving[goes]! < place; goes++) {
      copyUntil(leaving[goes]!)
      from++
    }
    copyUntil(place)
    positions[to] = coming.positions[comes]!
    owners[to++] = coming.owners[comes]!
  }
  for (; goes < leaving.length; goes++) {
    copyUntil(leaving[goes]!)
    from++
  }
  copyUntil(held.positions.length)
  return { positions, owners }
}

/** Everything that will be there, in no order. */
function allOf(held: LoosePoints, leaving: LoosePoints, coming: LoosePoints, count: number): LoosePoints {
  const positions = new Uint32Array(count)
  const owners = new Uint16Array(count)
  const gone = new Uint8Array(ownersMax)
  for (const owner of leaving.owners) gone[owner] = 1
  let to = 0
  for (let from = 0; from < held.positions.length; from++) {
    if (gone[held.owners[from]!] === 1) continue
    positions[to] = held.positions[from]!
    owners[to++] = held.owners[from]!
  }
  positions.set(coming.positions, to)
  owners.set(coming.owners, to)
  return { positions, owners }
}

const ownersMax = 2 ** 16
