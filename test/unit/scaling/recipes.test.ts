/** Each kind of operation from beginning to end, over fake nodes, when nothing and when something goes wrong. */
import t from 'tap'
import type { OperationRequest } from '../../../lib/scaling/operation.ts'
import { lostMax } from '../../../lib/scaling/recovery/losses.ts'
import { hung } from '../../support/fake-driver.ts'
import { healthConfig } from '../../support/health-config.ts'
import { check } from '../../support/scaling-check.ts'
import { Lab } from '../../support/scaling-lab.ts'

const started = async (options: ConstructorParameters<typeof Lab>[0] = {}) => {
  const lab = new Lab(options)
  t.equal(await lab.boot(), true)
  return lab
}

t.test('a fresh start brings a cluster up to its minimum by an ordinary operation', async t => {
  const lab = await started()
  const [operation] = await lab.scaling.list({ cluster: 'web' })
  t.match(operation, { type: 'scale_out', status: 'completed', actor: 'reconcile', error: null })
  t.equal(lab.scaling.count('web'), 1)
  t.match(lab.backends(), [{ state: 'ready' }])
  t.match(await lab.store.history('web', 1), [{ reason: 'Scaled up from 0 to 1 replicas (1 added)' }])
  await check(t, lab)
  await lab.close()
})

t.test(
  'scale_out clones the live one, which keeps its memory, and registers all in one generation',
  async t => {
    const lab = await started()
    const [original] = lab.nodes[0]!.instances.values()
    original!.memory.push('a session')
    const before = lab.clusters.generation()
    const operation = await lab.scaleTo(4)
    t.match(operation, { type: 'scale_out', status: 'completed', phase: 'completed', error: null })
    t.equal(lab.clusters.generation(), before + 1)
    t.equal(operation.instances.length, 3)
    for (const name of operation.instances)
      t.strictSame(lab.nodes[0]!.instances.get(name)!.memory, original!.memory)
    t.equal(new Set([...lab.nodes[0]!.instances.values()].map(one => one.identity?.incarnation)).size, 4)
    t.strictSame(
      operation.steps.map(step => step.step),
      [
        ...['validate', 'collect_metrics', 'plan', 'allocate', 'prepare', 'clone', 'identify', 'verify'],
        ...['keep_golden', 'register', 'warm_up', 'finalize'],
      ],
    )
    t.match(await lab.store.history('web', 1), [{ reason: 'Scaled up from 1 to 4 replicas (3 added)' }])
    await check(t, lab)
    await lab.close()
  },
)

t.test(
  'a clone has a lineage: whose copy, as of when, and whose copy that was; it survives a restart',
  async t => {
    const lab = await started()
    const [original] = lab.backends()
    await lab.scaleTo(2)
    const [, child] = lab.backends()
    const first = lab.scaling.instance(child!.id)!.lineage!
    t.match(first, [{ instance: original!.id, incarnation: original!.incarnation, asOfMs: Number }])
    await lab.operate({ type: 'replace', instance_id: child!.id })
    const grandchild = lab.backends().find(({ id }) => id !== original!.id)!
    const second = lab.scaling.instance(grandchild.id)!.lineage!
    t.match(second[0], { instance: child!.id, incarnation: child!.incarnation })
    t.strictSame(second.slice(1), first)
    t.ok(second[0]!.asOfMs > first[0]!.asOfMs)
    lab.kill()
    await lab.boot()
    t.strictSame(lab.scaling.instance(grandchild.id)!.lineage, second)
    t.equal(lab.scaling.instance(original!.id)!.lineage, undefined, 'it was booted from nothing')
    await lab.close()
  },
)

t.test('scale_in keeps the original and the minimum', async t => {
  const lab = await started()
  const original = lab.backends()[0]!.id
  await lab.scaleTo(3)
  const operation = await lab.scaleTo(1)
  t.match(operation, { type: 'scale_in', status: 'completed', error: null })
  t.strictSame(
    lab.backends().map(backend => backend.id),
    [original],
  )
  t.match(await lab.store.history('web', 1), [{ reason: 'Scaled down from 3 to 1 replicas (2 removed)' }])
  await check(t, lab)
  await lab.close()
})

