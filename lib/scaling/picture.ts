/**
 * The picture of a cluster that is taken before an operation does anything, and what is different after its undo. @pure
 *
 * The picture goes into the journal with `collect_metrics`, so it is there after a crash. It is compared with what is there when
 * everything was undone: a difference of the operation's own making is not undone yet, any other is told and left alone.
 */
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
    members: scene.members.slice(0, picturedMax).map(({ id, node, address, incarnation }) => ({
      ...{ id, node, host: address.host, port: address.port, incarnation },
      ...{ reality: stateOf(held, node, id), door: scene.door(id) },
    })),
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
  for (const { name, node } of own.reserved)
    differences.push(ours('reserved', name, node, 'no room promised', 'promised'))
  return differences
}

function changed(before: Picture, now: Scene, own: Own): readonly Difference[] {
  const differences: Difference[] = []
  for (const was of before.members) {
    const is = now.members.find(record => record.id === was.id)
    const where = `${was.host}:${was.port}`
    if (!is) {
      differences.push(foreign('member_gone', was.id, was.node, `member at ${where}`, 'not a member'))
      continue
    }
    const address = `${is.address.host}:${is.address.port}`
    if (address !== where || is.incarnation !== was.incarnation)
      differences.push(foreign('member_changed', was.id, was.node, where, address))
    const reality = stateOf(now.held, was.node, was.id)
    const taken = own.taken.includes(was.id)
    if (was.reality === 'running' && reality !== 'running' && reality !== 'unknown') {
      const what = reality === 'paused' ? 'paused' : 'instance_gone'
      const difference = foreign(what, was.id, was.node, 'running', reality)
      differences.push({ ...difference, ours: taken && reality === 'paused' })
    }
    if (was.door === 'open' && taken && now.door(was.id) === 'closed')
      differences.push(ours('fenced', was.id, was.node, 'open to new clients', 'closed'))
  }
  if (before.golden !== null && before.golden === now.golden) {
    const kept = before.snapshots.find(snapshot => snapshot.name === before.golden)
    const answer = kept && now.held.get(kept.node)
    if (kept && answer && !answer.snapshots.some(snapshot => snapshot.name === kept.name))
      differences.push(foreign('golden_gone', kept.name, kept.node, 'kept', 'gone'))
  }
  return differences
}

function stateOf(held: ReadonlyMap<string, Held | null>, node: string, id: string): string {
  const answer = held.get(node)
  if (!answer) return 'unknown'
  return answer.instances.find(({ name }) => name === id)?.state ?? 'gone'
}

const foreign = (what: string, id: string, node: string, expected: string, found: string): Difference => ({
  ...{ what, id, node, expected, found },
  ours: false,
})
const ours = (what: string, id: string, node: string, expected: string, found: string): Difference => ({
  ...foreign(what, id, node, expected, found),
  ours: true,
})

/** One difference in a person's words. */
export const inWords = ({ what, id, node, expected, found }: Difference): string =>
  `${id}${node === null || node === id ? '' : ` on ${node}`}: ${expected} expected, ${found} found (${what})`
