/** The snapshot store over fake nodes: who uses what, what may be removed, and how much there may be. */
import t from 'tap'
import { goldenKey } from '../../../../lib/scaling/facts.ts'
import type { SnapshotView } from '../../../../lib/scaling/readiness/snapshots.ts'
import { Lab, type LabOptions } from '../../../support/scaling-lab.ts'

const { instance } = new Lab().config
const golden = { instance: { ...instance!, cloneFrom: 'golden' as const } }

const line = (one: SnapshotView) => ({
  put: 'history' as const,
  record: { cluster: one.cluster_id, atMs: 0, actor: 'test', from: one.id, to: null, reason: 'removed' },
})

async function started(cluster: LabOptions['cluster'] = golden, snapshots?: LabOptions['snapshots']) {
  const lab = new Lab({ cluster, ...(snapshots ? { snapshots } : {}) })
  await lab.boot()
  const list = () => lab.time.until(lab.scaling.snapshots())
  const remove = (id: string) => lab.time.until(lab.scaling.removeSnapshot(id, line))
  return { lab, node: lab.nodes[0]!, list, remove }
}

t.test('the golden one is in use by those who come, and by those who rest on it', async t => {
  const { lab, node, list, remove } = await started()
  const [only] = await list()
  t.match(only, { cluster_id: 'web', node_id: 'n1', kind: 'golden', complete: true, bytes: 1000 })
  t.strictSame(only!.used_by, [{ kind: 'golden', id: 'web' }])
  const operation = await lab.scaleTo(2)
  const [clone] = operation.instances
  const users = [
    { kind: 'golden', id: 'web' },
    { kind: 'instance', id: clone },
  ]
  t.strictSame((await list())[0]!.used_by, users)
  await t.rejects(remove(only!.id), {
    code: 'snapshot_in_use',
    message: new RegExp(`new instances of cluster web, instance ${clone}`),
    details: { used_by: users },
  })
  const value = (await lab.store.value(goldenKey('web'))) as object
  await lab.store.write([{ put: 'value', key: goldenKey('web'), value: { ...value, inputs: 'of before' } }])
  await t.rejects(remove(only!.id), { code: 'snapshot_in_use' })
  node.kill(clone!)
  node.instances.delete(clone!)
  await remove(only!.id)
  t.equal(node.snapshots.size, 0)
  await t.rejects(remove(only!.id), { code: 'unknown_snapshot' })
  await lab.close()
})

t.test('one that an operation is taking is its own', async t => {
  const { lab, list, remove } = await started({})
  let seen: readonly unknown[] = []
  let refused: unknown = null
  lab.faults.driver = point => {
    if (point === 'clone:tagged' && refused === null) {
      refused = lab.scaling.snapshots().then(async all => {
        seen = all[0]!.used_by
        refused = await lab.scaling.removeSnapshot(all[0]!.id, line).catch(error => error.code)
      })
    }
    return null
  }
  const operation = await lab.scaleTo(2)
  t.match(operation, { status: 'completed' })
  t.strictSame(seen, [{ kind: 'operation', id: operation.id }])
  t.equal(await refused, 'snapshot_in_use')
  t.strictSame(await list(), [])
  await t.rejects(remove('nothing'), { code: 'unknown_snapshot' })
  await lab.close()
})

t.test("another installation's are neither shown nor removed", async t => {
  const { lab, node, list, remove } = await started()
  const [name] = node.snapshots.keys()
  const snapshot = node.snapshots.get(name!)!
  node.snapshots.set(name!, { ...snapshot, owner: { ...snapshot.owner, installation: 'theirs' } })
  t.strictSame(await list(), [])
  await t.rejects(remove(name!), { code: 'unknown_snapshot' })
  t.equal(node.snapshots.size, 1)
  await lab.close()
})

t.test('no more than the node may hold', async t => {
  const full = { maxBytes: 1, maxCount: null, maxAgeMs: null }
  const { lab, node } = await started({}, full)
  node.snapshots.set('stray', {
    name: 'stray',
    owner: { installation: 'theirs', cluster: 'x', operation: 'y' },
    createdAtMs: lab.time.now,
    source: 'z',
    bytes: 5,
    complete: true,
    memory: [],
  })
  t.match(await lab.scaleTo(2), {
    status: 'failed',
    error: { code: 'snapshot_quota', message: /1 snapshots of 5 bytes/ },
  })
  t.match(lab.backends(), [{ state: 'ready' }], 'as it was')
  await lab.close()
})

t.test(
  'what is coming is counted too: all of the memory, or what the largest of the cluster took',
  async t => {
    const MiB = 2 ** 20
    const limited = async (maxBytes: number, sized: boolean) => {
      const lab = new Lab({ snapshots: { maxBytes, maxCount: null, maxAgeMs: null } })
      lab.nodes[0]!.sized = sized
      await lab.boot()
      const operation = await lab.scaleTo(2)
      await lab.close()
      return operation
    }
    t.match(await limited(64 * MiB, true), { status: 'completed' }, 'it fits in exactly')
    t.match(await limited(64 * MiB - 1, true), {
      status: 'failed',
      error: {
        code: 'snapshot_quota',
        message: /holds 0 snapshots of 0 bytes and the next may take 67108864 more/,
        details: { coming_bytes: 64 * MiB, max_bytes: 64 * MiB - 1 },
      },
    })
    t.match(await limited(1, false), { status: 'completed' }, 'where nobody knows, what is there counts')

    const written = new Lab({ snapshots: { maxBytes: 65 * MiB, maxCount: null, maxAgeMs: null } })
    written.nodes[0]!.sized = true
    await written.boot()
    for (const instance of written.nodes[0]!.instances.values())
      Object.assign(instance, { diskBytes: 2 * MiB })
    t.match(
      await written.scaleTo(2),
      { status: 'failed', error: { code: 'snapshot_quota', details: { coming_bytes: 66 * MiB } } },
      'what the source has on its disk is in its first snapshot too',
    )
    await written.close()

    const { lab, node } = await started({}, { maxBytes: 999, maxCount: null, maxAgeMs: null })
    node.snapshots.set('of-before', {
      ...{
        name: 'of-before',
        createdAtMs: lab.time.now,
        source: 'z',
        bytes: 500,
        complete: true,
        memory: [],
      },
      owner: { installation: 'ours', cluster: 'web', operation: 'y' },
    })
    t.match(
      await lab.scaleTo(2),
      { status: 'failed', error: { code: 'snapshot_quota' } },
      'another one of 500',
    )
    await lab.close()
  },
)

t.test('a cluster of golden clones goes on without one; an old one is made anew', async t => {
  const none = await started(golden, { maxBytes: null, maxCount: 0, maxAgeMs: null })
  t.match(none.lab.backends(), [{ state: 'ready' }])
  t.equal(none.node.snapshots.size, 0)
  await none.lab.close()

  const { lab, node } = await started(golden, { maxBytes: null, maxCount: null, maxAgeMs: 3_600_000 })
  const [first] = node.snapshots.keys()
  await lab.time.pass(3_700_000)
  await lab.scaleTo(2)
  await lab.time.until(lab.scaling.reconcile())
  t.equal(node.snapshots.size, 1)
  t.notOk(node.snapshots.has(first!), 'the old one was collected')
  await lab.close()
})