t.test('replace: the new one has the memory of the old one, which leaves after it', async t => {
  const lab = await started()
  const [old] = lab.nodes[0]!.instances.values()
  old!.memory.push('a session')
  const order: string[] = []
  lab.events.subscribe(({ event }) => {
    if (event.type === 'operation_step' && event.status === 'done') order.push(event.step)
  })
  const operation = await lab.operate({ type: 'replace', instance_id: old!.name })
  t.match(operation, { type: 'replace', status: 'completed', error: null })
  t.ok(order.indexOf('warm_up') < order.indexOf('fence') && order.indexOf('fence') > 0)
  const [now] = lab.nodes[0]!.instances.values()
  t.not(now!.name, old!.name)
  t.strictSame(now!.memory, old!.memory)
  t.match(await lab.store.history('web', 1), [{ reason: `Replaced ${old!.name} by ${now!.name}` }])
  await check(t, lab)
  await lab.close()
})

t.test(
  'golden: the first cold boot is saved, later ones are cloned from it and no live one is paused',
  async t => {
    const { instance } = new Lab().config
    const lab = await started({ cluster: { instance: { ...instance!, cloneFrom: 'golden' } } })
    const [first] = lab.nodes[0]!.instances.values()
    const golden = [...lab.nodes[0]!.snapshots.keys()]
    t.equal(golden.length, 1)
    first!.memory.push('a session')
    const paused: string[] = []
    lab.faults.driver = (point, name) => {
      if (point === 'snapshot:paused') paused.push(name)
      return null
    }
    const operation = await lab.scaleTo(3)
    t.equal(operation.status, 'completed')
    t.strictSame(paused, [])
    for (const name of operation.instances)
      t.notOk(lab.nodes[0]!.instances.get(name)!.memory.includes('a session'))
    t.strictSame([...lab.nodes[0]!.snapshots.keys()], golden)
    await lab.close()
  },
)

t.test('what cannot work is refused with nothing begun', async t => {
  const lab = await started({ nodes: [{ id: 'n1', cpus: 3 }] })
  const refused = (request: OperationRequest, expected: { code: string; message?: RegExp }) =>
    t.rejects(lab.operate(request), expected)
  const options = { immediate: false, drain_connections: true }
  await refused({ type: 'scale_out', target_count: 11, ...options }, { code: 'target_out_of_bounds' })
  await refused({ type: 'scale_in', target_count: 0, ...options }, { code: 'target_out_of_bounds' })
  await refused({ type: 'scale_in', target_count: 2, ...options }, { code: 'invalid_request' })
  await refused({ type: 'replace', instance_id: 'nobody' }, { code: 'unknown_instance' })
  await refused(
    { type: 'scale_out', target_count: 6, ...options },
    { code: 'no_capacity', message: /^Insufficient nodes for scale-up: need 5, found 2 with capacity$/ },
  )
  await t.rejects(lab.scaling.start('nowhere', { type: 'replace', instance_id: 'x' }, 'test'), {
    code: 'unknown_cluster',
  })
  await t.rejects(lab.scaling.view('nothing'), { code: 'unknown_operation' })
  t.equal((await lab.scaling.list({})).length, 1)
  t.strictSame(lab.nodes[0]!.instances.size, 1)
  await check(t, lab)
  await lab.close()
})

t.test('one operation a cluster at a time, named to whoever comes second', async t => {
  const lab = await started()
  const request = { type: 'scale_out', target_count: 2, immediate: false, drain_connections: true } as const
  const first = await lab.time.until(lab.scaling.start('web', request, 'test'))
  t.equal(lab.scaling.running('web'), first.id)
  await t.rejects(lab.scaling.start('web', request, 'test'), {
    code: 'operation_running',
    details: { operation_id: first.id },
  })
  await lab.time.until(lab.scaling.wait(first.id, 60_000))
  t.equal(lab.scaling.running('web'), null)
  const both = await lab.time.until(
    Promise.allSettled([
      lab.scaling.start('web', { ...request, target_count: 3 }, 'test'),
      lab.scaling.start('web', { ...request, target_count: 4 }, 'test'),
    ]),
  )
  t.strictSame(both.map(one => one.status).sort(), ['fulfilled', 'rejected'])
  await lab.time.until(lab.settle())
  await check(t, lab)
  await lab.close()
})

