/**
 * The ring of members of any weights, and of many. @pure See `ring.ts` for the order that it keeps.
 *
 * Members are sorted into bands by weight (1–15, 16–255, 256 …), each with its own points. In a band the walk from a key's
 * place goes on until no point further on can be nearer than the nearest so far, however heavy its member: that is after as
 * many points, on average, as the heaviest has times the mean weight.
 *
 * A change of membership touches only the points of the members that come and go.
 *
 * A client comes again and again, and a walk goes to memory that nobody else has just used: the owners of the last keys are kept
 * in a small table, each at the place that its hash gives it.
 */
import { takesNew } from './admits.ts'
import type { Candidate } from './balancer.ts'
import { pointsPerMember, writePoints } from './hash.ts'
import { changedPoints, firstPlaceAt, type LoosePoints, type Points, sortedPoints } from './points.ts'
import type { Fits, Ring } from './ring.ts'
import { standIn, walkMax } from './stand-in.ts'

interface Band {
  /** The logarithm of its weights to the base 16, rounded down. */
  readonly order: number
  readonly points: Points
  /** How many members have each weight. */
  readonly counts: ReadonlyMap<number, number>
  /** 1 ÷ the greatest weight in it. */
  readonly leastInverse: number
}

/** A member's number is what `owners` holds of it: 16 bits. */
const numbersMax = 2 ** 16
/** Keys whose owners are kept: about one a member, and at most so many, which are 64 KiB a ring. Of few members the walk is as near. */
const keptMax = 2 ** 13

export class WeightedRing<M extends Candidate> implements Ring<M> {
  /** As they were given, and the number of each. */
  readonly #listed: readonly M[]
  readonly #numbers: Uint16Array
  /** By number; null: given back. */
  readonly #members: (M | null)[]
  /** 1 ÷ weight, by number. */
  readonly #inverse: Float64Array
  /** Heaviest first: what is found there ends the walks in the others early. */
  readonly #bands: readonly Band[]
  /** At a key's place its hash, and the number of its owner plus one. */
  readonly #kept: Uint32Array
  /** The nearest on the walk of now, and the nearest that is wanted. */
  passedOwner: M | null = null
  #ownerDistance = 0
  #ownerNumber = 0
  #best: M | null = null
  #bestDistance = 0

  /**
   * `members`: of weight > 0, each id once. What comes and goes is told from `previous` by the objects in their order: a list
   * in another order, or of other objects, makes the same ring and takes longer.
   */
  constructor(members: readonly M[], previous: WeightedRing<M> | null) {
    const full = previous !== null && previous.#members.length + members.length > numbersMax
    const base = full ? null : previous
    this.#listed = members
    this.#kept = new Uint32Array(2 * Math.min(keptMax, 2 ** Math.ceil(Math.log2(members.length + 1))))
    this.#numbers = new Uint16Array(members.length)
    this.#members = base === null ? [] : base.#members.slice()
    const former = base === null ? [] : base.#listed
    const leaving: Numbered[] = []
    let at = 0
    for (let from = 0; from < former.length; from++) {
      const number = base!.#numbers[from]!
      if (former[from] === members[at]) this.#numbers[at++] = number
      else {
        leaving.push({ member: former[from]!, number })
        this.#members[number] = null
      }
    }
    const coming: Numbered[] = []
    for (; at < members.length; at++) {
      const number = this.#members.push(members[at]!) - 1
      this.#numbers[at] = number
      coming.push({ member: members[at]!, number })
    }
    this.#inverse = new Float64Array(this.#members.length)
    if (base !== null) this.#inverse.set(base.#inverse)
    for (const { member, number } of coming) this.#inverse[number] = 1 / member.weight
    this.#bands = changedBands(base === null ? [] : base.#bands, leaving, coming)
  }

  owner(hash: number): M | null {
    const kept = this.#kept
    const place = (2 * hash) % kept.length
    if (kept[place] === hash && kept[place + 1] !== 0) return this.#members[kept[place + 1]! - 1]!
    const owner = this.#nearest(hash, null, null)
    if (owner === null) return null
    kept[place] = hash
    kept[place + 1] = this.#ownerNumber + 1
    return owner
  }

