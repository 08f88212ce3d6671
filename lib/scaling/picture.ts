/**
 * The picture of a cluster that is taken before an operation does anything, and what is different after its undo. @pure
 *
 * The picture goes into the journal with `collect_metrics`, so it is there after a crash. It is compared with what is there when
 * everything was undone: a difference of the operation's own making is not undone yet, any other is told and left alone. What an operator
 * did meanwhile is none.
 *
 *   who is a member, where, as whom, of which size · protection and marks · what the hypervisor says · who is open to new clients
 *   · room that was promised · the golden snapshot · what carries the operation's tag
 */
import type { Resources } from '../config/config.ts'
import type { Held } from '../hypervisor/driver.ts'
import type { InstanceRecord } from '../store/store.ts'
import type { Difference } from './next.ts'

/** At most this many rows of each kind are kept. A cluster has at most 100 instances. */
export const picturedMax = 200

export type Picture = {
  readonly members: readonly {
    readonly id: string
    readonly node: string
    readonly host: string
    readonly port: number
    readonly incarnation: string
    /** What the hypervisor says of it, `gone` or `unknown`. */
    readonly reality: string
    /** Whether it was closed to new clients, by whomever; `absent` without a backend of its name. */
    readonly door: string
    /** Its own, that a resize gave it; null: what its cluster says. Absent in journals of former versions, as are the next two. */
    readonly resources?: { readonly [K in keyof Resources]: number } | null
    readonly protected?: boolean
    /** An operator's: `drain`, `maint` or null. */
    readonly mark?: string | null
  }[]
  /** Snapshots of the cluster. */
  readonly snapshots: readonly { readonly name: string; readonly node: string }[]
  /** The golden snapshot that the store names. */
  readonly golden: string | null
  /** Room that was promised to operations under way. */
  readonly promised: readonly { readonly node: string; readonly name: string }[]
  readonly not_asked: readonly string[]
  /** Rows were left out. */
  readonly cut: boolean
}

/** Everything that a picture is made of, as it is at one moment. */
export interface Scene {
  readonly installation: string
  readonly cluster: string
  readonly members: readonly InstanceRecord[]
  /** `open` `closed` `absent`, by id. */
  readonly door: (id: string) => string
  /** Of an operator; null: none. */
  readonly mark: (id: string) => string | null
  readonly held: ReadonlyMap<string, Held | null>
  readonly golden: string | null
  readonly promised: readonly { readonly node: string; readonly name: string }[]
}

export function pictureOf(scene: Scene): Picture {
  const { installation, cluster, held, golden } = scene
  const snapshots = [...held].flatMap(([node, answer]) =>
    (answer?.snapshots ?? [])
      .filter(({ owner }) => owner.installation === installation && owner.cluster === cluster)
      .map(({ name }) => ({ name, node })),
  )
  const lists = [scene.members, snapshots, scene.promised]
  return {
    members: scene.members.slice(0, picturedMax).map(record => {
      const { id, node, address, incarnation, resources } = record
      return {
        ...{ id, node, host: address.host, port: address.port, incarnation },
        ...{ reality: stateOf(held, node, id), door: scene.door(id), mark: scene.mark(id) },
        ...{ resources: resources ? { ...resources } : null, protected: record.protected ?? false },
      }
    }),
    snapshots: snapshots.slice(0, picturedMax),
    golden,
    promised: scene.promised.slice(0, picturedMax).map(({ node, name }) => ({ node, name })),
    not_asked: [...held].filter(([, answer]) => answer === null).map(([node]) => node),
    cut: lists.some(list => list.length > picturedMax),
  }
}

/** What an operation made, and what it took into its hands. */
export interface Own {
  readonly operation: string
  /** Nodes on which it made something. */
  readonly nodes: readonly string[]
  /** Instances that it paused or closed to new clients. */
  readonly taken: readonly string[]
  readonly reserved: readonly { readonly node: string; readonly name: string }[]
  /** Whom an operator marked or protected since it began. */
  readonly attended: ReadonlySet<string>
}

/** `before` is null for journals of former versions: then only what the operation made itself is looked for. */
export function differencesBetween(before: Picture | null, now: Scene, own: Own): readonly Difference[] {
  return [...leftOver(now, own), ...(before ? changed(before, now, own) : [])]
}

function leftOver(now: Scene, own: Own): readonly Difference[] {
  const differences: Difference[] = []
  for (const [node, answer] of now.held) {
    if (answer === null) {
      if (own.nodes.includes(node))
        differences.push(ours('not_asked', node, node, 'nothing of this operation', 'cannot be asked'))
      continue
    }
    for (const { name, owner } of [...answer.instances, ...answer.snapshots])
      if (owner.installation === now.installation && owner.operation === own.operation)
        differences.push(ours('left_over', name, node, 'nothing of this operation', 'still there'))
  }
  for (const { id, node, operation, address } of now.members)
    if (operation === own.operation)
      differences.push(ours('member_left', id, node, 'not a member', `member at ${whereOf(address)}`))
  for (const { name, node } of own.reserved)
    differences.push(ours('reserved', name, node, 'no room promised', 'promised'))
  return differences
}

