/** A scale-out by CPUs: those who are there grow first where the policy prefers it, others are cloned for the rest, and all of it is one operation. */
import t from 'tap'
import type { OperationRequest } from '../../../lib/scaling/operation.ts'
import { check } from '../../support/scaling-check.ts'
import { Lab, type LabOptions } from '../../support/scaling-lab.ts'

const MiB = 2 ** 20
const toCpus = (target_cpus: number): OperationRequest => ({ type: 'scale_out', target_cpus })

async function booted(
  resizeFirstCpus: number,
  {
    from = 1,
    scaling = {},
    ...options
  }: LabOptions & { readonly from?: number; readonly scaling?: object } = {},
) {
  const { scaling: plain } = new Lab().config
  const lab = new Lab({
    nodes: [{ id: 'n1', cpus: 8 }],
    cluster: { scaling: { ...plain, resizeFirstCpus, ...scaling } },
    ...options,
  })
  await lab.boot()
  if (from > 1) await lab.scaleTo(from)
  const instances = () => lab.nodes.flatMap(node => [...node.instances.values()])
  const sizes = async () => {
    const { instances } = await lab.store.membership()
    return instances.map(({ resources }) => resources?.cpus ?? 1).toSorted()
  }
  return { lab, instances, sizes, ids: lab.backends().map(({ id }) => id) }
}

t.test('without preference others are made, and nobody grows', async t => {
  const { lab, sizes } = await booted(0)
  const operation = await lab.operate(toCpus(3))
  t.match(operation, { type: 'scale_out', status: 'completed', error: null, request: { target_cpus: 3 } })
  t.strictSame(await sizes(), [1, 1, 1])
  t.match(await lab.store.history('web', 1), [
    {
      ...{ action: 'scale_out', outcome: 'done', reason: 'Scaled from 1 to 3 CPUs (2 instances added)' },
      ...{ from: { cpus: 1, instances: 1 }, to: { cpus: 3, instances: 3 } },
    },
  ])
  t.equal(lab.scaling.repairs.wanted('web'), 3)
  await check(t, lab)
  await lab.close()
})

t.test('where growing is enough nobody is made', async t => {
  const { lab, sizes, ids, instances } = await booted(3, { from: 2, scaling: { resizeFirstMemoryMib: 512 } })
  const operation = await lab.operate(toCpus(5))
  t.match(operation, { status: 'completed', error: null, instances: [] })
  t.strictSame(
    operation.steps.map(({ step }) => step),
    [
      ...['validate', 'collect_metrics', 'plan', 'grow', 'verify_grown', 'allocate', 'prepare', 'clone'],
      ...['identify', 'verify', 'keep_golden', 'register', 'warm_up', 'finalize'],
    ],
  )
  t.strictSame(await sizes(), [2, 3])
  // In proportion between 64 and 512 MiB, in pieces of 128.
  const memory = instances().map(({ resources }) => resources!.memoryBytes / MiB)
  t.strictSame(memory.toSorted(), [192, 448])
  const [one, two] = ids.toSorted()
  t.match(await lab.store.history('web', 1), [
    { reason: `Scaled from 2 to 5 CPUs (${one} resized to 3, ${two} resized to 2)` },
  ])
  t.equal(lab.scaling.cpus('web'), 5)
  lab.kill()
  await lab.boot()
  t.equal(lab.scaling.cpus('web'), 5, 'a restart')
  await check(t, lab)
  await lab.close()
})

t.test(
  'what is lacking then is cloned in the same operation, with the size that its source has by then',
  async t => {
    const { lab, sizes, ids, instances } = await booted(2, { from: 2, nodes: [{ id: 'n1', cpus: 8 }] })
    const generation = lab.clusters.generation()
    const operation = await lab.operate(toCpus(5))
    t.match(operation, { status: 'completed', error: null })
    t.equal(operation.instances.length, 1)
    t.equal(lab.clusters.generation(), generation + 1)
    t.strictSame(await sizes(), [2, 2, 2])
    const [one, two] = ids.toSorted()
    t.match(await lab.store.history('web', 1), [
      { reason: `Scaled from 2 to 6 CPUs (${one} and ${two} resized to 2 each, 1 instance added)` },
    ])
    t.equal(lab.scaling.repairs.wanted('web'), 3)
    t.equal(instances().length, 3)
    await check(t, lab)
    await lab.close()
  },
)

