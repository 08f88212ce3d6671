/** What recovery leaves alone and tells of: orphans, nodes that cannot be asked, lives that the store does not know; and its numbers. */
import t from 'tap'
import { copyMs, limits } from '../../../../lib/scaling/limits.ts'
import { createMemoryStore } from '../../../../lib/store/memory.ts'
import { faultsOf } from '../../../support/scaling-check.ts'
import { clusterConfig, Lab } from '../../../support/scaling-lab.ts'

const config = { id: 'n1', driver: 'process', zone: 'a', directory: '/', options: {} } as const
const capacity = { cpus: 4, memoryBytes: 2 ** 30, diskBytes: 2 ** 30 }

/** Rounds of reconcile over `ms`. */
async function rounds(lab: Lab, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 10_000) {
    await lab.time.pass(10_000)
    await lab.time.until(lab.scaling.reconcile())
    await lab.time.until(lab.settle())
  }
}

/** Made under our tag, by nobody who is known. */
async function strayed(lab: Lab, name: string): Promise<void> {
  const alive = () => true
  const process = { clock: lab.time.connect(alive), alive, fault: () => null, crash: () => {} }
  const owner = { installation: 'ours', cluster: 'web', operation: 'lost' }
  const spec = { name, owner, port: 1, resources: capacity, template: {} }
  await lab.time.until(lab.nodes[0]!.connect(process).create(spec, new AbortController().signal))
}

t.test('an orphan is told of with its time, and goes when it has come', async t => {
  const lab = new Lab()
  await lab.boot()
  await strayed(lab, 'web-lost-1')
  await lab.time.until(lab.scaling.reconcile())
  const facts = lab.scaling.report.nodeFacts({ ...config, capacity }, null)
  const at = Date.parse(facts.orphans[0]!.created_at)
  t.match(facts.orphans, [
    {
      ...{ id: 'web-lost-1', kind: 'instance', cluster: 'web', operation: 'lost', why: /younger than 30 s/ },
      collect_at: new Date(at + limits.orphanGuardMs).toISOString(),
    },
  ])
  t.match(await lab.scaling.report.diagnoses(), [{ name: 'orphan web-lost-1', ok: false, advice: true }])
  await rounds(lab, 40_000)
  t.notOk(lab.nodes[0]!.instances.has('web-lost-1'), 'it is destroyed')
  const { orphans, orphansDestroyed, reconcile } = lab.scaling.report.numbers()
  t.strictSame(orphans, [])
  t.strictSame(orphansDestroyed, [{ labels: { node: 'n1', kind: 'instance' }, value: 1 }])
  t.ok(reconcile && reconcile.ageMs >= 0 && reconcile.tookMs >= 0)
  await lab.close()
})

t.test('an orphan that cannot be destroyed says why', async t => {
  const lab = new Lab()
  await lab.boot()
  await strayed(lab, 'web-lost-1')
  lab.faults.driver = point => (point === 'destroy:before' ? 'fail' : null)
  await rounds(lab, 40_000)
  t.match(await lab.scaling.report.diagnoses(), [{ detail: /cannot be destroyed: web-lost-1/ }])
  await lab.close()
})

t.test(
  'an orphan is told of also where the history takes no line of it, and stays until it does',
  async t => {
    const lab = new Lab()
    await lab.boot()
    await strayed(lab, 'web-lost-1')
    await lab.time.pass(limits.orphanGuardMs)
    lab.faults.store = () => 'fail'
    await lab.time.until(lab.scaling.reconcile())
    t.match(await lab.scaling.report.diagnoses(), [
      { name: 'orphan web-lost-1', detail: /the history does not take that it goes: disk full/ },
    ])
    t.ok(lab.nodes[0]!.instances.has('web-lost-1'))
    lab.faults = {}
    await lab.time.until(lab.scaling.reconcile())
    t.notOk(lab.nodes[0]!.instances.has('web-lost-1'))
    await lab.close()
  },
)

t.test('an orphan is not forgotten while its node cannot be asked', async t => {
  const lab = new Lab()
  await lab.boot()
  await strayed(lab, 'web-lost-1')
  await lab.time.until(lab.scaling.reconcile())
  lab.faults.driver = point => (point === 'inspect:before' ? 'fail' : null)
  await lab.time.until(lab.scaling.reconcile())
  lab.faults = {}
  t.match(await lab.scaling.report.diagnoses(), [{ name: 'node n1' }, { name: 'orphan web-lost-1' }])
  await lab.time.pass(limits.orphanGuardMs)
  await lab.time.until(lab.scaling.reconcile())
  t.strictSame(await lab.scaling.report.diagnoses(), [])
  await lab.close()
})

