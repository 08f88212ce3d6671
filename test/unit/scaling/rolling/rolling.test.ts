/** Rolling replaces: the planner as it is, and whole ones over fake nodes in virtual time. */
import t, { type Test } from 'tap'
import type { RollingWish } from '../../../../lib/command.ts'
import type { TidegateError } from '../../../../lib/errors.ts'
import { type GoldenValue, goldenKey } from '../../../../lib/scaling/facts.ts'
import type { OperationView } from '../../../../lib/scaling/operation.ts'
import { goldenInputs } from '../../../../lib/scaling/readiness/golden.ts'
import { judge, sampleMin } from '../../../../lib/scaling/rolling/checkpoint.ts'
import { batchesOf, batchOf, batchSizeOf } from '../../../../lib/scaling/rolling/rolling.ts'
import { check } from '../../../support/scaling-check.ts'
import { clusterConfig, Lab, type LabOptions } from '../../../support/scaling-lab.ts'

const base = clusterConfig()
const instance = base.instance!
// Without texts, which are looked for as files: that takes real time, and the lab's is virtual.
const next = { ...instance, template: { release: 2 } }
const quick: RollingWish = { pause_seconds: 2, max_failure_ratio: 0.1 }

t.test('batch sizes: numbers and shares, within the budget', t => {
  t.equal(batchSizeOf(undefined, 4, 2), 2, 'the budget')
  t.equal(batchSizeOf(undefined, 1, 2), 1)
  t.equal(batchSizeOf(2, 4, 2), 2)
  t.equal(batchSizeOf(9, 4, 9), 4, 'no more than there are')
  t.equal(batchSizeOf('50%', 5, 3), 2)
  t.equal(batchSizeOf('10%', 3, 1), 1, 'never none')
  t.equal(batchSizeOf('100%', 3, 3), 3)
  for (const wrong of [0, -1, 1.5, 101, Number.NaN, '0%', '101%', 'two', '2', '1.5%', ''])
    t.throws(() => batchSizeOf(wrong, 4, 100), { code: 'invalid_request', details: { field: 'batch_size' } })
  t.throws(() => batchSizeOf(3, 4, 2), { message: /3 is more than scaling.disruption_budget \(2\)/ })
  t.throws(() => batchSizeOf('75%', 4, 2), { message: /75% of 4 instances is 3, which is more than/ })
  t.end()
})

t.test('batches: in order, each of one former template', t => {
  const of = (text: string) => text.split(' ').map(id => ({ id, template: id[0]! }))
  t.strictSame(batchesOf(of('a1 a2 a3'), 2), [['a1', 'a2'], ['a3']])
  t.strictSame(batchesOf(of('a1 b1 a2 b2 b3'), 2), [['a1', 'a2'], ['b1', 'b2'], ['b3']])
  t.strictSame([batchOf('batch_12'), batchOf('batch_'), batchOf('plan')], [12, null, null])
  t.end()
})

t.test('a checkpoint: by share, early only when enough was answered, at once where one is ill', t => {
  const row = (id: string, requests: number, failures: number, ill: string | null = null) => ({
    ...{ id, requests, failures, ill, in_flight: 0, tunnels: 0, server_errors: 0 },
  })
  const early = { max: 0.1, over: false, waitedMs: 10 }
  const late = { ...early, over: true }
  t.match(judge([row('a', 100, 100)], [row('a', 100, 100)], late), { exchanges: 0, failure_ratio: 0 })
  t.match(judge([row('a', 100, 50)], [row('a', 200, 60)], late), {
    exchanges: 100,
    failed: 10,
    failure_ratio: 0.1,
  })
  t.throws(() => judge([], [row('a', 10, 1), row('b', 10, 2)], late), {
    code: 'checkpoint_failed',
    message: 'the checkpoint was not met: 3 of 20 exchanges of the new instances failed (15 %, at most 10 %)',
    details: { exchanges: 20, failed: 3, instances: ['a', 'b'] },
  })
  t.doesNotThrow(() => judge([], [row('a', sampleMin - 1, 9)], early))
  t.throws(() => judge([], [row('a', sampleMin, 9)], early), { code: 'checkpoint_failed' })
  t.throws(() => judge([], [row('a', 0, 0, 'is unhealthy: answered 500')], early), {
    message: 'the checkpoint was not met: a is unhealthy: answered 500',
  })
  t.match(
    judge([], [{ ...row('a', 5, 0), server_errors: 5 }], early),
    { failed: 5 },
    'an answer of 500 counts',
  )
  t.match(judge([], [{ ...row('a', 5, 0), in_flight: 3, tunnels: 2 }], late), { exchanges: 0 })
  t.end()
})