function changed(before: Picture, now: Scene, own: Own): readonly Difference[] {
  const differences: Difference[] = []
  const members = new Map(now.members.map(record => [record.id, record]))
  for (const was of before.members) {
    const is = members.get(was.id)
    if (is) differences.push(...recordChanged(was, is, now, own), ...realityChanged(was, now, own))
    else {
      const where = `member at ${whereOf(was)}`
      differences.push(foreign('member_gone', was.id, was.node, where, 'not a member'))
    }
  }
  const known = new Set(before.members.map(({ id }) => id))
  for (const { id, node, operation, address } of before.cut ? [] : now.members)
    if (!known.has(id) && operation !== own.operation)
      differences.push(foreign('member_new', id, node, 'not a member', `member at ${whereOf(address)}`))
  return [...differences, ...goldenChanged(before, now), ...silenced(before, now, own)]
}

type Was = Picture['members'][number]

/** What the store says of a member. */
function recordChanged(was: Was, is: InstanceRecord, now: Scene, own: Own): readonly Difference[] {
  const differences: Difference[] = []
  const tell = (what: string, expected: string, found: string) => {
    differences.push(foreign(what, was.id, was.node, expected, found))
  }
  const [where, address] = [whereOf(was), whereOf(is.address)]
  if (address !== where || is.incarnation !== was.incarnation) tell('member_changed', where, address)
  const [had, has] = [sizeOf(was.resources), sizeOf(is.resources)]
  if (was.resources !== undefined && had !== has) tell('resources', had, has)
  if (own.attended.has(was.id)) return differences
  const guarded = (on: boolean | undefined) => (on ? 'protected' : 'not protected')
  if (was.protected !== undefined && was.protected !== (is.protected ?? false))
    tell('protection', guarded(was.protected), guarded(is.protected))
  const mark = now.mark(was.id)
  if (was.mark !== undefined && was.mark !== mark) tell('mark', was.mark ?? 'no mark', mark ?? 'no mark')
  return differences
}

/** What its hypervisor and the table say of it. */
function realityChanged(was: Was, now: Scene, own: Own): readonly Difference[] {
  const differences: Difference[] = []
  const reality = stateOf(now.held, was.node, was.id)
  const taken = own.taken.includes(was.id)
  if (was.reality === 'running' && reality !== 'running' && reality !== 'unknown') {
    const what = reality === 'paused' ? 'paused' : 'instance_gone'
    const difference = foreign(what, was.id, was.node, 'running', reality)
    differences.push({ ...difference, ours: taken && reality === 'paused' })
  }
  const door = now.door(was.id)
  if (was.door === 'open' && taken && door === 'closed')
    differences.push(ours('fenced', was.id, was.node, 'open to new clients', 'closed'))
  if (was.door !== 'absent' && door === 'absent')
    differences.push(foreign('not_serving', was.id, was.node, 'in the table', 'in no table'))
  return differences
}

function goldenChanged(before: Picture, now: Scene): readonly Difference[] {
  if (before.golden === null) return []
  const kept = before.snapshots.find(snapshot => snapshot.name === before.golden)
  if (before.golden !== now.golden) {
    const found = now.golden === null ? 'none' : now.golden
    return [foreign('golden_changed', before.golden, kept?.node ?? null, 'the golden snapshot', found)]
  }
  const answer = kept && now.held.get(kept.node)
  if (!kept || !answer || answer.snapshots.some(snapshot => snapshot.name === kept.name)) return []
  return [foreign('golden_gone', kept.name, kept.node, 'kept', 'gone')]
}

/** Nodes that answered and do not: of the members there nobody can say that they are as they were. */
function silenced(before: Picture, now: Scene, own: Own): readonly Difference[] {
  const nodes = new Set(before.members.map(({ node }) => node))
  return [...nodes]
    .filter(
      node => now.held.get(node) === null && !before.not_asked.includes(node) && !own.nodes.includes(node),
    )
    .map(node => foreign('not_asked', node, node, 'its members as they were', 'cannot be asked'))
}

const whereOf = ({ host, port }: { readonly host: string; readonly port: number }) => `${host}:${port}`

const sizeOf = (resources: Resources | null | undefined): string =>
  resources
    ? `${resources.cpus} cpus, ${resources.memoryBytes} bytes of memory, ${resources.diskBytes} of disk`
    : 'the size that its cluster says'

function stateOf(held: ReadonlyMap<string, Held | null>, node: string, id: string): string {
  const answer = held.get(node)
  if (!answer) return 'unknown'
  return answer.instances.find(({ name }) => name === id)?.state ?? 'gone'
}

const foreign = (
  what: string,
  id: string,
  node: string | null,
  expected: string,
  found: string,
): Difference => ({ ...{ what, id, node, expected, found }, ours: false })
const ours = (what: string, id: string, node: string, expected: string, found: string): Difference => ({
  ...foreign(what, id, node, expected, found),
  ours: true,
})

/** One difference in a person's words. */
export const inWords = ({ what, id, node, expected, found }: Difference): string =>
  `${id}${node === null || node === id ? '' : ` on ${node}`}: ${expected} expected, ${found} found (${what})`
