/** Clones that stand by, and what happens when an instance dies that has one: a whole controller over fake nodes. */
import t from 'tap'
import { limits } from '../../../../lib/scaling/limits.ts'
import { check } from '../../../support/scaling-check.ts'
import { Lab, type LabOptions } from '../../../support/scaling-lab.ts'

const wait = {
  idleAfterMs: Number.POSITIVE_INFINITY,
  maxWaiting: 10,
  waitTimeoutMs: 10_000,
  afterFailure: true,
} as const
const standby = (count: number) => ({
  scaleToZero: null,
  warmPool: null,
  clones: { count, refresh: '* * * * *', wait },
})
const options = (count = 1): LabOptions => ({
  cluster: { standby: standby(count), affinity: { method: 'cookie', name: 'tidegate', ttlSeconds: 3600 } },
})

async function started(over: LabOptions = options()) {
  const lab = new Lab(over)
  t.equal(await lab.boot(), true)
  const node = lab.nodes[0]!
  /** What clients have put there. */
  const memory = (name: string | undefined) =>
    node.instances.get(name!)!.memory.filter(text => !text.startsWith('booted'))
  const look = () => lab.time.until(lab.scaling.readiness.keepReady())
  const members = () => lab.backends().map(({ id }) => id)
  const others = () => [...node.instances.keys()].filter(name => !members().includes(name))
  const table = () => lab.clusters.table().clusters[0]!
  const die = async (id: string) => {
    node.kill(id)
    await lab.time.until(lab.scaling.reconcile())
    await lab.time.until(lab.settle())
  }
  /** What is left of the dead is guarded for half a minute. */
  const later = async () => {
    await lab.time.pass(60_000)
    await lab.time.until(lab.scaling.reconcile())
    await lab.time.until(lab.settle())
  }
  return { lab, node, memory, look, members, others, table, die, later }
}

t.test(
  'a clone stands by, verified and paused, in nobody’s table; refreshing makes another and then drops it',
  async t => {
    const { lab, node, memory, look, members, others, table } = await started()
    const [primary] = members()
    node.instances.get(primary!)!.memory.push('first')
    await look()
    const [first] = others()
    t.match(node.instances.get(first!), {
      state: 'paused',
      identity: { clonedFrom: { instanceId: primary } },
    })
    t.equal(node.snapshots.size, 0, 'its snapshot has served')
    t.strictSame(members(), [primary])
    t.strictSame(table().guarded, [lab.backends()[0]!.incarnation])
    const generation = lab.clusters.generation()
    await look()
    t.strictSame(others(), [first], 'nothing is due')
    node.instances.get(primary!)!.memory.push('second')
    await lab.time.pass(1_000)
    lab.scaling.readiness.refresh('web')
    await look()
    const [second] = others()
    t.not(second, first)
    t.strictSame(memory(second), ['first', 'second'])
    t.equal(node.instances.has(first!), false)
    t.equal(lab.clusters.generation(), generation, 'the table says what it said')
    await check(t, lab)
    await lab.close()
  },
)

t.test(
  'it takes the place of its dead instance in one generation, with the memory of its refresh',
  async t => {
    const { lab, node, memory, look, members, others, table, die } = await started()
    const [primary] = members()
    node.instances.get(primary!)!.memory.push('a session')
    await look()
    const [clone] = others()
    node.instances.get(primary!)!.memory.push('later')
    const generation = lab.clusters.generation()
    await die(primary!)
    t.strictSame(members(), [clone])
    t.equal(lab.clusters.generation(), generation + 1)
    t.match(node.instances.get(clone!), { state: 'running' })
    t.strictSame(memory(clone), ['a session'])
    const [operation] = await lab.scaling.list({ cluster: 'web' })
    t.match(operation, { type: 'failover', status: 'completed', actor: 'reconcile' })
    t.match(await lab.store.history('web', 1), [
      { reason: `${clone} took the place of ${primary}, which died` },
    ])
    const record = lab.scaling.instance(clone!)!
    t.match(record, { origin: 'cloned', lineage: [{ instance: primary, asOfMs: Number }] })
    t.match(table().lost, [{ id: primary }])
    t.match(table().members, [{ id: clone, lineage: [{ instance: primary }] }])
    t.notOk(node.instances.has(primary!), 'what was left of the dead is gone')
    await look()
    t.equal(others().length, 1, 'another stands by for it')
    t.strictSame(table().guarded, [record.incarnation])
    await check(t, lab)
    await lab.close()
  },
)