/** Four instances of the first release, and a configuration that names the second. */
async function four(options: LabOptions = {}): Promise<Lab> {
  const lab = new Lab({ nodes: [{ id: 'n1', cpus: 6 }], ...options })
  await lab.boot()
  if (lab.scaling.count('web') < 4) await lab.scaleTo(4)
  await lab.reconfigure({ instance: next })
  return lab
}
const begin = (lab: Lab, wish: RollingWish = {}) =>
  lab.time.until(lab.scaling.replaceRolling('web', { ...quick, ...wish }, 'ann'))
const end = (lab: Lab, { id }: { id: string }) => lab.time.until(lab.scaling.wait(id, 36_000_000))
const ids = (lab: Lab) => lab.backends().map(({ id }) => id)
/** Which release each member was made from. */
const releases = async (lab: Lab) => {
  const value = (await lab.store.value('templates:web')) as {
    templates: Record<string, { template: { release?: number } }>
    instances: Record<string, string>
  }
  return ids(lab).map(id => value.templates[value.instances[id]!]?.template.release ?? 1)
}
const said = async (lab: Lab) => (await lab.store.history('web', 20)).map(({ reason }) => reason)
const atRest = async (t: Test, lab: Lab) => {
  await lab.time.pass(60_000)
  await lab.time.until(lab.scaling.reconcile())
  await lab.settle()
  await check(t, lab)
}
/** The first new instance of the batch fails every exchange. */
const spoil = (lab: Lab, batch: number, before: readonly string[]) => {
  let batches = 0
  lab.events.subscribe(({ event }) => {
    if (event.type !== 'operation_step' || event.step !== 'checkpoint' || event.status !== 'started') return
    if (++batches !== batch) return
    const clock = lab.time.connect(() => lab.alive)
    clock.after(500, () => {
      const members = lab.clusters.table().clusters.flatMap(cluster => cluster.members)
      const { slot } = members.findLast(({ id }) => !before.includes(id))!
      lab.board.add(0, slot, 'started', 50)
      lab.board.add(0, slot, 'failed', 50)
    })
  })
}

t.test('all of them, one after another, each watched before the next', async t => {
  const lab = await four()
  const before = ids(lab)
  let most = 0
  lab.events.subscribe(() => {
    most = Math.max(most, lab.backends().length)
  })
  const began = lab.time.now
  const operation = await begin(lab)
  t.match(operation, { type: 'rolling_replace', status: 'running', rolling: { batches: 4, batch: 0 } })
  await t.rejects(begin(lab), { code: 'operation_running', details: { operation_id: operation.id } })
  await t.rejects(lab.scaleTo(5), { code: 'operation_running', details: { operation_id: operation.id } })
  const ended = await end(lab, operation)
  t.match(ended, { status: 'completed', phase: 'completed', error: null })
  t.strictSame(
    ended.steps.map(({ step, status }) => `${step} ${status}`),
    ['collect_metrics', 'plan', 'batch_1', 'batch_2', 'batch_3', 'batch_4', 'finalize'].map(
      step => `${step} done`,
    ),
  )
  t.strictSame(
    ended.phases.map(({ phase }) => phase),
    ['requested', 'collecting_metrics', 'planning', 'replacing', 'finalizing', 'completed'],
  )
  t.match(ended.rolling, {
    ...{ batches: 4, batch: 4, passed: 4 },
    rows: before.map(id => ({
      ...{ status: 'passed', instances: [id], operation_id: String, replaced_by: [String] },
      checkpoint: { exchanges: 0, failure_ratio: 0, max_failure_ratio: 0.1, waited_ms: Number },
    })),
  })
  t.equal(most, 5, 'one more than before, and no more')
  t.ok(lab.time.now - began > 4 * 2_000)
  t.strictSame(await releases(lab), [2, 2, 2, 2])
  t.match(await said(lab), ['Replaced 4 instances in 4 batches'])
  t.strictSame(
    ids(lab).filter(id => before.includes(id)),
    [],
  )
  await atRest(t, lab)
  await lab.close()
})