  next(hash: number, tried: ReadonlySet<M>, fits: Fits<M> | null): M | null {
    const owner = this.owner(hash)
    this.passedOwner = owner
    if (owner !== null && suits(owner, tried, fits)) return owner
    return this.#nearest(hash, tried, fits) ?? standIn(this.#members, hash, tried, fits)
  }

  /** `tried` null: whether it takes clients or not. Null also when those near the place refuse and others were not asked. */
  #nearest(hash: number, tried: ReadonlySet<M> | null, fits: Fits<M> | null): M | null {
    this.passedOwner = null
    this.#ownerDistance = Number.POSITIVE_INFINITY
    this.#best = null
    this.#bestDistance = Number.POSITIVE_INFINITY
    for (const band of this.#bands) this.#walk(band, hash, tried, fits)
    return this.#best
  }

  #walk(
    { points, leastInverse }: Band,
    hash: number,
    tried: ReadonlySet<M> | null,
    fits: Fits<M> | null,
  ): void {
    const { pages } = points
    let number = hash >>> points.pageShift
    let page = pages[number]!
    let at = firstPlaceAt(points, hash)
    for (let step = Math.min(points.count, walkMax); step > 0; step--) {
      while (at === page.length) {
        number = number + 1 === pages.length ? 0 : number + 1
        page = pages[number]!
        at = page[0]!
      }
      const way = (page[at]! - hash) >>> 0
      if (way * leastInverse > this.#bestDistance) return
      const owner = page[at + 1]!
      at += 2
      const distance = way * this.#inverse[owner]!
      if (distance > this.#bestDistance) continue
      const member = this.#members[owner]!
      // Of two at one distance the lower id, whatever the order of their points.
      if (distance === this.#bestDistance && this.#best!.id <= member.id) continue
      if (
        distance < this.#ownerDistance ||
        (distance === this.#ownerDistance && member.id < this.passedOwner!.id)
      ) {
        this.passedOwner = member
        this.#ownerDistance = distance
        this.#ownerNumber = owner
      }
      if (tried !== null && !suits(member, tried, fits)) continue
      this.#best = member
      this.#bestDistance = distance
    }
  }
}

function suits<M extends Candidate>(member: M, tried: ReadonlySet<M>, fits: Fits<M> | null): boolean {
  return takesNew(member, tried) && (fits === null || fits(member))
}

interface Numbered {
  readonly member: Candidate
  readonly number: number
}

function changedBands(
  held: readonly Band[],
  leaving: readonly Numbered[],
  coming: readonly Numbered[],
): readonly Band[] {
  const orders = new Set([...held.map(band => band.order), ...coming.map(orderOf)])
  const bands: Band[] = []
  for (const order of orders) {
    const former = held.find(band => band.order === order) ?? null
    const goes = leaving.filter(one => orderOf(one) === order)
    const comes = coming.filter(one => orderOf(one) === order)
    const counts = new Map(former?.counts)
    for (const { member } of goes) counts.set(member.weight, counts.get(member.weight)! - 1)
    for (const { member } of comes) counts.set(member.weight, (counts.get(member.weight) ?? 0) + 1)
    for (const [weight, count] of counts) if (count === 0) counts.delete(weight)
    if (counts.size === 0) continue
    const points = former
      ? changedPoints(former.points, pointsOf(goes), pointsOf(comes))
      : sortedPoints(pointsOf(comes))
    bands.push({ order, points, counts, leastInverse: 1 / Math.max(...counts.keys()) })
  }
  return bands.sort((a, b) => b.order - a.order)
}

function pointsOf(numbered: readonly Numbered[]): LoosePoints {
  const positions = new Uint32Array(numbered.length * pointsPerMember)
  const owners = new Uint16Array(positions.length)
  numbered.forEach(({ member, number }, at) => {
    writePoints(member.id, positions, at * pointsPerMember)
    owners.fill(number, at * pointsPerMember, (at + 1) * pointsPerMember)
  })
  return { positions, owners }
}

const orderOf = ({ member }: Numbered): number => Math.floor(Math.log2(member.weight) / 4)
