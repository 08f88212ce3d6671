/** Who dies is made again, up to as many as were wanted; who keeps dying, ever more rarely. Over fake nodes. */
import t, { type Test } from 'tap'
import { limits } from '../../../../lib/scaling/limits.ts'
import { check } from '../../../support/scaling-check.ts'
import { clusterConfig, Lab, type LabOptions } from '../../../support/scaling-lab.ts'

const { scaling } = clusterConfig()
const policy = (over: Partial<typeof scaling>): LabOptions => ({
  cluster: { scaling: { ...scaling, ...over } },
})

async function scaled(t: Test, count: number, options: LabOptions = {}) {
  const lab = new Lab(options)
  t.equal(await lab.boot(), true)
  if (count !== lab.scaling.count('web')) await lab.scaleTo(count)
  t.teardown(() => lab.close())
  return lab
}
const ids = (lab: Lab) => lab.backends().map(({ id }) => id)
const node = (lab: Lab, name: string) => lab.nodes.find(({ instances }) => instances.has(name))!
const count = (lab: Lab) => lab.scaling.count('web')
const wanted = (lab: Lab) => lab.scaling.repairs.wanted('web')

async function round(lab: Lab, passMs = 10_000) {
  await lab.time.until(lab.scaling.reconcile())
  await lab.time.until(lab.settle())
  await lab.time.pass(passMs)
}
async function die(lab: Lab, ...names: readonly string[]) {
  for (const name of names) node(lab, name).kill(name)
  await round(lab)
}
const settleFor = (lab: Lab, to: number) => {
  const line = { cluster: 'web', atMs: 0, actor: 'ann', action: 'scale', from: 0, to, reason: 'enough' }
  const record = { ...line, outcome: 'done' } as const
  return lab.time.until(lab.scaling.repairs.settleFor('web', to, { put: 'history', record }))
}

t.test('one of four dies: they are four again, and the new one has the memory of one who lives', async t => {
  const lab = await scaled(t, 4)
  const [first, second, third, fourth] = ids(lab)
  for (const id of [second!, third!, fourth!]) node(lab, id).instances.get(id)!.memory.push('a session')
  await die(lab, first!)
  t.equal(count(lab), 4)
  const heir = ids(lab).find(id => ![second, third, fourth].includes(id))!
  t.ok(node(lab, heir).instances.get(heir)!.memory.includes('a session'))
  const [operation] = await lab.scaling.list({ cluster: 'web' })
  t.match(operation, {
    ...{ type: 'scale_out', actor: 'reconcile', status: 'completed' },
    request: { target_count: 4, repair: true },
  })
  t.match(await lab.store.history('web', 2), [
    { reason: 'Scaled up from 3 to 4 replicas (1 added)' },
    { action: 'remove_dead', from: 4, to: 3 },
  ])
  await die(lab, ...ids(lab))
  t.equal(count(lab), 4, 'all at once')
  await lab.time.pass(limits.orphanGuardMs)
  await round(lab)
  await check(t, lab)
})

t.test('what is wanted is what was last asked for, and is known after a restart', async t => {
  const lab = await scaled(t, 4)
  await lab.scaleTo(2)
  t.equal(wanted(lab), 2)
  await lab.operate({ type: 'replace', instance_id: ids(lab)[1]! })
  await die(lab, ids(lab)[1]!)
  t.equal(count(lab), 2)
  await lab.scaleTo(3)
  lab.kill()
  for (const id of ids(lab).slice(1)) node(lab, id).kill(id)
  await lab.boot()
  await round(lab)
  t.equal(wanted(lab), 3)
  t.equal(count(lab), 3)
})

t.test('an operation that was undone, or cancelled, changes nothing of it', async t => {
  const lab = await scaled(t, 2)
  lab.faults.driver = point => (point === 'clone:before' ? 'fail' : null)
  t.match(await lab.scaleTo(4), { status: 'failed' })
  t.equal(wanted(lab), 2)
  lab.faults = {}
  for (const { slot } of lab.clusters.table().clusters[0]!.members) lab.board.add(0, slot, 'inFlight', 1)
  const request = { type: 'scale_in', target_count: 1, immediate: false, drain_connections: true } as const
  const { id } = await lab.time.until(lab.scaling.start('web', request, 'ann'))
  await lab.time.until(lab.scaling.cancel(id))
  t.match(await lab.time.until(lab.scaling.wait(id, 100_000)), { status: 'cancelled' })
  t.equal(wanted(lab), 2)
})

t.test('within the policy of now', async t => {
  const lab = await scaled(t, 4)
  await lab.reconfigure({ scaling: { ...scaling, maxInstances: 3 } })
  await die(lab, ids(lab)[0]!)
  t.equal(count(lab), 3, 'who is beyond the maximum is not made again')
  await die(lab, ids(lab)[0]!)
  t.equal(count(lab), 3)
  await lab.reconfigure({ scaling: { ...scaling, maxInstances: 10 } })
  await round(lab)
  t.equal(count(lab), 4, 'as many as were wanted before it was lowered')
  await lab.reconfigure({ scaling: { ...scaling, minInstances: 5 } })
  await round(lab)
  t.equal(count(lab), 5)
  await lab.reconfigure({ scaling })
  await lab.time.pass(limits.repairProvenMs)
  await die(lab, ids(lab)[0]!)
  t.equal(count(lab), 5, 'the minimum that they were brought to was wanted too')
})

t.test('a cluster that went to zero stays there', async t => {
  const lab = await scaled(t, 2, policy({ minInstances: 0 }))
  await die(lab, ids(lab)[0]!)
  t.equal(count(lab), 2)
  await lab.scaleTo(0)
  await round(lab)
  t.equal(count(lab), 0)
  t.equal(wanted(lab), 0)
})