/** What of `release` was made how, in the order in which it came: `boot` or the golden snapshot that it was cloned from. */
const madeFrom = (lab: Lab) => ids(lab).map(id => lab.nodes[0]!.instances.get(id)!.snapshot ?? 'boot')
const goldenFirst: LabOptions = { cluster: { instance: { ...instance, cloneFrom: 'golden' } } }
const goldenNext = { instance: { ...next, cloneFrom: 'golden' as const } }
const kept = async (lab: Lab) => (await lab.store.value(goldenKey('web'))) as GoldenValue | null

t.test('of golden snapshots: the first batch is booted and saved, the others are its clones', async t => {
  const lab = await four(goldenFirst)
  const former = (await kept(lab))!
  await lab.reconfigure(goldenNext)
  t.match(await end(lab, await begin(lab)), { status: 'completed' })
  const golden = (await kept(lab))!
  t.not(golden.snapshot, former.snapshot)
  t.equal(golden.inputs, await goldenInputs(goldenNext.instance), 'the version of the new template')
  t.strictSame(madeFrom(lab), ['boot', golden.snapshot, golden.snapshot, golden.snapshot])
  t.strictSame(await releases(lab), [2, 2, 2, 2])
  await lab.time.pass(60_000)
  await lab.time.until(lab.scaling.reconcile())
  t.strictSame([...lab.nodes[0]!.snapshots.keys()], [golden.snapshot], 'the former one is collected')
  const [added] = (await lab.scaleTo(5)).instances
  t.equal(lab.nodes[0]!.instances.get(added!)!.snapshot, golden.snapshot, 'who comes later is its clone')
  await lab.close()
})

t.test('of golden snapshots, back: from the former one, which was kept for that', async t => {
  const lab = await four(goldenFirst)
  const before = ids(lab)
  const former = (await kept(lab))!
  await lab.reconfigure(goldenNext)
  spoil(lab, 3, before)
  t.match(await end(lab, await begin(lab)), { status: 'failed', error: { code: 'checkpoint_failed' } })
  t.strictSame(await releases(lab), [1, 1, 1, 1])
  const anew = ids(lab).filter(id => !before.includes(id))
  t.equal(anew.length, 2)
  for (const id of anew) t.equal(lab.nodes[0]!.instances.get(id)!.snapshot, former.snapshot)
  t.equal(
    (await kept(lab))?.inputs,
    await goldenInputs(goldenNext.instance),
    'the configuration names the new',
  )
  for (let round = 0; round < 2; round++) {
    await lab.time.pass(60_000)
    await lab.time.until(lab.scaling.reconcile())
  }
  const left = [former.snapshot, (await kept(lab))!.snapshot]
  t.strictSame(
    [...lab.nodes[0]!.snapshots.keys()],
    left,
    'clones rest on the one, the other is the next one’s',
  )
  await lab.close()
})