t.test('wait says when the time is over', async t => {
  const lab = await started()
  lab.faults.driver = point => (point === 'clone:before' ? 'hang' : null)
  const request = { type: 'scale_out', target_count: 2, immediate: false, drain_connections: true } as const
  const { id } = await lab.time.until(lab.scaling.start('web', request, 'test'))
  await t.rejects(lab.time.until(lab.scaling.wait(id, 1_000)), { code: 'wait_timeout' })
  await lab.time.until(lab.settle())
  await lab.close()
})

t.test('cancel before the pivot undoes, after it is refused', async t => {
  const lab = await started()
  lab.faults.driver = point => (point === 'identify:told' ? 'hang' : null)
  const request = { type: 'scale_out', target_count: 3, immediate: false, drain_connections: true } as const
  const { id } = await lab.time.until(lab.scaling.start('web', request, 'test'))
  await lab.time.pass(500)
  t.match(await lab.scaling.view(id), { status: 'running', phase: 'configuring' })
  await lab.scaling.cancel(id)
  const view = await lab.time.until(lab.scaling.wait(id, 60_000))
  t.match(view, { status: 'cancelled', error: { code: 'operation_cancelled' } })
  t.equal(lab.nodes[0]!.instances.size, 1)
  t.equal(lab.nodes[0]!.snapshots.size, 0)
  await t.rejects(lab.scaling.cancel(id), { code: 'operation_not_cancellable' })

  lab.faults = {}
  await lab.scaleTo(2)
  lab.faults.driver = point => (point === 'destroy:before' ? 'hang' : null)
  const next = await lab.time.until(
    lab.scaling.start('web', { ...request, type: 'scale_in', target_count: 1 }, 'test'),
  )
  await lab.time.pass(3_000)
  t.match(await lab.scaling.view(next.id), { status: 'running', phase: 'finalizing' })
  await t.rejects(lab.scaling.cancel(next.id), { code: 'operation_not_cancellable' })
  lab.faults = {}
  await lab.time.until(lab.settle())
  t.match(await lab.scaling.view(next.id), { status: 'completed' })
  await check(t, lab)
  await lab.close()
})

t.test('a clone that never becomes healthy: all is undone, and the error says why', async t => {
  const lab = await started()
  lab.faults.driver = (point, name) => {
    if (point === 'identify:told') lab.nodes[0]!.instances.get(name)!.healthy = false
    return null
  }
  const operation = await lab.scaleTo(3)
  t.match(operation, {
    status: 'failed',
    phase: 'rolled_back',
    error: { code: 'instance_unhealthy', details: { step: 'verify' } },
  })
  t.equal(lab.scaling.count('web'), 1)
  t.match(await lab.store.history('web', 1), [{ reason: /^Scaling up from 1 to 3 failed in verify: / }])
  await check(t, lab)
  await lab.close()
})

t.test('a driver that forgets to resume the source is looked after', async t => {
  const lab = await started()
  lab.faults.driver = point => (point === 'snapshot:paused' ? 'abandon' : null)
  const operation = await lab.scaleTo(3)
  t.match(operation, { status: 'failed', phase: 'rolled_back', error: { details: { step: 'prepare' } } })
  t.match([...lab.nodes[0]!.instances.values()], [{ state: 'running' }])
  await check(t, lab)
  await lab.close()
})

t.test('a step that hangs ends at its deadline', async t => {
  const lab = await started()
  lab.faults.driver = point => (point === 'snapshot:paused' ? 'hang' : null)
  const operation = await lab.scaleTo(2)
  t.match(operation, { status: 'failed', phase: 'rolled_back', error: { code: 'step_timeout' } })
  await check(t, lab)
  await lab.close()
})

t.test('after the pivot a failing step is repeated, visibly', async t => {
  const lab = await started()
  await lab.scaleTo(3)
  let failures = 2
  lab.faults.driver = point => (point === 'stop:before' && failures-- > 0 ? 'fail' : null)
  const operation = await lab.scaleTo(2)
  t.equal(operation.status, 'completed')
  t.equal(operation.steps.find(step => step.step === 'stop')?.attempts, 3)
  await check(t, lab)
  await lab.close()
})