t.test(
  'a restart keeps who stands by, also when the instance died meanwhile; of a half-made one nothing is left',
  async t => {
    const { lab, node, memory, look, members, others } = await started()
    const [primary] = members()
    node.instances.get(primary!)!.memory.push('a session')
    await look()
    const [clone] = others()
    lab.kill()
    node.kill(primary!)
    await lab.boot()
    await lab.time.until(lab.scaling.reconcile())
    await lab.time.until(lab.settle())
    t.strictSame(members(), [clone])
    t.strictSame(memory(clone), ['a session'])
    lab.faults.driver = point => (point === 'clone:half' ? 'crash' : null)
    await lab.survive(() => lab.scaling.readiness.keepReady())
    lab.faults = {}
    if (!lab.alive) await lab.boot()
    t.equal(node.snapshots.size, 0)
    await look()
    t.equal(others().length, 1)
    await check(t, lab)
    await lab.close()
  },
)

t.test(
  'the freshest has its turn, the next when it does not serve, and without any the dead leave as ever',
  async t => {
    const { lab, node, look, members, others, die } = await started(options(2))
    const [primary] = members()
    await look()
    const [older] = others()
    await lab.time.pass(1_000)
    await look()
    t.equal(others().length, 2)
    const fresh = others().find(name => name !== older)!
    node.instances.get(fresh)!.healthy = false
    await die(primary!)
    await lab.time.until(lab.scaling.reconcile())
    await lab.time.until(lab.settle())
    t.strictSame(members(), [older])
    t.notOk(node.instances.has(fresh))
    await die(older!)
    t.equal(members().length, 1)
    const lines = (await lab.store.history('web', 3)).map(({ action }) => action)
    t.strictSame(lines, ['scale_out', 'destroy_orphan', 'remove_dead'])
    await check(t, lab)
    await lab.close()
  },
)

t.test('a clone that died with its instance is named, and not looked for among snapshots', async t => {
  const { lab, node, look, members, others, die, later } = await started()
  const [primary] = members()
  await look()
  const [clone] = others()
  node.kill(clone!)
  await die(primary!)
  const failover = (await lab.scaling.list({ cluster: 'web' })).find(({ type }) => type === 'failover')
  t.match(failover, {
    status: 'failed',
    error: { code: 'instance_died', message: new RegExp(`${clone} that stood by for instance ${primary}`) },
  })
  await later()
  t.equal(members().length, 1, 'another is made')
  await check(t, lab)
  await lab.close()
})

t.test('a clone that does not wake at once is asked again: nobody else has what it has', async t => {
  const { lab, node, memory, look, members, others, die } = await started()
  const [primary] = members()
  node.instances.get(primary!)!.memory.push('a session')
  await look()
  const [clone] = others()
  let refused = 0
  lab.faults.driver = point => (point === 'resume:before' && refused++ < 3 ? 'fail' : null)
  await die(primary!)
  t.ok(refused > 3)
  t.strictSame(members(), [clone])
  t.strictSame(memory(clone), ['a session'])
  await check(t, lab)
  await lab.close()
})

t.test('one that stays silent is given up after a while, and the failover says why', async t => {
  const { lab, node, look, members, others, die, later } = await started()
  const [primary] = members()
  await look()
  const [clone] = others()
  lab.faults.driver = (point, name) => (point === 'resume:before' && name === clone ? 'fail' : null)
  const before = lab.time.now
  await die(primary!)
  const failover = (await lab.scaling.list({ cluster: 'web' })).find(({ type }) => type === 'failover')
  t.match(failover, { status: 'failed', error: { code: 'hypervisor_failed' } })
  t.ok(lab.time.now - before >= limits.wakeMs)
  await later()
  t.equal(members().length, 1, 'another is made')
  t.notOk(node.instances.has(clone!))
  await check(t, lab)
  await lab.close()
})

t.test('what a clone was made of goes, also when the process ended before it could', async t => {
  const { lab, node, others } = await started()
  lab.faults.driver = (point, name) => (point === 'destroy:before' && name.endsWith('-s') ? 'crash' : null)
  t.equal(await lab.survive(() => lab.scaling.readiness.keepReady()), false)
  lab.faults = {}
  await lab.boot()
  t.equal(node.snapshots.size, 1)
  await lab.time.pass(60_000)
  await lab.time.until(lab.scaling.reconcile())
  t.equal(node.snapshots.size, 0)
  t.equal(others().length, 1, 'the clone stands by all the same')
  await check(t, lab)
  await lab.close()
})

