/**
 * The snapshots that the nodes hold, who uses each, and what may become of it. A snapshot is used by the cluster whose current golden
 * one it is, by an unfinished operation or a pool that names it, and by every instance whose memory rests on its files.
 */
import { TidegateError } from '../../errors.ts'
import type { Held, HeldInstance, HeldSnapshot } from '../../hypervisor/driver.ts'
import type { Write } from '../../store/store.ts'
import { claimedNames } from '../facts.ts'
import { limits } from '../limits.ts'
import { isGolden } from '../names.ts'
import { destroyAll } from '../teardown.ts'
import type { World } from '../world.ts'
import { goldenOf } from './golden.ts'
import { pooled } from './pool.ts'

export interface SnapshotUse {
  readonly kind: 'golden' | 'operation' | 'warm_pool' | 'instance'
  /** The cluster's, operation's or instance's id. */
  readonly id: string
}

export interface SnapshotView {
  readonly id: string
  readonly cluster_id: string
  readonly node_id: string
  readonly kind: 'golden' | 'operation'
  /** What it was taken of. */
  readonly source: string
  readonly bytes: number
  /** False: half written, or of another boot and without checksums. Nothing is started from it. */
  readonly complete: boolean
  readonly created_at: string
  readonly used_by: readonly SnapshotUse[]
}

/** Ours only, on the nodes that can be asked. */
export async function listSnapshots(world: World): Promise<readonly SnapshotView[]> {
  const held = await world.reality.inspectAll()
  const uses = await usesOf(world, held)
  return [...held].flatMap(([node, answer]) =>
    (answer?.snapshots ?? [])
      .filter(({ owner }) => owner.installation === world.installation)
      .map(snapshot => viewOf(snapshot, node, uses.get(snapshot.name) ?? [])),
  )
}

/** `line` is in the store before anything goes. Throws `unknown_snapshot`, or `snapshot_in_use` with who uses it. */
export async function removeSnapshot(
  world: World,
  id: string,
  line: (found: SnapshotView) => Write,
): Promise<void> {
  const found = (await listSnapshots(world)).find(snapshot => snapshot.id === id)
  if (!found) throw new TidegateError('unknown_snapshot', `there is no snapshot ${id}`)
  if (found.used_by.length > 0) {
    const users = found.used_by.map(({ kind, id }) => `${words[kind]} ${id}`).join(', ')
    throw new TidegateError(
      'snapshot_in_use',
      `snapshot ${id} is in use by ${users}; it can be removed when it is not`,
      {
        details: { used_by: found.used_by },
      },
    )
  }
  await world.store.write([line(found)])
  await destroyAll(world, [{ name: id, node: found.node_id }])
}

/**
 * The node's snapshots leave room for one more of this cluster. Throws `snapshot_quota`. What clones still rest on after its name is gone
 * is not counted: it is freed with the last of them.
 */
export async function requireQuota(
  world: World,
  node: string,
  cluster: string,
  memoryBytes: number,
): Promise<void> {
  const quota = world.reality.configOf(node)?.snapshots
  if (!quota) return
  const held = await world.reality.inspect(node)
  const { snapshots } = held
  const bytes = snapshots.reduce((sum, snapshot) => sum + snapshot.bytes, 0)
  const coming = comingBytes(world, node, cluster, memoryBytes, held)
  const { maxBytes, maxCount } = quota
  // Where it may take nothing, what is there already must leave something.
  const room = maxBytes === null || (coming > 0 ? bytes + coming <= maxBytes : bytes < maxBytes)
  if (room && (maxCount === null || snapshots.length < maxCount)) return
  const more = coming > 0 ? ` and the next may take ${coming} more` : ''
  throw new TidegateError(
    'snapshot_quota',
    `node \`${node}\` holds ${snapshots.length} snapshots of ${bytes} bytes${more}, which is all that nodes[].snapshots allows; remove one (\`tidegate snapshots\`) or allow more`,
    {
      details: {
        ...{ node, bytes, coming_bytes: coming, count: snapshots.length },
        ...{ max_bytes: maxBytes, max_count: maxCount },
      },
    },
  )
}

/**
 * The most that the next snapshot may take: all of the memory where instances have one, and the disk of the cluster's that has written
 * most to it; or what the largest snapshot of the cluster took. An instance without a size of its own hands over its state, of which nobody knows anything beforehand.
 */
function comingBytes(
  world: World,
  node: string,
  cluster: string,
  memoryBytes: number,
  { instances, snapshots }: Held,
): number {
  const memory = world.reality.driver(node).can.sized ? memoryBytes : 0
  const ours = <T extends HeldInstance | HeldSnapshot>(held: readonly T[]) =>
    held.filter(({ owner }) => owner.cluster === cluster)
  const disk = Math.max(0, ...ours(instances).map(({ diskBytes = 0 }) => diskBytes))
  return Math.max(memory + disk, ...ours(snapshots).map(({ bytes }) => bytes))
}

async function usesOf(
  world: World,
  held: ReadonlyMap<string, Held | null>,
): Promise<ReadonlyMap<string, readonly SnapshotUse[]>> {
  const uses = new Map<string, SnapshotUse[]>()
  const use = (name: string, by: SnapshotUse) => uses.set(name, [...(uses.get(name) ?? []), by])
  for (const cluster of world.clusters.ids()) {
    const golden = await goldenOf(world, cluster)
    if (golden) use(golden.snapshot, { kind: 'golden', id: cluster })
    const making = (await pooled(world, cluster)).filter(({ state }) => state === 'making')
    for (const { snapshot } of making) use(snapshot, { kind: 'warm_pool', id: cluster })
  }
  for (const { id } of await world.store.operations({ unfinished: true, limit: limits.unfinishedMax }))
    for (const name of new Set(claimedNames(await world.store.journal(id))))
      use(name, { kind: 'operation', id })
  for (const answer of held.values())
    for (const { name, snapshot } of answer?.instances ?? [])
      if (snapshot) use(snapshot, { kind: 'instance', id: name })
  return uses
}

function viewOf(snapshot: HeldSnapshot, node: string, usedBy: readonly SnapshotUse[]): SnapshotView {
  const { name, owner, source, bytes, complete, createdAtMs } = snapshot
  return {
    id: name,
    cluster_id: owner.cluster,
    node_id: node,
    kind: isGolden(name) ? 'golden' : 'operation',
    source,
    bytes,
    complete,
    created_at: new Date(createdAtMs).toISOString(),
    used_by: usedBy,
  }
}

const words: Readonly<Record<SnapshotUse['kind'], string>> = {
  golden: 'new instances of cluster',
  operation: 'operation',
  warm_pool: 'the warm pool of cluster',
  instance: 'instance',
}
