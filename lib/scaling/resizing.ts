/** Giving one instance other resources: what was asked against what it has, what its driver can and what its node has free. */
import type { Resources } from '../config/config.ts'
import { TidegateError } from '../errors.ts'
import type { Resizable } from '../hypervisor/driver.ts'
import { holds } from './placement/placement.ts'
import { mustBeMember } from './placement/protection.ts'
import { freeOf, resourcesOf } from './placement/rooms.ts'
import type { World } from './world.ts'

export interface Resizing {
  readonly node: string
  readonly from: Resources
  readonly to: Resources
}

const resizable = { cpus: 'cpus', memoryBytes: 'memory', diskBytes: 'disk' } as const satisfies Record<
  keyof Resources,
  Resizable
>
const keys = Object.keys(resizable) as (keyof Resources)[]

/** Throws `unknown_instance`, `resize_unsupported`, `no_capacity`, `hypervisor_unreachable`, with nothing changed. */
export async function planResize(
  world: World,
  cluster: string,
  id: string,
  wanted: Partial<Resources>,
): Promise<Resizing> {
  const { node } = mustBeMember(world, cluster, id)
  const from = resourcesOf(world, id, cluster)
  if (!from) throw new TidegateError('not_scalable', `cluster \`${cluster}\` has no \`instance\` section`)
  const to = { ...from, ...wanted }
  const changed = keys.filter(key => from[key] !== to[key])
  const driver = world.reality.driver(node)
  const cannot = changed.map(key => resizable[key]).filter(what => !driver.can.resize.includes(what))
  if (cannot.length > 0)
    throw new TidegateError(
      'resize_unsupported',
      `driver \`${driver.kind}\` cannot change ${cannot.join(' and ')} of a running instance; change \`instance.resources\` and replace it`,
      { details: { instance_id: id, cannot } },
    )
  await mustHaveRoom(world, node, id, from, to)
  return { node, from, to }
}

/** What it takes more than it has; nothing where it gives something back. */
export const growth = ({ from, to }: Pick<Resizing, 'from' | 'to'>): Resources => ({
  cpus: Math.max(0, to.cpus - from.cpus),
  memoryBytes: Math.max(0, to.memoryBytes - from.memoryBytes),
  diskBytes: Math.max(0, to.diskBytes - from.diskBytes),
})

async function mustHaveRoom(world: World, node: string, id: string, from: Resources, to: Resources) {
  const config = world.reality.nodes().find(one => one.id === node)
  const held = await world.reality.inspect(node)
  if (!config) return
  const free = freeOf(world, config, held)
  const needed = growth({ from, to })
  const lacking = keys.filter(key => needed[key] > 0 && free[key] < needed[key])
  if (lacking.length === 0 || holds(free, needed)) return
  const said = lacking.map(key => `${needed[key]} more ${words[key]}, found ${Math.max(0, free[key])}`)
  throw new TidegateError(
    'no_capacity',
    `Insufficient room on node \`${node}\` to resize ${id}: need ${said.join('; need ')} free`,
    { details: { node, instance_id: id, needed: view(needed), free: view(free) } },
  )
}

export const words = { cpus: 'cpus', memoryBytes: 'memory bytes', diskBytes: 'disk bytes' } as const

const view = ({ cpus, memoryBytes, diskBytes }: Resources) => ({
  cpus,
  memory_bytes: memoryBytes,
  disk_bytes: diskBytes,
})
