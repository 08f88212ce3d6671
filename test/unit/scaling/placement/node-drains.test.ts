/** Emptying nodes: one by one, elsewhere, over restarts and failures, taken back; and refused where there is no room. */
import t from 'tap'
import { check } from '../../../support/scaling-check.ts'
import { Lab } from '../../../support/scaling-lab.ts'

const base = new Lab().config

/** Three instances, all on n1. */
async function filled(options: ConstructorParameters<typeof Lab>[0] = {}): Promise<Lab> {
  const lab = new Lab({
    nodes: [
      { id: 'n1', cpus: 8 },
      { id: 'n2', cpus: 8 },
    ],
    ...options,
  })
  await lab.boot()
  await lab.scaleTo(3)
  return lab
}
const on = (lab: Lab) =>
  lab
    .backends()
    .map(({ instance }) => instance?.node)
    .sort()
const state = (lab: Lab, id = 'n1') => {
  const config = { id, driver: 'process', zone: 'a', directory: '/', options: {} } as const
  const capacity = { cpus: 8, memoryBytes: 2 ** 40, diskBytes: 2 ** 40 }
  return lab.scaling.report.nodeFacts({ ...config, capacity }, { instances: [], snapshots: [] })
}
const settled = (lab: Lab) =>
  lab.time.until(
    (async () => {
      while (state(lab).state === 'draining') {
        await lab.settle()
        await lab.time.connect(() => lab.alive).sleep(1_000)
      }
    })(),
  )

t.test('one instance at a time goes elsewhere; then nothing new comes', async t => {
  const lab = await filled()
  t.strictSame(on(lab), ['n1', 'n1', 'n1'])
  let most = 0
  lab.events.subscribe(() => {
    most = Math.max(most, lab.backends().length)
  })
  await lab.time.until(lab.scaling.drainNode('n1', 'ann'))
  t.match(state(lab), { state: 'draining', drain: { requested_by: 'ann', instances: 3, left: 3 } })
  await settled(lab)
  t.strictSame(on(lab), ['n2', 'n2', 'n2'])
  t.equal(most, 4, 'never more than one at once')
  t.match(state(lab), {
    state: 'drained',
    drain: { left: 0, drained_at: String, blocked: [], operations: [] },
  })
  const said = (await lab.store.history(null, 9)).map(({ reason }) => reason)
  t.equal(said[0], 'Drained node n1: 3 instances moved')
  t.equal(said.filter(reason => reason.startsWith('Replaced ')).length, 3)
  t.match(await lab.scaleTo(5), { status: 'completed' })
  t.notOk(on(lab).includes('n1'))
  await lab.time.until(lab.scaling.readyNode('n1', 'ann'))
  t.match(state(lab), { state: 'ready', drain: null })
  await check(t, lab)
  await lab.close()
})

t.test('as many at once as the disruption budget says, each with its own successor', async t => {
  const lab = await filled({ cluster: { scaling: { ...base.scaling, disruptionBudget: 2 } } })
  await lab.time.until(lab.scaling.drainNode('n1', 'ann'))
  await settled(lab)
  t.strictSame(on(lab), ['n2', 'n2', 'n2'])
  const replaced = (await lab.scaling.list({ limit: 9 })).filter(({ type }) => type === 'replace')
  t.strictSame(
    replaced.map(({ instances }) => instances.length),
    [2, 4],
  )
  await check(t, lab)
  await lab.close()
})

t.test('refused with the numbers and nothing changed where there is no room', async t => {
  const lab = await filled({
    nodes: [
      { id: 'n1', cpus: 8 },
      { id: 'n2', cpus: 2 },
    ],
  })
  await t.rejects(lab.time.until(lab.scaling.drainNode('n1', 'ann')), {
    code: 'no_capacity',
    message: /^Insufficient nodes to drain node `n1`: need 3, found 2 with capacity elsewhere/,
    details: { needed: 3, found: 2, clusters: [{ cluster_id: 'web', needed: 3, found: 2 }] },
  })
  await t.rejects(lab.time.until(lab.scaling.drainNode('n9', 'ann')), { code: 'unknown_node' })
  t.match(state(lab), { state: 'ready', drain: null })
  t.strictSame(on(lab), ['n1', 'n1', 'n1'])
  await lab.close()
})

