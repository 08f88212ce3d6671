/** Giving a running instance other resources: done, refused where there is no room, and taken back when it goes wrong. */
import t from 'tap'
import type { OperationRequest } from '../../../lib/scaling/operation.ts'
import { check } from '../../support/scaling-check.ts'
import { Lab } from '../../support/scaling-lab.ts'

const MiB = 2 ** 20

async function booted(cpus = 4) {
  const lab = new Lab({ nodes: [{ id: 'n1', cpus }] })
  await lab.boot()
  const { id } = lab.backends()[0]!
  const resize = (resources: object): OperationRequest => ({ type: 'resize', instance_id: id, resources })
  return { lab, id, resize, instance: () => lab.nodes[0]!.instances.get(id)! }
}

t.test('the instance gets them, the store remembers them, and rooms count them', async t => {
  const { lab, id, resize, instance } = await booted()
  const operation = await lab.operate(resize({ cpus: 3, memoryBytes: 128 * MiB }))
  t.match(operation, { type: 'resize', status: 'completed', error: null })
  t.strictSame(
    operation.steps.map(({ step }) => step),
    ['validate', 'collect_metrics', 'plan', 'resize', 'verify', 'adopt', 'finalize'],
  )
  const now = { cpus: 3, memoryBytes: 128 * MiB, diskBytes: MiB }
  t.strictSame(instance().resources, now)
  t.strictSame((await lab.store.membership()).instances[0]?.resources, now)
  t.match(await lab.store.history('web', 1), [
    { action: 'resize', from: { cpus: 1 }, to: { cpus: 3 }, outcome: 'done', reason: `Resized ${id}` },
  ])
  const grow = { type: 'scale_out', target_count: 3, immediate: false, drain_connections: true } as const
  await t.rejects(lab.operate(grow), { code: 'no_capacity', message: /need 2, found 0 with capacity/ })
  await t.rejects(lab.operate({ ...grow, target_count: 2 }), {
    ...{ code: 'no_capacity', message: /need 1, found 0 with capacity/ },
    details: { candidates: [{ node: 'n1', fits: 0, why: 'no room: cpus 1 of 3' }] },
  })
  lab.kill()
  await lab.boot()
  t.strictSame(lab.scaling.instance(id)?.resources, now, 'a restart')
  t.match(await lab.operate(resize({ cpus: 1 })), { status: 'completed' })
  t.match(await lab.operate(grow), { status: 'completed' })
  const { instances } = await lab.store.membership()
  const sizes = instances.map(({ resources }) => resources?.memoryBytes)
  t.strictSame(sizes, Array(3).fill(128 * MiB), 'clones are counted with what their source has')
  await check(t, lab)
  await lab.close()
})

t.test('refused past the node, with the numbers and with nothing begun', async t => {
  const { lab, resize, instance } = await booted()
  await t.rejects(lab.operate(resize({ cpus: 5 })), {
    code: 'no_capacity',
    message: /^Insufficient room on node `n1` to resize .*: need 4 more cpus, found 3 free$/,
    details: { node: 'n1', needed: { cpus: 4 }, free: { cpus: 3 } },
  })
  await t.rejects(lab.operate({ ...resize({ cpus: 2 }), instance_id: 'nobody' } as OperationRequest), {
    code: 'unknown_instance',
  })
  t.equal(instance().resources, null)
  await lab.close()
})

t.test('what is taken back is all but a disk that has grown: those only grow', async t => {
  const { lab, resize, instance } = await booted()
  lab.faults.driver = point => {
    if (point === 'resize:done') instance().healthy = instance().resources?.cpus === 1
    return null
  }
  const sick = await lab.operate(resize({ cpus: 2, diskBytes: 2 * MiB }))
  t.match(sick, { status: 'failed', error: { code: 'instance_unhealthy' } })
  t.strictSame(instance().resources, { cpus: 1, memoryBytes: 64 * MiB, diskBytes: 2 * MiB })
  lab.faults = {}
  const kept = { cpus: 1, memoryBytes: 64 * MiB, diskBytes: 2 * MiB }
  t.strictSame((await lab.store.membership()).instances[0]?.resources, kept, 'and is counted')
  t.match(
    await lab.operate(resize({ cpus: 2 })),
    { status: 'completed' },
    'what comes next starts from there',
  )
  t.strictSame(instance().resources, { ...kept, cpus: 2 })
  await lab.close()
})

t.test('taken back when the instance does not take it well, fails, or the process dies', async t => {
  const { lab, resize, instance } = await booted()
  const former = { cpus: 1, memoryBytes: 64 * MiB, diskBytes: MiB }
  lab.faults.driver = point => {
    if (point === 'resize:done') instance().healthy = instance().resources?.cpus === 1
    return null
  }
  const sick = await lab.operate(resize({ cpus: 2 }))
  t.match(sick, { status: 'failed', error: { code: 'instance_unhealthy' } })
  t.strictSame(instance().resources, former)
  let hung = false
  lab.faults.driver = point => {
    if (point !== 'resize:done' || hung) return null
    hung = true
    return 'crash'
  }
  t.equal(
    await lab.survive(async () => {
      await lab.scaling.start('web', resize({ cpus: 2 }), 'test')
      await lab.settle()
    }),
    false,
  )
  lab.faults = {}
  await lab.boot()
  t.strictSame(instance().resources, former)
  t.match((await lab.scaling.list({ limit: 1 }))[0], { type: 'resize', status: 'failed' })
  t.equal((await lab.store.membership()).instances[0]?.resources, undefined)
  await lab.close()
})

t.test('only what was asked for changes, also where a reload has raised the rest since', async t => {
  const { lab, resize, instance } = await booted()
  const { instance: template } = lab.config
  const raised = { cpus: 1, memoryBytes: 256 * MiB, diskBytes: 512 * MiB }
  await lab.reconfigure({ instance: { ...template!, resources: raised } })
  t.match(await lab.operate(resize({ cpus: 2 })), { status: 'completed', error: null })
  t.strictSame(instance().resources, { cpus: 2, memoryBytes: 64 * MiB, diskBytes: MiB })
  await check(t, lab)
  await lab.close()
})

t.test('one that was not given back and is left so is counted with the most that it may have', async t => {
  const { lab, resize, instance } = await booted()
  const former = lab.config.instance!.resources
  lab.faults.driver = point => {
    if (point === 'resize:done') return 'fail'
    return point === 'resize:before' && instance().resources !== null ? 'fail' : null
  }
  const { id, status } = await lab.operate(resize({ cpus: 3 }))
  t.equal(status, 'stuck')
  await lab.time.until(lab.scaling.acknowledge(id, 'anna'))
  t.strictSame((await lab.store.membership()).instances[0]?.resources, { ...former, cpus: 3 })
  t.strictSame(lab.scaling.instance(lab.backends()[0]!.id)?.resources, { ...former, cpus: 3 })
  lab.faults = {}
  await check(t, lab)
  await lab.close()
})