t.test('a dead instance leaves, and the minimum is restored', async t => {
  const lab = await started({ cluster: { scaling: { ...new Lab().config.scaling, minInstances: 2 } } })
  t.equal(lab.scaling.count('web'), 2)
  const [dead] = lab.nodes[0]!.instances.keys()
  lab.nodes[0]!.kill(dead!)
  await lab.time.until(lab.scaling.reconcile())
  await lab.time.until(lab.settle())
  t.equal(lab.scaling.count('web'), 2)
  t.notOk(lab.backends().some(backend => backend.id === dead))
  await lab.time.pass(60_000)
  await lab.time.until(lab.scaling.reconcile())
  await check(t, lab)
  await lab.close()
})

t.test(
  'who died or left is in the table for the clients that name it, over restarts, within bounds',
  async t => {
    const ttlSeconds = 60
    const lab = await started({ cluster: { affinity: { method: 'cookie', name: 'tidegate', ttlSeconds } } })
    const lost = () => lab.clusters.table().clusters[0]!.lost!.map(({ id }) => id)
    const [original] = lab.backends()
    await lab.scaleTo(3)
    t.strictSame(lost(), [])
    const clone = lab.backends()[1]!.id
    lab.nodes[0]!.kill(clone)
    await lab.time.until(lab.scaling.reconcile())
    await lab.time.until(lab.settle())
    t.match(lab.clusters.table().clusters[0]!.lost, [{ id: clone, lineage: [{ instance: original!.id }] }])
    lab.kill()
    await lab.boot()
    t.strictSame(lost(), [clone], 'a restart knows it still')
    await lab.scaleTo(1)
    t.equal(lost().length, 3, 'and who were drained and left')
    await lab.time.pass(ttlSeconds * 1000 + 1)
    await lab.scaleTo(2)
    await lab.scaleTo(1)
    t.equal(lost().length, 1, 'whom no cookie names any more is forgotten')
    for (let n = 0; n < lostMax; n++) {
      await lab.scaleTo(2)
      await lab.scaleTo(1)
    }
    t.ok(lost().length <= lostMax)
    await lab.close()
  },
)

t.test('an unreachable node keeps its members; nothing on it is destroyed', async t => {
  const lab = await started()
  await lab.scaleTo(2)
  lab.kill()
  lab.faults.driver = point => (point === 'inspect:before' ? 'fail' : null)
  t.equal(await lab.boot(), true)
  t.equal(lab.backends().length, 2)
  await lab.time.pass(60_000)
  await lab.time.until(lab.scaling.reconcile())
  t.equal(lab.scaling.count('web'), 2)
  t.equal(lab.nodes[0]!.instances.size, 2)
  lab.faults = {}
  await lab.time.until(lab.scaling.reconcile())
  await check(t, lab)
  await lab.close()
})

t.test("what carries another installation's tag is never touched", async t => {
  const lab = await started()
  const [ours] = lab.nodes[0]!.instances.values()
  const theirs = { ...ours!, name: 'theirs', owner: { ...ours!.owner, installation: 'theirs' } }
  lab.nodes[0]!.instances.set('theirs', { ...theirs, state: 'paused', createdAtMs: 0 })
  const lost = { ...ours!, name: 'lost', createdAtMs: lab.time.now, address: null }
  lab.nodes[0]!.instances.set('lost', lost)
  await lab.time.until(lab.scaling.reconcile())
  t.ok(lab.nodes[0]!.instances.has('lost'), 'too young to be collected')
  await lab.time.pass(30_000)
  await lab.time.until(lab.scaling.reconcile())
  t.notOk(lab.nodes[0]!.instances.has('lost'), 'old enough')
  t.match(lab.nodes[0]!.instances.get('theirs'), { state: 'paused' })
  await lab.close()
})

t.test('a full node overflows to another, where instances boot from nothing', async t => {
  const lab = await started({
    nodes: [
      { id: 'n1', cpus: 2 },
      { id: 'n2', cpus: 2 },
    ],
  })
  const operation = await lab.scaleTo(4)
  t.equal(operation.status, 'completed')
  t.strictSame(
    lab.nodes.map(node => node.instances.size),
    [2, 2],
  )
  await check(t, lab)
  await lab.close()
})

