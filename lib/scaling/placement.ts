/**
 * Where new instances go. @pure
 *
 * A clone can only be made on the node of its source. So the nodes that hold a source are filled first, best source first,
 * which keeps the number of sources that must be paused small; what does not fit there boots from nothing on the node with
 * the most free memory. A node's room counts each instance at its full size: clones share memory only until they write to it.
 */
import type { Resources } from '../config/config.ts'
import type { Held } from '../hypervisor/driver.ts'
import type { Source } from './facts.ts'

export interface NodeRoom {
  readonly id: string
  readonly free: Resources
}

export interface Place {
  readonly node: string
  /** Null: it boots from nothing. */
  readonly source: Source | null
}

/** At most `count` places; fewer when there is no room for more. */
export function place(
  count: number,
  need: Resources,
  rooms: readonly NodeRoom[],
  sources: readonly Source[],
): readonly Place[] {
  const left = new Map(rooms.map(room => [room.id, { ...room.free }]))
  const places: Place[] = []
  for (const source of firstOfEachNode(sources)) {
    while (places.length < count && take(left.get(source.node), need))
      places.push({ node: source.node, source })
  }
  while (places.length < count) {
    const [id, room] = [...left].sort(([, a], [, b]) => b.memoryBytes - a.memoryBytes)[0] ?? []
    if (id === undefined || !take(room, need)) {
      if (id === undefined) break
      left.delete(id)
      continue
    }
    places.push({ node: id, source: null })
  }
  return places
}

/** What is free on a node: its capacity less what is held there and what is promised to operations under way. */
export function roomOf(
  node: { readonly id: string; readonly capacity: Resources },
  held: Held,
  promised: readonly { readonly name: string; readonly resources: Resources }[],
  resourcesOf: (cluster: string) => Resources | null,
): NodeRoom {
  const free = { ...node.capacity }
  const names = new Set(held.instances.map(instance => instance.name))
  for (const instance of held.instances) {
    if (instance.state === 'stopped') continue
    const stranger = { cpus: 0, memoryBytes: instance.residentBytes ?? 0, diskBytes: 0 }
    subtract(free, resourcesOf(instance.owner.cluster) ?? stranger)
  }
  for (const { name, resources } of promised) if (!names.has(name)) subtract(free, resources)
  return { id: node.id, free }
}

type Room = { -readonly [K in keyof Resources]: Resources[K] }

function take(room: Room | undefined, need: Resources): boolean {
  if (!room) return false
  if (room.cpus < need.cpus || room.memoryBytes < need.memoryBytes || room.diskBytes < need.diskBytes)
    return false
  subtract(room, need)
  return true
}

function subtract(room: Room, need: Resources): void {
  room.cpus -= need.cpus
  room.memoryBytes -= need.memoryBytes
  room.diskBytes -= need.diskBytes
}

function firstOfEachNode(sources: readonly Source[]): readonly Source[] {
  const nodes = new Set<string>()
  return sources.filter(source => !nodes.has(source.node) && nodes.add(source.node))
}
