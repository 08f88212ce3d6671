/** Undoing, and making sure: what was there before is there again, or somebody hears of it. */
import t from 'tap'
import type { TidegateEvent } from '../../../lib/events.ts'
import { check } from '../../support/scaling-check.ts'
import { Lab } from '../../support/scaling-lab.ts'

const started = async (options: ConstructorParameters<typeof Lab>[0] = {}) => {
  const lab = new Lab(options)
  t.equal(await lab.boot(), true)
  const told: TidegateEvent[] = []
  lab.events.subscribe(({ event }) => told.push(event))
  return { lab, told }
}

/** Long enough for reconcile to come round `times` times, each after `ms`. */
async function rounds(lab: Lab, times: number, ms = 60_000): Promise<void> {
  for (let i = 0; i < times; i++) {
    await lab.time.pass(ms)
    await lab.time.until(lab.scaling.reconcile())
    await lab.time.until(lab.settle())
  }
}

t.test('the picture of before is in the journal, and the undo is compared with it', async t => {
  const { lab } = await started()
  lab.faults.driver = point => (point === 'clone:tagged' ? 'fail' : null)
  const operation = await lab.scaleTo(3)
  t.match(operation, { status: 'failed', phase: 'rolled_back', error: { code: 'hypervisor_failed' } })
  const metrics = operation.steps.find(({ step }) => step === 'collect_metrics')
  const { id, host, port } = lab.backends()[0]!
  t.match(metrics?.data, {
    picture: { members: [{ id, host, port, reality: 'running', door: 'open' }], snapshots: [], cut: false },
  })
  t.match(operation.steps.at(-1), { step: 'restore', status: 'reverted', data: { differences: [] } })
  t.strictSame(
    operation.phases.map(({ phase }) => phase),
    [
      ...['requested', 'validating', 'collecting_metrics', 'planning', 'allocating', 'preparing', 'failed'],
      ...['rolling_back', 'rolled_back'],
    ],
  )
  t.match(operation.phases.at(-2), { phase: 'rolling_back', outcome: 'left' })
  t.match(operation.phases[5], { phase: 'preparing', attempts: 4, outcome: 'failed' })
  await check(t, lab)
  await lab.close()
})

t.test('an undo that cannot be done: stuck, traffic goes on, and it goes on when that is mended', async t => {
  const { lab, told } = await started()
  let broken = true
  lab.faults.driver = point => {
    if (point === 'clone:tagged') return 'abandon'
    return broken && point.startsWith('destroy:') ? 'fail' : null
  }
  const operation = await lab.scaleTo(3)
  t.match(operation, { status: 'stuck', phase: 'stuck', completed_at: null })
  t.match(operation.error, {
    code: 'operation_stuck',
    message: /cannot be undone .*clone: .*tidegate operations \w+ --acknowledge/,
    details: { steps: ['clone'], cause: { code: 'hypervisor_failed', step: 'clone' } },
  })
  t.match(operation.error?.details, { remedies: [/tries again/, /acknowledge/] }, 'it says what to do')
  t.match(
    told.find(({ type }) => type === 'operation_stuck'),
    { operation_id: operation.id },
  )
  t.match(lab.backends(), [{ state: 'ready' }], 'the members serve')
  t.strictSame(lab.scaling.stuck('web'), [operation.id])
  await t.rejects(lab.scaling.cancel(operation.id), { code: 'operation_not_cancellable' })
  await rounds(lab, 3)
  t.match(await lab.scaling.view(operation.id), { status: 'stuck' }, 'it was tried again')
  t.ok(lab.nodes[0]!.instances.size > 1, 'and nobody else takes away what it claims')
  broken = false
  await rounds(lab, 5)
  t.match(await lab.scaling.view(operation.id), { status: 'failed', phase: 'rolled_back' })
  t.strictSame(lab.scaling.stuck('web'), [])
  await check(t, lab)
  await lab.close()
})

t.test('a stuck one holds nobody up; too many of them do', async t => {
  const { lab } = await started()
  lab.faults.driver = (point, name) => {
    if (point === 'clone:tagged') return 'abandon'
    return point.startsWith('destroy:') && !name.includes('-s') ? 'fail' : null
  }
  for (let i = 0; i < 3; i++) t.match(await lab.scaleTo(2), { status: 'stuck' })
  await t.rejects(lab.scaleTo(2), { code: 'operation_stuck', details: { cluster_id: 'web' } })
  lab.faults = {}
  const [first] = lab.scaling.stuck('web')
  await t.rejects(lab.scaling.acknowledge('nobody', 'anna'), { code: 'unknown_operation' })
  t.match(await lab.time.until(lab.scaling.acknowledge(first!, 'anna')), {
    status: 'failed',
    phase: 'failed',
    error: { code: 'hypervisor_failed', details: { left: ['clone'] } },
  })
  t.match(await lab.store.history('web', 1), [{ reason: /ended as it stood by anna/ }])
  await t.rejects(lab.scaling.acknowledge(first!, 'anna'), { code: 'operation_not_stuck' })
  t.match(await lab.scaleTo(2), { status: 'completed' })
  await rounds(lab, 6)
  await check(t, lab)
  await lab.close()
})

