/**
 * Where new instances go. @pure
 *
 * Each instance goes to the node with the highest score among those that have room for it at its full size:
 *
 *   8 × locality   1 on the node of the best source; less where another source would have to be paused; 0 where there is none
 *   1 × free       the share of the node that is left afterwards, of whatever is scarcest there
 *   1 × spread     fewer of the cluster's instances in the node's zone than elsewhere
 *   1 × load       few exchanges and tunnels per CPU
 *
 * A clone can only be made on its source's node, and one that boots from nothing has no memory: so locality decides whatever the
 * others say. Between equals the cheaper node wins. Clones share memory only until they write to it: room counts the worst case, and of
 * a source that was resized it is the source's own size that its clone takes.
 */
import type { Resources } from '../../config/config.ts'
import type { Held } from '../../hypervisor/driver.ts'
import type { Candidate, Source } from '../facts.ts'

export interface NodeRoom {
  readonly id: string
  readonly zone: string
  readonly capacity: Resources
  readonly free: Resources
  /** Exchanges and tunnels on it. */
  readonly load: number
  /** Of the cluster that is placed. */
  readonly instances: number
  readonly hourly: number
  /** Why it takes no new instances whatever room it has; null: it does. */
  readonly closed: string | null
}

export interface Place {
  readonly node: string
  /** Null: it boots from nothing. */
  readonly source: Source | null
  readonly score: number
}

export interface Placing {
  /** Fewer than were wanted when there is no room for more. */
  readonly places: readonly Place[]
  /** Every node that was looked at, for the operation's record. */
  readonly candidates: readonly Candidate[]
}

export const weights = { locality: 8, free: 1, spread: 1, load: 1 } as const
/** What a source other than the best is worth: its pause costs less than another zone gains, unless its memory is not the one that is wanted. */
const otherSource = 0.875
const otherMemory = 0.5
/** Nodes in an operation's record. */
const candidatesMax = 50

export interface Wanted {
  readonly count: number
  /** Of one that has no size of its own from its source. */
  readonly need: Resources
  /** By instance: what a clone of it takes, where it was resized. */
  readonly sizes?: ReadonlyMap<string, Resources>
  /** The best first. */
  readonly sources: readonly Source[]
  /** Whose memory each is to have, in order: another's only where that cannot be had. */
  readonly memories?: readonly string[]
}

export function place(wanted: Wanted, rooms: readonly NodeRoom[]): Placing {
  const nodes = rooms.map(room => ({ room, left: { ...room.free }, taken: 0 }))
  const first = nodes.map(node => {
    const { need } = makingOn(node, wanted)
    return { need, ...scoreOf(node, nodes, { ...wanted, need }) }
  })
  const places: Place[] = []
  while (places.length < wanted.count) {
    const own = { ...wanted, sources: sourcesFor(wanted, places.length) }
    const scored = nodes
      .map(node => ({ node, ...makingOn(node, own) }))
      .filter(({ node: { room, left }, need }) => room.closed === null && holds(left, need))
      .map(making => ({ ...making, score: scoreOf(making.node, nodes, { ...own, need: making.need }).score }))
      .sort((a, b) => b.score - a.score || a.node.room.hourly - b.node.room.hourly || byId(a.node, b.node))
    const [best] = scored
    if (!best) break
    subtract(best.node.left, best.need)
    best.node.taken++
    places.push({ node: best.node.room.id, source: best.source, score: best.score })
  }
  const candidates = nodes.map(({ room, taken }, index): Candidate => {
    const { id, zone, free, closed } = room
    const { need, ...scored } = first[index]!
    const fits = closed === null ? fitting(free, need) : 0
    const why = closed ?? (fits > 0 ? null : `no room: ${lacking(free, need)}`)
    return { node: id, zone, fits, taken, ...scored, why }
  })
  return { places, candidates: candidates.sort((a, b) => b.score - a.score).slice(0, candidatesMax) }
}

interface Filling {
  readonly room: NodeRoom
  readonly left: Room
  taken: number
}

