/** Giving one instance other resources: what was asked against what it has, what its driver can and what its node has free. */
import type { Resources } from '../../config/config.ts'
import { TidegateError } from '../../errors.ts'
import type { Resizable } from '../../hypervisor/driver.ts'
import type { JournalEntry, Write } from '../../store/store.ts'
import { type Claim, doneData, type Growing, intentOf, type PlanData } from '../facts.ts'
import { holds } from '../placement/placement.ts'
import { mustBeMember } from '../placement/protection.ts'
import { freeOf, resourcesOf } from '../placement/rooms.ts'
import type { Promised, World } from '../world.ts'

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
const growth = ({ from, to }: Pick<Resizing, 'from' | 'to'>): Resources => ({
  cpus: Math.max(0, to.cpus - from.cpus),
  memoryBytes: Math.max(0, to.memoryBytes - from.memoryBytes),
  diskBytes: Math.max(0, to.diskBytes - from.diskBytes),
})

/** Under names of their own: what they have already is counted where it is held. */
export const growthPromised = ({ grow = [] }: Pick<PlanData, 'grow'>): readonly Promised[] =>
  grow.map(({ id, node, from, to }) => ({ name: `${id}+`, node, resources: growth({ from, to }) }))

/**
 * Of an operation that ends as it stands, before its point of no return: those whom it had begun to resize and did not give back what they
 * had. They are counted with the most that they may have.
 */
export function sizesLeft(
  { members }: Pick<World, 'members'>,
  journal: readonly JournalEntry[],
): readonly Write[] {
  return resizedIn(journal).flatMap(({ id, from, to }): readonly Write[] => {
    const record = members.get(id)
    const resources = {
      cpus: Math.max(from.cpus, to.cpus),
      memoryBytes: Math.max(from.memoryBytes, to.memoryBytes),
      diskBytes: Math.max(from.diskBytes, to.diskBytes),
    }
    return record ? [{ put: 'instance', record: { ...record, resources } }] : []
  })
}

function resizedIn(journal: readonly JournalEntry[]): readonly Omit<Growing, 'node'>[] {
  const begun = ['grow', 'resize'].find(step => intentOf(journal, step) !== null)
  if (begun === undefined || journal.some(({ step, kind }) => step === begun && kind === 'reverted'))
    return []
  if (begun === 'grow') return intentOf<{ readonly grow: readonly Growing[] }>(journal, begun)!.grow
  const { names, from } = intentOf<Claim & Pick<Growing, 'from'>>(journal, begun)!
  return [{ id: names[0]!, from, to: doneData<Resizing>(journal, 'plan').to }]
}

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