t.test('who asks for as many as are left has them', async t => {
  const lab = await scaled(t, 4, { nodes: [{ id: 'n1', cpus: 4 }] })
  lab.faults.driver = point => (point === 'clone:before' ? 'fail' : null)
  await die(lab, ids(lab)[0]!)
  t.equal(count(lab), 3)
  t.equal(wanted(lab), 4)
  lab.faults = {}
  await settleFor(lab, 3)
  t.match(await lab.store.history('web', 1), [{ reason: 'enough' }])
  await settleFor(lab, 3)
  for (let n = 0; n < 3; n++) await round(lab, 60_000)
  t.equal(count(lab), 3)
  await check(t, lab)
})

for (const minInstances of [1, 4])
  t.test(
    `as many as there is room for, and the rest when there is more: at least ${minInstances} are to be there`,
    async t => {
      const lab = await scaled(t, 4, { cluster: { scaling: { ...clusterConfig().scaling, minInstances } } })
      const [held] = lab.nodes
      const [first, second] = ids(lab)
      const { memoryBytes } = lab.config.instance!.resources
      const strange = { ...held!.instances.get(first!)!, name: 'strange', memory: [], identity: null }
      const owner = { ...strange.owner, installation: 'theirs' }
      const residentBytes = 64 * 2 ** 30 - 3 * memoryBytes
      held!.instances.set('strange', { ...strange, owner, residentBytes, address: null })
      await die(lab, first!, second!)
      t.equal(count(lab), 3, 'where a neighbour has taken all but the room of three')
      t.equal(wanted(lab), 4)
      held!.instances.delete('strange')
      await round(lab)
      t.equal(count(lab), 4)
      await lab.time.pass(limits.orphanGuardMs)
      await round(lab)
      await check(t, lab)
    },
  )

t.test('of a store in which nothing was kept, those who were there are wanted', async t => {
  const lab = await scaled(t, 3)
  lab.kill()
  await lab.store.write([{ put: 'value', key: 'wanted:web', value: null }])
  await lab.boot()
  await die(lab, ids(lab)[0]!)
  t.equal(count(lab), 3)
  t.equal(await lab.store.value('wanted:web'), 3)
})

t.test('who dies again and again is made ever more rarely, and somebody is told', async t => {
  const lab = await scaled(t, 2)
  const told: unknown[] = []
  lab.events.subscribe(({ event }) => {
    if (event.type === 'repairs_in_vain') told.push(event)
  })
  const [stays] = ids(lab)
  const begun: number[] = []
  lab.events.subscribe(({ event }) => {
    if (event.type === 'operation_started') begun.push(lab.time.now)
  })
  for (let passed = 0; passed < 3_600_000; passed += 10_000) {
    for (const id of ids(lab)) if (id !== stays) node(lab, id).kill(id)
    await round(lab)
  }
  const pauses = begun.slice(1).map((at, index) => Math.round((at - begun[index]!) / 10_000) * 10)
  t.strictSame(pauses.slice(0, 8), [10, 10, 20, 40, 80, 160, 300, 300])
  t.ok(begun.length < 20, `${begun.length} in an hour`)
  t.match(told[0], { cluster: 'web', in_a_row: 5, wanted: 2, pause_ms: 80_000, error: null })
  t.match(lab.scaling.report.numbers().clusters, [{ cluster: 'web', repairs: begun.length }])
  t.match(await lab.scaling.report.diagnoses(), [
    { name: 'cluster web', detail: /^1 of 2 instances; .* its instances died soon after$/, fix: /--to 1$/ },
  ])
  for (let passed = 0; passed < 1_300_000; passed += 10_000) await round(lab)
  t.equal(count(lab), 2)
  t.match(lab.scaling.report.numbers().clusters, [{ repairs: 0 }], 'this one lasts')
  t.strictSame(await lab.scaling.report.diagnoses(), [])
})

t.test('a repair that fails is tried again with the same pauses, and says why', async t => {
  const lab = await scaled(t, 2)
  lab.faults.driver = point => (point === 'clone:before' ? 'fail' : null)
  await die(lab, ids(lab)[1]!)
  for (let passed = 0; passed < 600_000; passed += 10_000) await round(lab)
  const total = (await lab.scaling.list({ cluster: 'web', limit: 100 })).length
  t.ok(total < 12, `${total} operations in ten minutes`)
  t.match(await lab.scaling.report.diagnoses(), [{ detail: /clone:before/ }])
  lab.faults = {}
  for (let passed = 0; passed < 300_000; passed += 10_000) await round(lab)
  t.equal(count(lab), 2)
})

t.test('those who die one after another, each well after the last, are made again at once', async t => {
  const lab = await scaled(t, 3)
  for (let n = 0; n < 8; n++) {
    await die(lab, ids(lab)[0]!)
    t.equal(count(lab), 3)
    await lab.time.pass(limits.repairProvenMs)
  }
})

t.test('an answer of the store that was lost does not bring back whom somebody sent away', async t => {
  const lab = await scaled(t, 4)
  let failing = false
  lab.watch.onWrite = batch => {
    if (batch.some(write => 'delete' in write && write.delete === 'instance')) failing = true
  }
  // The journal's write is tried three times; the first was taken and nobody heard of it.
  let lost = 0
  lab.faults.store = () => (failing && lost++ < 8 ? 'fail' : null)
  const request = { type: 'scale_in', target_count: 2, immediate: true, drain_connections: true } as const
  await lab.time.until(lab.scaling.start('web', request, 'ann'))
  await lab.time.pass(60_000)
  lab.watch = {}
  lab.faults = {}
  for (let n = 0; n < 4; n++) await round(lab)
  t.equal(wanted(lab), 2)
  t.equal(count(lab), 2)
  await check(t, lab)
})