t.test(
  'it is counted at the size its instance had when it was saved, and that is what it has from then on',
  async t => {
    const { lab, look, members, others, die } = await started({
      ...options(),
      nodes: [{ id: 'n1', cpus: 4 }],
    })
    const [primary] = members()
    const resize = (cpus: number) =>
      lab.operate({ type: 'resize', instance_id: primary!, resources: { cpus } })
    t.match(await resize(3), { status: 'completed' })
    await look()
    t.strictSame(others(), [], 'no room for one of 3')
    t.match(await resize(2), { status: 'completed' })
    await lab.time.pass(300_000)
    await look()
    t.equal(others().length, 1)
    await t.rejects(lab.scaleTo(2), {
      code: 'no_capacity',
      details: { candidates: [{ why: 'no room: cpus 0 of 2' }] },
    })
    t.match(await resize(1), { status: 'completed' })
    const [clone] = others()
    await die(primary!)
    t.strictSame(members(), [clone])
    t.equal(lab.scaling.instance(clone!)?.resources?.cpus, 2)
    await check(t, lab)
    await lab.close()
  },
)

t.test('a memory that ends its instances is handed on ever more rarely, with an alarm', async t => {
  const { lab, look, members, die } = await started()
  const told: unknown[] = []
  lab.events.subscribe(({ event }) => {
    if (event.type === 'repairs_in_vain') told.push(event)
  })
  /** Its clone stands by, it lives on for a while and dies: what is done about it. */
  const next = async (livesMs: number) => {
    await look()
    await lab.time.pass(livesMs)
    await die(members()[0]!)
    return (await lab.scaling.list({ cluster: 'web', limit: 1 }))[0]?.type
  }
  t.equal(await next(0), 'failover')
  t.equal(await next(0), 'failover', 'once is no row')
  t.strictSame(told, [])
  t.equal(await next(0), 'scale_out', 'the second in a row at once: another is made')
  const [first] = told
  t.match(first, { in_a_row: 2, pause_ms: 5_000, error: { code: 'instance_died', message: /is the last/ } })
  await lab.time.pass(60_000)
  for (const livesMs of [0, 0, 5_000, 10_000, 20_000, 40_000])
    t.equal(await next(livesMs), 'failover', `after ${livesMs} ms`)
  t.match(told.slice(1), [{ in_a_row: 6, pause_ms: 80_000 }])
  t.equal(await next(70_000), 'scale_out')
  t.equal(told.length, 3)
  await lab.time.pass(60_000)
  t.equal(await next(0), 'failover')
  t.equal(await next(60_000), 'failover', 'it lasted')
  t.equal(await next(0), 'failover', 'and begins anew')
  t.equal(told.length, 3)
  await check(t, lab)
  await lab.close()
})

t.test('failovers that fail, again and again, are repairs that do not last', async t => {
  const { lab, node, look, members, die } = await started()
  const told: unknown[] = []
  lab.events.subscribe(({ event }) => {
    if (event.type === 'repairs_in_vain') told.push(event)
  })
  const made: number[] = []
  for (let round = 0; round < 7; round++) {
    await look()
    for (const one of node.instances.values()) if (one.state === 'paused') one.healthy = false
    await die(members()[0]!)
    while (!members().some(id => node.instances.get(id)?.state === 'running')) {
      await lab.time.pass(1_000)
      await lab.time.until(lab.scaling.reconcile())
      await lab.time.until(lab.settle())
    }
    made.push(lab.time.now)
  }
  const failed = (await lab.scaling.list({ cluster: 'web' })).filter(({ type }) => type === 'failover')
  t.strictSame([...new Set(failed.map(({ status }) => status))], ['failed'])
  const waits = made.slice(1).map((at, index) => at - made[index]!)
  t.ok(waits.at(-1)! > 40_000, `pauses: ${waits}`)
  t.match(told, [{ in_a_row: 5 }])
  await lab.close()
})

t.test('who leaves takes its clones along, and nobody who asks for none has any', async t => {
  const { lab, look, others } = await started()
  await lab.scaleTo(2)
  await look()
  await look()
  t.equal(others().length, 2, 'one for each')
  await lab.scaleTo(1)
  await look()
  t.equal(others().length, 1)
  await check(t, lab)
  await lab.close()
  const none = await started({})
  await none.look()
  t.strictSame(none.others(), [])
  await none.lab.close()
})