function scoreOf(node: Filling, nodes: readonly Filling[], { need, sources, memories }: Wanted) {
  const { room, left } = node
  const all = nodes.reduce((sum, { room, taken }) => sum + room.instances + taken, 0)
  const near = nodes.filter(other => other.room.zone === room.zone)
  const inZone = near.reduce((sum, { room, taken }) => sum + room.instances + taken, 0)
  const at = sources.findIndex(source => source.node === room.id)
  const other = memories ? otherMemory : otherSource
  const best = at >= 0 && sources[at]!.node === sources[0]!.node
  const parts = {
    locality: at < 0 ? 0 : best || (!memories && node.taken > 0) ? 1 : other,
    free: freeAfter(left, need, room.capacity),
    spread: all === 0 ? 1 : 1 - inZone / all,
    load: 1 / (1 + room.load / Math.max(room.capacity.cpus, 0.1)),
  }
  const keys = Object.keys(weights) as (keyof typeof weights)[]
  const score = keys.reduce((sum, key) => sum + weights[key] * parts[key], 0)
  return { score: rounded(score), parts: mapValues(parts, rounded) }
}

/** What would be made there and what it takes: a clone of the best source there that there is room for, else of the best. */
function makingOn(
  { room, left }: Filling,
  { need, sizes, sources }: Wanted,
): { readonly source: Source | null; readonly need: Resources } {
  const makings = sources
    .filter(({ node }) => node === room.id)
    .map(source => ({ source, need: sizes?.get(source.instance ?? '') ?? need }))
  return makings.find(making => holds(left, making.need)) ?? makings[0] ?? { source: null, need }
}

/** Those of the whole, with the one whose memory the next instance is to have before them. */
function sourcesFor({ sources, memories }: Wanted, index: number): readonly Source[] {
  const own = sources.find(({ instance }) => instance !== null && instance === memories?.[index])
  return own ? [own, ...sources.filter(source => source !== own)] : sources
}

/** Of the resource that is scarcest afterwards; 0 where there is not enough. */
function freeAfter(left: Resources, need: Resources, capacity: Resources): number {
  const shares = resourceKeys
    .filter(key => capacity[key] > 0)
    .map(key => Math.max(0, left[key] - need[key]) / capacity[key])
  return Math.min(1, ...shares)
}

/**
 * What is free on a node: its capacity less what is held there and what is promised to operations under way. What was promised to one that
 * is there already is its size: nobody else knows it before it is a member.
 */
export function freeOn(
  capacity: Resources,
  held: Held,
  promised: readonly { readonly name: string; readonly resources: Resources }[],
  resourcesOf: (name: string, cluster: string) => Resources | null,
): Resources {
  const free = { ...capacity }
  // One that is being made is there before it runs: until then its promise counts.
  const names = new Set(held.instances.filter(({ state }) => state !== 'stopped').map(({ name }) => name))
  const sizes = new Map(promised.map(({ name, resources }) => [name, resources]))
  for (const instance of held.instances) {
    if (instance.state === 'stopped') continue
    const resident = instance.residentBytes ?? 0
    const known = sizes.get(instance.name) ?? resourcesOf(instance.name, instance.owner.cluster)
    const size = known ?? { cpus: 0, memoryBytes: 0, diskBytes: 0 }
    // More than it was promised is gone all the same.
    subtract(free, { ...size, memoryBytes: Math.max(size.memoryBytes, resident) })
  }
  for (const snapshot of held.snapshots) free.diskBytes -= snapshot.bytes
  for (const { name, resources } of promised) if (!names.has(name)) subtract(free, resources)
  return free
}

type Room = { -readonly [K in keyof Resources]: Resources[K] }

const resourceKeys = ['cpus', 'memoryBytes', 'diskBytes'] as const
/** CPUs come in fractions: ten times a tenth is one. */
const slack = 1e-9

export const holds = (room: Resources, need: Resources): boolean =>
  resourceKeys.every(key => room[key] + slack >= need[key])

/** How many of this size fit. */
function fitting(free: Resources, need: Resources): number {
  const counts = resourceKeys
    .filter(key => need[key] > 0)
    .map(key => Math.floor(free[key] / need[key] + slack))
  return Math.max(0, Math.min(100, ...counts))
}

const lacking = (free: Resources, need: Resources): string =>
  resourceKeys
    .filter(key => free[key] + slack < need[key])
    .map(key => `${words[key]} ${Math.max(0, rounded(free[key]))} of ${need[key]}`)
    .join(', ')

const words = { cpus: 'cpus', memoryBytes: 'memory bytes', diskBytes: 'disk bytes' } as const

function subtract(room: Room, need: Resources): void {
  for (const key of resourceKeys) room[key] -= need[key]
}

const byId = (a: Filling, b: Filling) => (a.room.id < b.room.id ? -1 : 1)
const rounded = (value: number): number => Math.round(value * 1000) / 1000
const mapValues = <K extends string>(of: Record<K, number>, map: (value: number) => number) =>
  Object.fromEntries(Object.entries<number>(of).map(([key, value]) => [key, map(value)])) as Record<K, number>