t.test('refused with the numbers and with nothing begun', async t => {
  const { lab, instances, ids } = await booted(4, {
    nodes: [{ id: 'n1', cpus: 6 }],
    scaling: { maxInstances: 2 },
  })
  const begun = (await lab.scaling.list({})).length
  await t.rejects(lab.operate(toCpus(7)), {
    code: 'no_capacity',
    message:
      'Insufficient room for scale-up to 7 CPUs: cluster `web` has 1, and the nodes have room for 4 in all',
    details: { needed: 6, found: 3, target_cpus: 7 },
  })
  await t.rejects(lab.operate(toCpus(9)), {
    code: 'target_out_of_bounds',
    message: /target_cpus 9 is outside 1 … 8 of cluster `web`: 2 instances of 4 CPUs/,
    details: { target_cpus: 9, max_cpus: 8, max_instances: 2, largest_cpus: 4 },
  })
  await t.rejects(lab.operate(toCpus(1)), { code: 'invalid_request', message: /has 1 CPUs already/ })
  t.equal((await lab.scaling.list({})).length, begun)
  t.equal(instances().find(({ name }) => name === ids[0])!.resources, null)
  await lab.close()
})

t.test('where the clones fail, those who grew get back what they had', async t => {
  const { lab, instances, sizes } = await booted(2, { from: 2 })
  lab.faults.driver = point => (point === 'clone:before' ? 'full' : null)
  const operation = await lab.operate(toCpus(5))
  t.match(operation, { status: 'failed', phase: 'rolled_back', error: { code: 'disk_full' } })
  t.strictSame(
    instances().map(({ resources }) => resources?.cpus),
    [1, 1],
  )
  t.strictSame(await sizes(), [1, 1])
  t.match(await lab.store.history('web', 1), [
    { outcome: 'failed', reason: /^Scaling up from 2 to 6 CPUs failed in clone: /, to: { cpus: 2 } },
  ])
  lab.faults = {}
  await check(t, lab)
  await lab.close()
})

t.test('one that does not bear its growth is given back with all others', async t => {
  const { lab, instances, ids } = await booted(2, { from: 3 })
  const ill = ids.toSorted()[1]
  lab.faults.driver = point => {
    for (const one of instances()) one.healthy = one.name !== ill || (one.resources?.cpus ?? 1) === 1
    return point === 'nowhere' ? 'fail' : null
  }
  const operation = await lab.operate(toCpus(6))
  t.match(operation, {
    status: 'failed',
    error: { code: 'instance_unhealthy', details: { step: 'verify_grown' } },
  })
  t.strictSame(
    instances().map(({ resources }) => resources?.cpus ?? 1),
    [1, 1, 1],
  )
  lab.faults = {}
  for (const one of instances()) one.healthy = true
  await check(t, lab)
  await lab.close()
})

t.test('cancelled while they grow', async t => {
  const { lab, instances } = await booted(2, { from: 2 })
  const { id } = await lab.time.until(lab.scaling.start('web', toCpus(4), 'test'))
  lab.watch.onWrite = batch => {
    if (batch.some(write => 'put' in write && write.put === 'journal' && write.record.step === 'grow')) {
      lab.watch = {}
      void lab.scaling.cancel(id)
    }
  }
  const operation = await lab.time.until(lab.scaling.wait(id, 3_600_000))
  t.match(operation, { status: 'cancelled' })
  t.strictSame(
    instances().map(({ resources }) => resources?.cpus ?? 1),
    [1, 1],
  )
  await check(t, lab)
  await lab.close()
})

t.test('it begins the cooldown of a scale-out', async t => {
  const { lab } = await booted(3, { from: 2, scaling: { scaleOutCooldownSeconds: 60 } })
  await lab.time.pass(60_000)
  t.equal(lab.scaling.cooldowns.leftMs('web', 'scale_out'), 0)
  t.match(await lab.operate(toCpus(3)), { status: 'completed' })
  t.throws(() => lab.scaling.cooldowns.refuse('web', 'scale_out'), { code: 'cooling_down' })
  await lab.close()
})

t.test('who does not do well does not grow, and who died meanwhile is made again as ever', async t => {
  const { lab, ids, instances } = await booted(3, { from: 2 })
  const [first, second] = ids
  for (const node of lab.nodes) node.kill(first!)
  await lab.operate(toCpus(4))
  t.equal(instances().find(({ name }) => name === second)?.resources?.cpus, 3)
  t.equal(lab.scaling.repairs.wanted('web'), 2, 'a growth is no word on how many')
  await lab.time.until(lab.scaling.reconcile())
  await lab.time.until(lab.settle())
  t.equal(lab.scaling.count('web'), 2)
  await lab.close()
})

t.test('of a golden snapshot a new one has the size of the template', async t => {
  const { instance } = new Lab().config
  const { scaling } = new Lab().config
  const lab = new Lab({
    nodes: [{ id: 'n1', cpus: 8 }],
    cluster: { instance: { ...instance!, cloneFrom: 'golden' }, scaling: { ...scaling, resizeFirstCpus: 3 } },
  })
  await lab.boot()
  t.match(await lab.operate(toCpus(5)), { status: 'completed' })
  const { instances } = await lab.store.membership()
  t.strictSame(instances.map(({ resources }) => resources?.cpus ?? 1).toSorted(), [1, 1, 3])
  await lab.close()
})