t.test('as many at once as asked for', async t => {
  const lab = await four({ cluster: { scaling: { ...base.scaling, disruptionBudget: 2 } } })
  const ended = await end(lab, await begin(lab, { batch_size: '50%' }))
  t.match(ended, { status: 'completed', rolling: { batches: 2, passed: 2 } })
  t.strictSame(await releases(lab), [2, 2, 2, 2])
  await atRest(t, lab)
  await lab.close()
})

function undone(t: Test, ended: OperationView, code: string): void {
  t.match(ended, { status: 'failed', phase: 'rolled_back', error: { code } })
  t.match(ended.steps.at(-1), { step: 'restore', status: 'reverted', data: { differences: [] } })
}

t.test('a checkpoint that is not met takes back its batch and those before it', async t => {
  const lab = await four()
  const before = ids(lab)
  spoil(lab, 3, before)
  const ended = await end(lab, await begin(lab))
  undone(t, ended, 'checkpoint_failed')
  t.match(ended.error?.message, /^replace \w+: the checkpoint was not met: 50 of 50 exchanges/)
  t.strictSame(
    ended.rolling?.rows.map(({ status }) => status),
    ['taken_back', 'taken_back', 'taken_back', 'waiting'],
  )
  t.strictSame(await releases(lab), [1, 1, 1, 1])
  t.strictSame(
    before.map(id => ids(lab).includes(id)),
    [false, false, true, true],
    'the third never left',
  )
  t.match(await said(lab), [/^Replacing 4 instances in 4 batches failed in batch 3: replace /])
  await atRest(t, lab)
  await lab.close()
})

t.test('one that does not come up takes back those before it', async t => {
  const lab = await four()
  let creates = 0
  lab.faults.driver = point => (point === 'create:before' && ++creates >= 2 && creates <= 4 ? 'fail' : null)
  const ended = await end(lab, await begin(lab))
  undone(t, ended, 'hypervisor_failed')
  t.strictSame(await releases(lab), [1, 1, 1, 1])
  await atRest(t, lab)
  await lab.close()
})

t.test('cancelled in the middle: all as before; then it cannot be cancelled', async t => {
  const lab = await four()
  const operation = await begin(lab)
  while ((await lab.scaling.view(operation.id)).rolling!.passed < 1) await lab.time.pass(100)
  await lab.time.pass(500)
  await lab.time.until(lab.scaling.cancel(operation.id))
  const ended = await end(lab, operation)
  t.match(ended, { status: 'cancelled', phase: 'cancelled', error: { code: 'operation_cancelled' } })
  t.strictSame(await releases(lab), [1, 1, 1, 1])
  await t.rejects(lab.time.until(lab.scaling.cancel(operation.id)), { code: 'operation_not_cancellable' })
  await atRest(t, lab)
  await lab.close()
})

t.test('whoever was cancelled was a part of it: the whole is taken back', async t => {
  const lab = await four()
  const operation = await begin(lab)
  await lab.time.pass(1_000)
  const [part] = await lab.scaling.list({ limit: 1 })
  t.match(part, { type: 'replace', request: { part_of: { operation: operation.id, batch: 1 } } })
  await lab.time.until(lab.scaling.cancel(part!.id))
  t.match(await end(lab, operation), { status: 'failed', phase: 'rolled_back' })
  t.strictSame(await releases(lab), [1, 1, 1, 1])
  await atRest(t, lab)
  await lab.close()
})

for (const [when, passed] of [
  ['within the first batch', 0],
  ['after two batches', 2],
] as const)
  t.test(`a restart ${when}: it goes on`, async t => {
    const lab = await four()
    const operation = await begin(lab)
    while ((await lab.scaling.view(operation.id)).rolling!.passed < passed) await lab.time.pass(100)
    await lab.time.pass(passed === 0 ? 1_000 : 5)
    lab.kill()
    t.ok(await lab.boot())
    const ended = await end(lab, operation)
    t.match(ended, { status: 'completed', rolling: { batches: 4, passed: 4 } })
    t.strictSame(await releases(lab), [2, 2, 2, 2])
    await atRest(t, lab)
    await lab.close()
  })

