/** What stands ready: golden snapshots built in the background, and warm pools, over fake nodes in virtual time. */
import t from 'tap'
import { goldenKey } from '../../../../lib/scaling/facts.ts'
import { poolKey } from '../../../../lib/scaling/readiness/pool.ts'
import { Lab, type LabOptions } from '../../../support/scaling-lab.ts'

const { instance, scaling } = new Lab().config
const warmPool = { size: 2, state: 'paused' } as const
const golden = { ...instance!, cloneFrom: 'golden' as const }

async function started(over: LabOptions['cluster'] = {}, nodes?: LabOptions['nodes']) {
  const cluster = { instance: golden, standby: { scaleToZero: null, warmPool }, ...over }
  const lab = new Lab({ cluster, ...(nodes ? { nodes } : {}) })
  await lab.boot()
  const node = lab.nodes[0]!
  const look = async (times = 1) => {
    for (let i = 0; i < times; i++) await lab.time.until(lab.scaling.readiness.keepReady())
  }
  const warm = async () => (await lab.time.until(lab.scaling.readiness.view('web'))).warm_pool!.instances
  const states = () => [...node.instances.values()].map(({ state }) => state).sort()
  return { lab, node, look, warm, states }
}

t.test('a pool is filled one at a time, and scale_out takes from it first', async t => {
  const { lab, node, look, warm, states } = await started()
  await look()
  t.strictSame(states(), ['paused', 'running'])
  await look(3)
  t.strictSame(states(), ['paused', 'paused', 'running'], 'and no more than its size')
  const kept = await warm()
  for (const name of kept) t.equal(node.instances.get(name)!.identity, null, 'nobody yet')
  await lab.time.pass(60_000)
  await lab.time.until(lab.scaling.reconcile())
  t.equal(node.instances.size, 3, 'the collector of orphans leaves it alone, and nobody resumes it')
  t.strictSame(states(), ['paused', 'paused', 'running'])

  const cloned: string[] = []
  lab.faults.driver = (point, name) => {
    if (point === 'clone:before') cloned.push(name)
    return null
  }
  const operation = await lab.scaleTo(4)
  t.match(operation, { status: 'completed', error: null })
  t.equal(cloned.length, 1, 'two were there already')
  t.ok(kept.every(name => operation.instances.includes(name)))
  for (const name of kept) t.match(node.instances.get(name)!.identity, { reason: 'cloned', instanceId: name })
  t.strictSame(await warm(), [])
  t.equal(lab.backends().filter(({ state }) => state === 'ready').length, 4)
  await look(2)
  t.equal((await warm()).length, 2, 'filled again')
  await lab.close()
})

t.test('an operation that fails ends what it took, and the pool is filled again', async t => {
  const { lab, node, look, warm } = await started()
  await look(2)
  lab.faults.driver = point => (point === 'identify:told' ? 'fail' : null)
  t.match(await lab.scaleTo(3), { status: 'failed' })
  lab.faults = {}
  t.equal(node.instances.size, 1)
  t.strictSame(await warm(), [])
  await look(2)
  t.equal((await warm()).length, 2)
  await lab.close()
})

t.test('a warm instance that died is replaced by an ordinary clone', async t => {
  const { lab, node, look, warm } = await started()
  await look(2)
  const [dead] = await warm()
  node.kill(dead!)
  const operation = await lab.scaleTo(3)
  t.match(operation, { status: 'completed', error: null })
  t.equal(lab.backends().length, 3)
  await look(2)
  node.kill((await warm())[0]!)
  await look(2)
  t.equal((await warm()).length, 2, 'one that died in the pool is made good')
  t.equal(node.instances.size, 5)
  await lab.close()
})