t.test(
  'after the pivot patience ends too; it is finished when that is mended, also after a restart',
  async t => {
    const { lab } = await started()
    await lab.scaleTo(2)
    lab.faults.driver = point => (point === 'destroy:before' ? 'fail' : null)
    const operation = await lab.scaleTo(1)
    t.match(operation, { status: 'stuck', error: { message: /cannot be finished \(destroy: / } })
    t.strictSame(
      operation.phases.slice(-3).map(({ phase }) => phase),
      ['finalizing', 'failed', 'stuck'],
    )
    t.equal(lab.scaling.count('web'), 1)
    lab.kill()
    lab.faults = {}
    t.equal(await lab.boot(), true)
    await rounds(lab, 1)
    t.match(await lab.scaling.view(operation.id), { status: 'completed', phase: 'completed', error: null })
    await check(t, lab)
    await lab.close()
  },
)

t.test('a node that goes away in the middle: stuck until it can be asked', async t => {
  const { lab } = await started()
  let away = false
  lab.faults.driver = point => {
    if (point === 'clone:running') away = true
    return away ? 'fail' : null
  }
  const operation = await lab.scaleTo(2)
  t.match(operation, { status: 'stuck', error: { details: { steps: ['clone', 'prepare'] } } })
  await rounds(lab, 4)
  const waiting = await lab.scaling.view(operation.id)
  t.equal(waiting.phases.filter(({ phase }) => phase === 'stuck').length, 1, 'not tried in vain')
  away = false
  lab.faults = {}
  await rounds(lab, 1)
  t.match(await lab.scaling.view(operation.id), { status: 'failed', phase: 'rolled_back' })
  await check(t, lab)
  await lab.close()
})

t.test(
  'a resize whose undo does not give all back is no success: told, tried again, and counted',
  async t => {
    const { lab, told } = await started({ nodes: [{ id: 'n1', cpus: 8 }] })
    const [node] = lab.nodes as [(typeof lab.nodes)[number]]
    const { id } = lab.backends()[0]!
    const resize = (resources: object) => lab.operate({ type: 'resize', instance_id: id, resources })
    const size = () => lab.scaling.instance(id)?.resources
    // Disks only grow.
    node.gives = (wanted, had) => ({ ...wanted, diskBytes: Math.max(wanted.diskBytes, had?.diskBytes ?? 0) })
    const diskBytes = 2 ** 30
    lab.faults.driver = point => {
      if (point === 'resize:done') lab.faults = {}
      return point === 'resize:done' ? 'fail' : null
    }
    const grown = await resize({ cpus: 2, diskBytes })
    t.match(grown, { status: 'failed', phase: 'failed' })
    t.match(grown.error?.details, { differences: [{ what: 'resources', id, ours: false }] })
    t.match(
      told.find(({ type }) => type === 'rollback_differs'),
      { operation_id: grown.id },
    )
    t.match(node.instances.get(id)?.resources, { cpus: 1, diskBytes })
    t.match(size(), { cpus: 1, diskBytes }, 'rooms count what it has')
    // A guest that does not let go of its CPUs, for a while.
    let holds = true
    node.gives = (wanted, had) => ({
      ...wanted,
      cpus: holds ? Math.max(wanted.cpus, had?.cpus ?? 0) : wanted.cpus,
    })
    lab.faults.driver = point => {
      if (point === 'resize:done') lab.faults = {}
      return point === 'resize:done' ? 'fail' : null
    }
    const held = await resize({ cpus: 3 })
    t.match(held, {
      status: 'stuck',
      error: { message: /cannot be undone .*resize: .* cpus 3 where it had 1/ },
    })
    holds = false
    await rounds(lab, 3)
    t.match(await lab.scaling.view(held.id), { status: 'failed', phase: 'rolled_back' })
    t.match(size(), { cpus: 1, diskBytes })
    await check(t, lab)
    await lab.close()
  },
)

t.test('what an operator did meanwhile is no difference; what nobody did is one', async t => {
  const { lab } = await started()
  await lab.scaleTo(2)
  const [first, second] = lab.backends().map(({ id }) => id) as [string, string]
  const line = (backend: string, reason: string) => ({
    ...{ cluster: 'web', backend, actor: 'anna', from: false, to: true, atMs: lab.time.now },
    ...{ action: 'protect_backend', outcome: 'done' as const, reason },
  })
  lab.faults.driver = point => {
    if (point !== 'clone:tagged') return null
    const record = line(first, 'In any words')
    void lab.scaling.protect('web', first, true, { put: 'history', record })
    return 'fail'
  }
  t.match(await lab.scaleTo(3), { status: 'failed', phase: 'rolled_back' })
  t.ok(lab.scaling.instance(first)?.protected)
  lab.faults.driver = point => {
    if (point !== 'clone:tagged') return null
    const record = line(first, `Protected instance ${second}`)
    void lab.scaling.protect('web', second, true, { put: 'history', record })
    return 'fail'
  }
  const operation = await lab.scaleTo(3)
  t.match(operation, {
    ...{ status: 'failed', phase: 'failed' },
    error: { message: /not protected expected, protected found \(protection\)/ },
  })
  await lab.close()
})

t.test('what others changed meanwhile is told and left alone', async t => {
  const { lab, told } = await started()
  await lab.scaleTo(2)
  const [bystander] = [...lab.nodes[0]!.instances.keys()].toReversed()
  lab.faults.driver = point => {
    if (point !== 'clone:tagged') return null
    lab.nodes[0]!.kill(bystander!)
    return 'fail'
  }
  const operation = await lab.scaleTo(4)
  t.match(operation, {
    status: 'failed',
    phase: 'failed',
    error: {
      code: 'hypervisor_failed',
      message: /not all is as it was before: .* running expected, stopped found/,
      details: { differences: [{ what: 'instance_gone', id: bystander, ours: false }] },
    },
  })
  t.match(
    told.find(({ type }) => type === 'rollback_differs'),
    { operation_id: operation.id },
  )
  lab.faults = {}
  await rounds(lab, 2)
  await check(t, lab)
  await lab.close()
})
