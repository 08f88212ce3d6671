/** The lines that mutations leave in the history: with their effect in one transaction, or before it where no transaction reaches. */
import t from 'tap'
import type { Command } from '../../../lib/command.ts'
import { Audit } from '../../../lib/control/audit.ts'
import { Control, type ControlDeps } from '../../../lib/control.ts'
import { silentLog as log } from '../../../lib/log.ts'
import type { Write } from '../../../lib/store/store.ts'
import { Lab } from '../../support/scaling-lab.ts'

/** Of a batch: what it writes, in short; and the line in it. */
const kindsIn = (batch: readonly Write[]) =>
  batch.map(write => {
    if ('delete' in write) return `no ${write.delete}`
    return write.put === 'journal' ? write.record.kind : write.put
  })

async function started() {
  const lab = new Lab()
  t.equal(await lab.boot(), true)
  const clock = lab.time.connect(() => true)
  const { clusters, scaling, store, events } = lab
  const audit = new Audit({ store, clock, log })
  const deps = { clusters, scaling, store, events, clock, log, audit, nodes: () => [] }
  const control = new Control(deps as unknown as ControlDeps)
  const batches: (readonly Write[])[] = []
  lab.watch.onWrite = batch => batches.push(batch)
  const execute = (command: Command) => lab.time.until(control.execute(command, 'ann'))
  const lines = async (action: string) =>
    (await store.history(null, 100)).filter(one => one.action === action)
  /** The one with that action, and what went with it. */
  const withLine = (action: string) => {
    const found = batches.find(batch =>
      batch.some(write => 'put' in write && write.put === 'history' && write.record.action === action),
    )
    return found ? kindsIn(found) : []
  }
  const begin = (target_count: number) =>
    lab.time.until(
      lab.scaling.start(
        'web',
        { type: 'scale_out', target_count, immediate: false, drain_connections: true },
        'test',
      ),
    )
  const round = async () => {
    await lab.time.pass(60_000)
    await lab.time.until(lab.scaling.reconcile())
  }
  return { lab, node: lab.nodes[0]!, execute, lines, withLine, begin, round }
}

t.test('cancelling: with the entry that cancels, from which phase; asked twice, twice', async t => {
  const { lab, execute, lines, withLine, begin } = await started()
  lab.faults.driver = point => (point === 'clone:running' ? 'hang' : null)
  const { id } = await begin(2)
  await lab.time.pass(1_000)
  await execute({ kind: 'cancel_operation', operation: id })
  t.strictSame(withLine('cancel_operation'), ['history', 'cancel_requested'])
  t.match(await lines('cancel_operation'), [
    { cluster: 'web', actor: 'ann', operation: id, from: 'preparing', to: 'rolling_back', outcome: 'done' },
  ])
  await execute({ kind: 'cancel_operation', operation: id })
  t.equal((await lines('cancel_operation')).length, 2)
  await lab.time.until(lab.settle())
  await t.rejects(execute({ kind: 'cancel_operation', operation: id }), { code: 'operation_not_cancellable' })
  t.match(await lines('cancel_operation'), [{ outcome: 'refused' }, { outcome: 'done' }, { outcome: 'done' }])
  await lab.close()
})

t.test('acknowledging: with the end of the operation', async t => {
  const { lab, execute, lines, withLine } = await started()
  lab.faults.driver = point =>
    point === 'clone:tagged' ? 'abandon' : point.startsWith('destroy:') ? 'fail' : null
  const { id, status } = await lab.scaleTo(2)
  t.equal(status, 'stuck')
  await execute({ kind: 'acknowledge_operation', operation: id })
  t.strictSame(withLine('acknowledge_operation'), ['history', 'acknowledged', 'operation', 'history'])
  t.match(await lines('acknowledge_operation'), [
    { cluster: 'web', actor: 'ann', operation: id, from: 'stuck', to: 'failed', outcome: 'done' },
  ])
  await lab.close()
})

t.test('protecting: with the record', async t => {
  const { lab, execute, lines, withLine } = await started()
  const { id } = lab.backends()[0]!
  await execute({ kind: 'protect_backend', cluster: 'web', backend: id, protected: true })
  t.strictSame(withLine('protect_backend'), ['instance', 'history'])
  t.match(await lines('protect_backend'), [
    {
      cluster: 'web',
      actor: 'ann',
      from: false,
      to: true,
      reason: `Protected instance ${id}`,
      outcome: 'done',
    },
  ])
  await lab.close()
})

t.test('removing a snapshot: before it goes, and where that cannot be written it stays', async t => {
  const { lab, node, execute, lines } = await started()
  const owner = { installation: 'ours', cluster: 'web', operation: 'before' }
  const one = { createdAtMs: 0, source: 'web-a', bytes: 1, complete: true, memory: [] }
  node.snapshots.set('spare', { name: 'spare', owner, ...one })
  const remove = () => execute({ kind: 'remove_snapshot', snapshot: 'spare' })
  lab.faults.store = () => 'fail'
  await t.rejects(remove(), { code: 'store_unavailable' })
  t.ok(node.snapshots.has('spare'))
  let before: Promise<number> | null = null
  lab.faults = {
    driver: point => {
      if (point === 'destroy:before') before = lines('remove_snapshot').then(found => found.length)
      return null
    },
  }
  await remove()
  t.equal(await before, 1)
  t.notOk(node.snapshots.has('spare'))
  t.match(await lines('remove_snapshot'), [
    { cluster: 'web', node: 'n1', actor: 'ann', from: 'spare', to: null, outcome: 'done' },
  ])
  await lab.close()
})

t.test('orphans: by whom and of which operation, before they go, once; and who was left paused', async t => {
  const { lab, node, lines, round } = await started()
  const owner = { installation: 'ours', cluster: 'web', operation: 'lost' }
  const [member] = node.instances.values()
  node.instances.set('stray', { ...member!, name: 'stray', owner, address: null, createdAtMs: 0 })
  const counts: Promise<number>[] = []
  lab.faults.driver = point => {
    if (point !== 'destroy:before') return null
    counts.push(lines('destroy_orphan').then(found => found.length))
    return counts.length < 3 ? 'fail' : null
  }
  await round()
  await round()
  t.ok(node.instances.has('stray'))
  member!.state = 'paused'
  await round()
  t.notOk(node.instances.has('stray'))
  t.strictSame(await Promise.all(counts), [1, 1, 1])
  t.match(await lines('destroy_orphan'), [
    {
      cluster: 'web',
      node: 'n1',
      actor: 'reconcile',
      from: 'stray',
      to: null,
      reason: /operation lost made/,
    },
  ])
  t.match(await lines('resume'), [
    { cluster: 'web', node: 'n1', actor: 'reconcile', from: 'paused', to: 'running', reason: /^Resumed / },
  ])
  lab.faults.store = () => 'fail'
  node.instances.set('stray', { ...member!, name: 'stray', owner, address: null, createdAtMs: 0 })
  await round()
  t.ok(node.instances.has('stray'), 'without a line nothing goes')
  await lab.close()
})
