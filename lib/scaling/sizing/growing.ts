/**
 * How a cluster comes to so many CPUs: who of those that are there grows, and how many are made beside them. @pure
 *
 * The smallest grows first, by one CPU, and then again the smallest: so that those who grew are alike and take like shares of the load. Whom
 * his node has no room for stays as he is. What is lacking then is cloned: a clone of a live one has the size that its source has by then.
 */
import type { Resources, ScalingPolicy } from '../../config/config.ts'
import type { Growing } from '../facts.ts'
import { holds, type NodeRoom, place, type Wanted } from '../placement/placement.ts'

const MiB = 2 ** 20
/** Memory that a running machine is given comes in pieces of so much. */
const memoryUnitBytes = 128 * MiB
/** CPUs come in fractions: ten times a tenth is one. */
const slack = 1e-9

/** How far an instance grows before others are made. */
export interface GrowthBound {
  /** 0: none grows. */
  readonly cpus: number
  /** What it has at that many CPUs; null: its memory stays. */
  readonly memoryBytes: number | null
}

export const growthBound = ({
  resizeFirstCpus = 0,
  resizeFirstMemoryMib = 0,
}: Pick<ScalingPolicy, 'resizeFirstCpus' | 'resizeFirstMemoryMib'>): GrowthBound => ({
  cpus: resizeFirstCpus,
  memoryBytes: resizeFirstMemoryMib === 0 ? null : resizeFirstMemoryMib * MiB,
})

export interface Grower {
  readonly id: string
  readonly node: string
  readonly resources: Resources
  /** It runs and does well, and its driver can. */
  readonly able: boolean
}

export interface GrowthWish {
  /** CPUs of all together. */
  readonly target: number
  readonly members: readonly Grower[]
  readonly bound: GrowthBound
  /** The size from which memory is in proportion. */
  readonly template: Resources
  readonly rooms: readonly NodeRoom[]
}

export interface Growth {
  readonly grow: readonly Growing[]
  /** Of all together, then. */
  readonly cpus: number
  /** What is left on the nodes for others. */
  readonly rooms: readonly NodeRoom[]
  /** Somebody did not grow as far as he might, as his node has no room for it. */
  readonly tight: boolean
}

export function growthFor({ target, members, bound, template, rooms }: GrowthWish): Growth {
  const free = new Map(rooms.map(({ id, free }) => [id, { ...free }]))
  const sizes = new Map(members.map(({ id, resources }) => [id, resources]))
  const cannot = new Set(members.flatMap(({ id, able }) => (able ? [] : [id])))
  let cpus = cpusOf([...sizes.values()])
  let tight = false
  while (cpus + slack < target) {
    const next = smallest(members, sizes, bound, cannot)
    if (!next) break
    const has = sizes.get(next.id)!
    const gets = oneMore(has, bound, template)
    const room = free.get(next.node)
    const needed = less(gets, has)
    if (!room || !holds(room, needed)) {
      tight = true
      cannot.add(next.id)
      continue
    }
    free.set(next.node, less(room, needed))
    sizes.set(next.id, gets)
    cpus += needed.cpus
  }
  const named = members.toSorted((a, b) => (a.id < b.id ? -1 : 1))
  const grow = named.flatMap(({ id, node, resources }): readonly Growing[] => {
    const to = sizes.get(id)!
    return to === resources ? [] : [{ id, node, from: { ...resources }, to: { ...to } }]
  })
  return { grow, cpus, tight, rooms: rooms.map(room => ({ ...room, free: free.get(room.id)! })) }
}

export interface NewcomersWish extends Omit<Wanted, 'count'> {
  /** CPUs that are lacking. */
  readonly lacking: number
  /** At most so many are made. */
  readonly count: number
  /** So many stand ready and need no room, each of the size of one that has none from its source. */
  readonly ready: number
  readonly rooms: readonly NodeRoom[]
}

export interface Newcomers {
  /** Together with those that stood ready. */
  readonly add: number
  /** Fewer than are lacking: there is no room for more, or no more may be made. */
  readonly cpus: number
  /** Of those that are made, in the order in which they will be. */
  readonly promised: readonly { readonly node: string; readonly resources: Resources }[]
}

/** As few as are enough. */
export function newcomersFor({ lacking, count, ready, rooms, ...wanted }: NewcomersWish): Newcomers {
  const { need, sizes } = wanted
  const pooled = Math.min(ready, count, Math.ceil(lacking / need.cpus - slack))
  let cpus = pooled * need.cpus
  const promised: { node: string; resources: Resources }[] = []
  // Where one goes does not depend on how many come after it.
  const { places } = place({ ...wanted, count: count - pooled }, rooms)
  for (const { node, source } of places) {
    if (cpus + slack >= lacking) break
    const resources = sizes?.get(source?.instance ?? '') ?? need
    promised.push({ node, resources })
    cpus += resources.cpus
  }
  return { add: pooled + promised.length, cpus, promised }
}

export const cpusOf = (sizes: readonly Resources[]): number =>
  Math.round(sizes.reduce((sum, { cpus }) => sum + cpus, 0) * 1_000) / 1_000

/** Null: nobody may grow any more. */
function smallest(
  members: readonly Grower[],
  sizes: ReadonlyMap<string, Resources>,
  bound: GrowthBound,
  cannot: ReadonlySet<string>,
): Grower | null {
  let found: Grower | null = null
  for (const one of members) {
    const { cpus } = sizes.get(one.id)!
    if (cannot.has(one.id) || cpus + slack >= bound.cpus) continue
    const least = found && sizes.get(found.id)!.cpus
    if (found === null || cpus < least! || (cpus === least && one.id < found.id)) found = one
  }
  return found
}

/** Its next size: a whole CPU more, and the memory that goes with it. It loses nothing. */
function oneMore(has: Resources, bound: GrowthBound, template: Resources): Resources {
  const cpus = Math.min(bound.cpus, Math.floor(has.cpus + slack) + 1)
  return { ...has, cpus, memoryBytes: Math.max(has.memoryBytes, memoryAt(cpus, bound, template)) }
}

/** In proportion between the template's and the bound's, in whole pieces beyond the template's and never above the bound. */
export function memoryAt(cpus: number, bound: GrowthBound, template: Resources): number {
  if (bound.memoryBytes === null || bound.cpus <= template.cpus) return template.memoryBytes
  const share = Math.min(1, Math.max(0, (cpus - template.cpus) / (bound.cpus - template.cpus)))
  const more = Math.max(0, bound.memoryBytes - template.memoryBytes) * share
  return template.memoryBytes + Math.floor(more / memoryUnitBytes + slack) * memoryUnitBytes
}

const less = (from: Resources, what: Resources): Resources => ({
  cpus: from.cpus - what.cpus,
  memoryBytes: from.memoryBytes - what.memoryBytes,
  diskBytes: from.diskBytes - what.diskBytes,
})