t.test('a restart adopts the pool; what was half made goes', async t => {
  for (const point of ['clone:before', 'clone:tagged', 'clone:running', 'pause:before', 'pause:after']) {
    const { lab, node, look, warm } = await started()
    await look()
    const [first] = await warm()
    lab.faults.driver = at => (at === point ? 'crash' : null)
    t.equal(await lab.survive(() => lab.scaling.readiness.keepReady()), false, `crashed at ${point}`)
    lab.faults = {}
    await lab.boot()
    t.strictSame(await warm(), [first], 'the whole one stays')
    t.equal(node.instances.size, 2)
    t.match(await lab.scaleTo(2), { instances: [first] })
    await lab.close()
  }
})

t.test('a crash at any write of an operation that takes from the pool loses and ends nobody', async t => {
  for (let write = 1; write < 40; write++) {
    const { lab, node, look, warm } = await started()
    await look(2)
    const from = lab.writes
    lab.faults.store = (moment, n) => (moment === 'after' && n === from + write ? 'crash' : null)
    const survived = await lab.survive(async () => {
      const { id } = await lab.scaling.start('web', { ...grow, target_count: 2 }, 'test')
      await lab.scaling.wait(id, 3_600_000)
    })
    lab.faults = {}
    if (survived) {
      await lab.close()
      break
    }
    await lab.boot()
    await lab.time.pass(60_000)
    await lab.time.until(lab.scaling.reconcile())
    const held = [...node.instances.keys()].sort()
    const owned = [...(await warm()), ...lab.backends().map(({ id }) => id)].sort()
    t.strictSame(held, owned, `after write ${write}: held is owned`)
    t.strictSame(lab.violations, [])
    await lab.close()
  }
})

t.test('a pool of another golden snapshot is superseded', async t => {
  const { lab, node, look, warm } = await started()
  await look(2)
  const before = await warm()
  const value = (await lab.store.value(goldenKey('web'))) as object
  await lab.store.write([{ put: 'value', key: goldenKey('web'), value: { ...value, inputs: 'of before' } }])
  await look(3)
  const after = await warm()
  t.equal(after.length, 2)
  t.notOk(after.some(name => before.includes(name)))
  t.equal(node.instances.size, 3)
  await lab.close()
})

t.test(
  'from nothing: the golden snapshot is built in the background, and the first one is from the pool',
  async t => {
    const wake = { idleAfterMs: 10_000, maxWaiting: 10, waitTimeoutMs: 30_000 }
    const { lab, node, look, warm } = await started({
      scaling: { ...scaling, minInstances: 0 },
      standby: { scaleToZero: wake, warmPool: { size: 1, state: 'ready' } },
    })
    await look()
    t.match(await lab.store.value(goldenKey('web')), { snapshot: /-golden$/ })
    t.equal(node.instances.size, 0, 'what it was made of is gone')
    await look()
    t.equal([...node.instances.values()][0]?.state, 'running', 'ready, not paused')
    const [first] = await warm()
    await lab.time.until(lab.scaling.readiness.wanted('web'))
    await lab.time.until(lab.settle())
    t.match(lab.backends(), [{ id: first, state: 'ready' }])
    await lab.close()
  },
)

t.test('no room for a warm one: it is tried again after a pause', async t => {
  const { lab, node, look } = await started({}, [{ id: 'n1', cpus: 1 }])
  let asked = 0
  lab.faults.driver = point => {
    if (point === 'inspect:before') asked++
    return null
  }
  await look()
  const first = asked
  await look(5)
  t.equal(asked, first)
  await lab.time.pass(6_000)
  await look()
  t.ok(asked > first)
  t.equal(node.instances.size, 1)
  t.strictSame(await lab.store.value(poolKey('web')), null)
  await lab.close()
})

const grow = { type: 'scale_out', immediate: false, drain_connections: true } as const

t.test('a warm instance is asked its health check before it is paused', async t => {
  const { lab, node, look, states } = await started()
  const asked: string[] = []
  lab.watch.onWell = (_, incarnation) => {
    if (incarnation === null) asked.push(states().join(' '))
  }
  await look()
  t.ok(asked.includes('running running'), 'while it ran')
  t.strictSame(states(), ['paused', 'running'])
  t.equal(node.instances.size, 2)
  await lab.close()
})