t.test('a replace that fails is tried again, and says why meanwhile', async t => {
  const lab = await filled()
  lab.faults.driver = point => (point === 'create:before' ? 'fail' : null)
  await lab.time.until(lab.scaling.drainNode('n1', 'ann'))
  await lab.time.pass(6_000)
  t.match(state(lab), {
    state: 'draining',
    drain: { left: 3, blocked: [{ cluster_id: 'web', code: 'hypervisor_failed' }] },
  })
  t.match(lab.backends(), [{ state: 'ready' }, { state: 'ready' }, { state: 'ready' }])
  lab.faults = {}
  await lab.time.pass(10_000)
  await lab.time.until(lab.scaling.reconcile())
  await settled(lab)
  t.strictSame(on(lab), ['n2', 'n2', 'n2'])
  await lab.close()
})

t.test('taken back in the middle: the running replace is undone, who is there stays', async t => {
  const lab = await filled()
  lab.faults.driver = point => (point === 'create:before' ? 'hang' : null)
  await lab.time.until(lab.scaling.drainNode('n1', 'ann'))
  await lab.time.pass(500)
  t.equal(state(lab).drain?.operations.length, 1)
  lab.faults = {}
  await lab.time.until(lab.scaling.readyNode('n1', 'bob'))
  await lab.time.until(lab.settle())
  await lab.time.pass(60_000)
  await lab.time.until(lab.scaling.reconcile())
  t.strictSame(on(lab), ['n1', 'n1', 'n1'])
  t.match((await lab.scaling.list({ limit: 1 }))[0], { type: 'replace', status: 'cancelled' })
  await check(t, lab)
  await lab.close()
})

t.test('a new process goes on', async t => {
  const lab = await filled()
  await lab.time.until(lab.scaling.drainNode('n1', 'ann'))
  await lab.time.pass(40)
  lab.kill()
  await lab.boot()
  t.match(state(lab), { state: 'draining', drain: { requested_by: 'ann' } })
  await settled(lab)
  t.strictSame(on(lab), ['n2', 'n2', 'n2'])
  await lab.time.pass(40_000)
  await lab.time.until(lab.scaling.reconcile())
  await check(t, lab)
  await lab.close()
})

t.test('the successor of a protected instance is protected', async t => {
  const lab = await filled()
  const { id } = lab.backends()[1]!
  const line = { cluster: 'web', atMs: 0, actor: 'ann', from: false, to: true, reason: 'because' }
  await lab.time.until(lab.scaling.protect('web', id, true, { put: 'history', record: line }))
  await lab.time.until(lab.scaling.drainNode('n1', 'ann'))
  await settled(lab)
  const kept = lab.backends().filter(backend => lab.scaling.instance(backend.id)?.protected)
  t.equal(kept.length, 1)
  t.not(kept[0]!.id, id)
  await lab.close()
})

t.test(
  'the room is judged by what the newcomers will have, and not by what those who leave have',
  async t => {
    const nodes = [
      { id: 'n1', cpus: 8 },
      { id: 'n2', cpus: 2 },
    ]
    const raised = (cpus: number) => ({
      instance: { ...base.instance!, resources: { ...base.instance!.resources, cpus } },
    })
    const small = new Lab({ nodes })
    await small.boot()
    await small.scaleTo(2)
    t.strictSame(on(small), ['n1', 'n1'])
    await small.reconfigure(raised(2))
    await t.rejects(small.time.until(small.scaling.drainNode('n1', 'ann')), {
      code: 'no_capacity',
      details: { needed: 2, found: 1 },
    })
    await small.close()
    const large = new Lab({ nodes, cluster: raised(4) })
    await large.boot()
    await large.reconfigure(raised(1))
    await large.time.until(large.scaling.drainNode('n1', 'ann'))
    await settled(large)
    t.strictSame(on(large), ['n2'], 'one of four fits where it boots as one of one')
    await check(t, large)
    await large.close()
  },
)