t.test('a store that is full stops an operation where it is; it is undone when there is room', async t => {
  const lab = await started()
  let full = false
  lab.faults.driver = point => {
    if (point === 'clone:tagged') full = true
    return null
  }
  lab.faults.store = moment => (full && moment === 'before' ? 'fail' : null)
  const request = { type: 'scale_out', target_count: 3, immediate: false, drain_connections: true } as const
  const { id } = await lab.time.until(lab.scaling.start('web', request, 'test'))
  await lab.time.pass(10_000)
  t.match(await lab.scaling.view(id), { status: 'running' })
  t.equal(lab.scaling.running('web'), null)
  lab.faults = {}
  await lab.time.until(lab.scaling.reconcile())
  t.match(await lab.time.until(lab.scaling.wait(id, 60_000)), {
    status: 'failed',
    error: { code: 'operation_interrupted' },
  })
  await check(t, lab)
  await lab.close()
})

t.test('a generation that no thread takes is published again by the next step', async t => {
  const lab = await started()
  let refusals = 2
  lab.faults.publish = () => refusals-- > 0
  const operation = await lab.scaleTo(2)
  t.match(operation, { status: 'completed' })
  t.match(lab.backends(), [{ state: 'ready' }, { state: 'ready' }])
  await check(t, lab)
  await lab.close()
})

t.test('an undo that was interrupted resumes the source by itself, whoever else does', async t => {
  const lab = await started()
  await lab.scaleTo(2)
  const node = lab.nodes[0]!
  let source = ''
  lab.faults.driver = (point, name) => {
    // The driver fails and leaves it paused; the first attempts to wake it fail too.
    if (point === 'snapshot:paused') source = name
    if (point === 'resume:before' && lab.time.now < until) return 'fail'
    return point === 'snapshot:paused' ? 'abandon' : null
  }
  const until = lab.time.now + 100
  const operation = await lab.scaleTo(3)
  t.match(operation, { status: 'failed', phase: 'rolled_back', error: { details: { step: 'prepare' } } })
  t.equal(node.instances.get(source)?.state, 'running')
  await check(t, lab)
  await lab.close()
})

/** One instance, whose checks have met nothing but silence for so long that it is ill. */
async function silentOne(why: 'busy' | 'hung') {
  const health = healthConfig({ intervalMs: 1_000, unhealthyThreshold: 2 })
  const lab = await started({ cluster: { health } })
  const [original] = lab.nodes[0]!.instances.values()
  original!.memory.push('a session')
  if (why === 'busy') original!.busy = true
  else original!.memory.push(hung)
  await lab.time.pass(5_000)
  t.match(lab.backends(), [{ state: 'down', health: { status: 'unhealthy', silent: true } }])
  return { lab, original: original! }
}

t.test('the only instance is too busy to answer: more are made of it all the same', async t => {
  const { lab, original } = await silentOne('busy')
  const operation = await lab.scaleTo(3)
  t.match(operation, { status: 'completed', error: null })
  t.match(operation.steps.find(step => step.step === 'plan')?.data, {
    mode: 'live',
    reason: `cloned from ${original.name}, which runs and leaves its checks without an answer: none is healthy`,
  })
  for (const name of operation.instances)
    t.ok(lab.nodes[0]!.instances.get(name)!.memory.includes('a session'), name)
  t.equal(lab.backends().filter(({ state }) => state === 'ready').length, 2)
  original.busy = false
  await lab.time.pass(5_000)
  await check(t, lab)
  await lab.close()
})

t.test('the only instance hangs: its clones never answer, and nothing is left of them', async t => {
  const { lab, original } = await silentOne('hung')
  const operation = await lab.scaleTo(3)
  t.match(operation, { status: 'failed', error: { code: 'instance_unhealthy' } })
  t.strictSame([...lab.nodes[0]!.instances.keys()], [original.name])
  t.equal(original.state, 'running')
  t.equal(lab.scaling.count('web'), 1)
  await lab.close()
})

t.test('replacing one that hangs boots from nothing: a clone would hang too', async t => {
  const { lab, original } = await silentOne('hung')
  const operation = await lab.operate({ type: 'replace', instance_id: original.name })
  t.match(operation, { status: 'completed', error: null })
  t.notOk(lab.nodes[0]!.instances.has(original.name))
  t.match(lab.backends(), [{ state: 'ready' }])
  await check(t, lab)
  await lab.close()
})