t.test('a hypervisor that never answers about an orphan keeps a round from nothing else', async t => {
  const lab = new Lab()
  await lab.boot()
  await strayed(lab, 'web-lost-1')
  await lab.time.pass(limits.orphanGuardMs)
  lab.faults.driver = point => (point === 'destroy:half' ? 'hang' : null)
  const begun = lab.time.now
  await lab.time.until(lab.scaling.reconcile())
  t.ok(lab.time.now - begun < 2 * limits.revertMs, 'the round ends')
  t.match(await lab.scaling.report.diagnoses(), [{ detail: /destroying web-lost-1 took longer than/ }])
  await lab.close()
})

t.test('a life that could not be numbered at the start is as soon as the store takes it', async t => {
  const lab = new Lab()
  await lab.boot()
  await strayed(lab, 'web-lost-1')
  lab.kill()
  lab.faults.store = (moment, write) => (moment === 'before' && write === 1 ? 'fail' : null)
  await lab.boot()
  lab.faults = {}
  await rounds(lab, 60_000)
  t.notOk(lab.nodes[0]!.instances.has('web-lost-1'), 'and what a former one made is collected')
  await lab.close()
})

t.test('a store that was put back from a copy ends nothing that was made after it', async t => {
  const lab = new Lab()
  await lab.boot()
  lab.kill()
  await lab.boot()
  await lab.scaleTo(3)
  const made = [...lab.nodes[0]!.instances.keys()]
  lab.kill()
  lab.store = createMemoryStore()
  for (let start = 0; start < 3; start++) {
    await lab.boot()
    await rounds(lab, 120_000)
    for (const name of made)
      t.ok(lab.nodes[0]!.instances.has(name), `${name} is there after start ${start + 1}`)
    const told = await lab.scaling.report.diagnoses()
    t.equal(told.filter(({ detail }) => /later life than this store/.test(detail)).length, made.length)
    t.ok(lab.scaling.report.numbers().orphans.every(({ kept }) => kept))
    lab.kill()
  }
  await lab.boot()
  const own = [...lab.nodes[0]!.instances.values()].find(({ name }) => !made.includes(name))
  t.ok((own?.owner.epoch ?? 0) > 2, 'no number is given twice')
  await lab.close()
})

t.test('a node that cannot be asked is unknown, since when, and loses nothing', async t => {
  const lab = new Lab({
    nodes: [
      { id: 'n1', cpus: 4 },
      { id: 'n2', cpus: 4 },
    ],
  })
  await lab.boot()
  await lab.scaleTo(2)
  const since = lab.time.now
  lab.faults.driver = (point, name) => (point === 'inspect:before' && name === 'n1' ? 'fail' : null)
  await rounds(lab, 60_000)
  const facts = lab.scaling.report.nodeFacts({ ...config, capacity }, null)
  const unknown = Date.parse(facts.unknown_since ?? '')
  t.ok(unknown > since && unknown < since + 30_000, 'since it was first asked in vain')
  t.match(await lab.scaling.report.diagnoses(), [{ name: 'node n1', code: 'hypervisor_unreachable' }])
  t.match(lab.scaling.report.numbers().nodes, [{ node: 'n1' }, { node: 'n2', unknownMs: null }])
  t.equal(lab.backends().length, 2, 'who is on it stays')
  lab.faults = {}
  await rounds(lab, 10_000)
  t.strictSame(await lab.scaling.report.diagnoses(), [])
  t.match(lab.scaling.report.numbers().nodes, [{ node: 'n1', unknownMs: null }])
  await lab.close()
})

t.test('who dies while an operation goes on leaves meanwhile, unless he is of its concern', async t => {
  const lab = new Lab()
  await lab.boot()
  await lab.scaleTo(4)
  lab.faults.driver = point => (point === 'clone:before' ? 'hang' : null)
  const asked = { type: 'scale_out', target_count: 5, immediate: false, drain_connections: true } as const
  const { id } = await lab.time.until(lab.scaling.start('web', asked, 'test'))
  await lab.time.pass(5_000)
  const view = await lab.scaling.view(id)
  t.match(view.steps.at(-1), { step: 'clone' })
  const { snapshots } = view.steps.find(({ step }) => step === 'allocate')!.data as {
    readonly snapshots: readonly { readonly source: string }[]
  }
  const [source] = snapshots.map(row => row.source)
  const [bystander] = lab.backends().flatMap(one => (one.id === source ? [] : one.id))
  const ids = () => lab.backends().map(one => one.id)
  for (const name of [source!, bystander!]) lab.nodes[0]!.instances.get(name)!.state = 'stopped'
  await lab.time.until(lab.scaling.reconcile())
  t.equal(lab.scaling.running('web'), id, 'the operation goes on')
  t.notOk(ids().includes(bystander!), 'he is out of the table, and out of the store')
  t.ok(ids().includes(source!), 'who is being cloned is left to the operation')
  t.equal(lab.scaling.count('web'), 3)
  lab.faults = {}
  await lab.time.until(lab.settle())
  await rounds(lab, 10_000)
  t.notOk(ids().includes(source!), 'until it has ended')
  t.strictSame(await faultsOf(lab), [])
  await lab.close()
})