t.test('a restart in the middle of taking back: it goes on taking back', async t => {
  const lab = await four()
  spoil(lab, 3, ids(lab))
  const operation = await begin(lab)
  while ((await lab.scaling.view(operation.id)).phase !== 'rolling_back') await lab.time.pass(50)
  await lab.time.pass(30)
  lab.kill()
  t.ok(await lab.boot())
  undone(t, await end(lab, operation), 'checkpoint_failed')
  t.strictSame(await releases(lab), [1, 1, 1, 1])
  await atRest(t, lab)
  await lab.close()
})

t.test('taking back that cannot be done is stuck, and goes on when it can', async t => {
  const lab = await four()
  spoil(lab, 2, ids(lab))
  let creates = 0
  lab.faults.driver = point => (point === 'create:before' && ++creates > 2 ? 'fail' : null)
  const operation = await begin(lab)
  t.match(await end(lab, operation), { status: 'stuck', phase: 'stuck', error: { code: 'operation_stuck' } })
  t.strictSame((await releases(lab)).toSorted(), [1, 1, 1, 2])
  lab.faults = {}
  await lab.time.pass(40_000)
  await lab.time.until(lab.scaling.reconcile())
  undone(t, await end(lab, operation), 'checkpoint_failed')
  t.strictSame(await releases(lab), [1, 1, 1, 1])
  await atRest(t, lab)
  await lab.close()
})

t.test('who died meanwhile is made good between the batches, and everybody is new at its end', async t => {
  const lab = await four({ cluster: { scaling: { ...base.scaling, minInstances: 4 } } })
  const [, , , last] = ids(lab)
  const operation = await begin(lab)
  await lab.time.pass(1_000)
  lab.nodes[0]!.kill(last!)
  await lab.time.until(lab.scaling.reconcile())
  for (let round = 0; round < 20; round++) {
    await lab.time.pass(1_000)
    await lab.time.until(lab.scaling.reconcile())
  }
  t.match(await end(lab, operation), { status: 'completed' })
  await atRest(t, lab)
  t.equal(ids(lab).length, 4)
  await lab.close()
})

t.test('what cannot be begun is refused with the reason', async t => {
  const lab = await four()
  const refusal = async (wish: RollingWish) => {
    const { code, message, details } = await begin(lab, wish).then(
      () => Promise.reject(new Error('it began')),
      (error: unknown) => error as TidegateError,
    )
    return { code, message, field: details.field }
  }
  t.match(await refusal({ batch_size: 0 }), { code: 'invalid_request', field: 'batch_size' })
  t.match(await refusal({ batch_size: '120%' }), { code: 'invalid_request', field: 'batch_size' })
  t.match(await refusal({ batch_size: 2 }), { message: /more than scaling.disruption_budget \(1\)/ })
  t.match(await refusal({ pause_seconds: -1 }), { code: 'invalid_request', field: 'pause_seconds' })
  t.match(await refusal({ max_failure_ratio: 2 }), { code: 'invalid_request', field: 'max_failure_ratio' })
  await t.rejects(lab.scaling.replaceRolling('api', {}, 'ann'), { code: 'unknown_cluster' })
  await lab.scaleTo(6)
  t.match(await refusal({}), { code: 'no_capacity' })
  t.equal((await lab.store.operations({ unfinished: true })).length, 0)
  await lab.close()
})

t.test('refused where there is no way back', async t => {
  const lab = await four()
  const { pins: _, ...kept } = (await lab.store.value('templates:web')) as { pins: object }
  await lab.store.write([{ put: 'value', key: 'templates:web', value: { ...kept, instances: {}, pins: {} } }])
  lab.kill()
  await lab.boot()
  await t.rejects(begin(lab), { code: 'rollback_impossible', message: /`replace --all`/ })
  await lab.close()
})