t.test('nobody leaves by scale-in when who was to stay dies during the drain', async t => {
  const lab = new Lab()
  await lab.boot()
  await lab.scaleTo(2)
  const { members } = lab.clusters.table().clusters[0]!
  for (const { slot } of members) lab.board.add(0, slot, 'inFlight', 1)
  const asked = { type: 'scale_in', target_count: 1, immediate: false, drain_connections: true } as const
  const { id } = await lab.time.until(lab.scaling.start('web', asked, 'test'))
  await lab.time.pass(500)
  t.match((await lab.scaling.view(id)).steps.at(-1), { step: 'drain' })
  const [staying] = lab.backends().flatMap(one => (one.state === 'ready' ? [one.id] : []))
  lab.nodes[0]!.instances.get(staying!)!.state = 'stopped'
  await lab.time.until(lab.scaling.reconcile())
  for (const { slot } of members) lab.board.add(0, slot, 'inFlight', -1)
  await lab.time.until(lab.settle())
  const { status, error } = await lab.scaling.view(id)
  t.match({ status, error }, { status: 'failed', error: { message: /others have died meanwhile/ } })
  t.match(lab.backends(), [{ state: 'ready' }], 'who was to leave stays, and serves')
  t.notMatch(lab.backends(), [{ id: staying! }])
  await lab.close()
})

t.test('what copies memory has time for it, and is taken back by itself when that is over', async t => {
  const { instance, scaling } = clusterConfig()
  const memoryBytes = 8 * 2 ** 30
  const lab = new Lab({
    cluster: { scaling, instance: { ...instance!, resources: { ...instance!.resources, memoryBytes } } },
  })
  await lab.boot()
  for (const [point, baseMs] of [
    ['snapshot:paused', limits.snapshotBaseMs],
    ['clone:running', limits.cloneBaseMs],
  ] as const) {
    lab.faults.driver = at => (at === point ? 'hang' : null)
    const begun = lab.time.now
    const { phase, error } = await lab.scaleTo(2)
    const ms = copyMs(baseMs, memoryBytes)
    t.equal(phase, 'rolled_back', point)
    t.match(error, { code: 'step_timeout', details: { timeout_ms: ms } })
    t.ok(lab.time.now - begun >= ms, `${point} had ${ms} ms`)
    for (const { state } of lab.nodes[0]!.instances.values()) t.equal(state, 'running', 'the source runs')
  }
  t.equal(copyMs(30_000, 2 ** 30), 83_688, 'a minute and a half for a GiB')
  await lab.close()
})

t.test('a clone of an instance that was given more memory has time for that', async t => {
  const lab = new Lab()
  await lab.boot()
  const memoryBytes = 16 * 2 ** 30
  const { id } = lab.backends()[0]!
  await lab.operate({ type: 'resize', instance_id: id, resources: { memoryBytes } })
  for (const [point, baseMs] of [
    ['snapshot:paused', limits.snapshotBaseMs],
    ['clone:running', limits.cloneBaseMs],
  ] as const) {
    lab.faults.driver = at => (at === point ? 'hang' : null)
    const { error } = await lab.scaleTo(2)
    t.match(error, { code: 'step_timeout', details: { timeout_ms: copyMs(baseMs, memoryBytes) } }, point)
  }
  await lab.close()
})

t.test('operations and their phases are counted', async t => {
  const lab = new Lab()
  await lab.boot()
  await lab.scaleTo(2)
  lab.faults.driver = point => (point === 'clone:running' ? 'full' : null)
  await lab.scaleTo(4)
  let left = 1
  lab.faults.driver = point => (point === 'stop:before' && left-- > 0 ? 'fail' : null)
  await lab.scaleTo(1)
  const { operations, durations, phases, retries, rollbacks, clusters } = lab.scaling.report.numbers()
  const type = 'scale_out'
  t.strictSame(operations, [
    { labels: { cluster: 'web', type, outcome: 'completed' }, value: 2 },
    { labels: { cluster: 'web', type, outcome: 'failed' }, value: 1 },
    { labels: { cluster: 'web', type: 'scale_in', outcome: 'completed' }, value: 1 },
  ])
  t.strictSame(rollbacks, [{ labels: { cluster: 'web', type }, value: 1 }])
  t.strictSame(retries, [{ labels: { type: 'scale_in', phase: 'finalizing' }, value: 1 }])
  t.match(durations, [{ labels: { type } }, { labels: { type: 'scale_in' } }])
  t.equal(
    durations[0]!.value.buckets.reduce((sum, n) => sum + n, 0),
    3,
  )
  const seen = phases.map(({ labels }) => labels.phase)
  t.ok(
    ['requested', 'preparing', 'verifying', 'rolling_back'].every(phase => seen.includes(phase)),
    seen.join(),
  )
  t.strictSame(clusters, [{ cluster: 'web', running: 0, stuck: 0, repairs: 0 }])
  await lab.close()
})
