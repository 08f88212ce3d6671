/** The journal writes nothing that what it holds has not led to, and nothing that would lead from a phase to one that may not follow. */
import t from 'tap'
import type { Clusters } from '../../../lib/cluster/clusters.ts'
import { Events } from '../../../lib/events.ts'
import { silentLog } from '../../../lib/log.ts'
import { Journal } from '../../../lib/scaling/journal.ts'
import type { RecipeShape } from '../../../lib/scaling/next.ts'
import { recipes } from '../../../lib/scaling/recipes.ts'
import type { Hands } from '../../../lib/scaling/rolling/parts.ts'
import { shapeOf } from '../../../lib/scaling/runner.ts'
import { rollingRecipe } from '../../../lib/scaling/steps/rolling.ts'
import { createWorld } from '../../../lib/scaling/world.ts'
import { createMemoryStore } from '../../../lib/store/memory.ts'
import type { JournalEntry, OperationRecord } from '../../../lib/store/store.ts'
import { VirtualTime } from '../../support/virtual-time.ts'

const told = { instances: [], items: [], snapshots: [], by: [], replaced: [] }

/** With `before` written: pairs `step:kind`. */
async function journalOf(shape: RecipeShape, type: OperationRecord['type'], before = '') {
  const clock = new VirtualTime().connect(() => true)
  const store = createMemoryStore()
  const world = createWorld(
    {
      ...{ nodes: [], store, clock, log: silentLog, installation: 'ours' },
      ...{ clusters: null as unknown as Clusters, events: new Events(clock.now, 100) },
    },
    null as unknown as Hands,
  )
  const record: OperationRecord = {
    ...{ id: 'o', cluster: 'web', type, request: {}, actor: 'test' },
    ...{ createdAtMs: clock.now(), endedAtMs: null, outcome: null },
  }
  await store.write([{ put: 'operation', record }])
  const journal = new Journal(world, shape, record, [])
  for (const pair of before.split(' ').filter(Boolean)) await write(journal, pair)
  return { journal, store }
}

function write(journal: Journal, pair: string): Promise<void> {
  const [step, kind] = pair.split(':') as [string, JournalEntry['kind']]
  return journal.append(step, kind, kind === 'done' ? told : {})
}

const rolling = rollingRecipe({ batches: [['a'], ['b']] } as unknown as Parameters<typeof rollingRecipe>[0])
const validated = 'validate:started validate:done'
const collected = `${validated} collect_metrics:started collect_metrics:done`
const refusals: readonly [type: OperationRecord['type'], before: string, then: string, why: string][] = [
  ['scale_out', '', 'plan:started', 'begins in the middle'],
  ['scale_out', validated, 'register:started', 'leaves out what is between'],
  ['scale_out', validated, 'validate:started', 'begins again what is done'],
  ['scale_out', validated, 'plan:done', 'was not begun'],
  ['scale_out', validated, 'validate:reverting', 'nothing failed'],
  ['scale_out', validated, 'restore:reverting', 'nothing was undone'],
  ['scale_out', `${collected} recover:failed`, 'plan:started', 'goes on while it is undone'],
  ['scale_out', `${collected} recover:failed`, 'stuck:stuck', 'stands still without having tried'],
  ['scale_out', validated, 'clone:levitated', 'is of no kind'],
  ['scale_in', collected, 'allocate:started', 'of another recipe'],
  ['resize', collected, 'resize:started', 'is not planned'],
  ['failover', collected, 'clone:started', 'is not planned'],
  ['rolling_replace', 'collect_metrics:started collect_metrics:done', 'batch_1:started', 'is not planned'],
  ['rolling_replace', 'collect_metrics:started collect_metrics:done', 'finalize:done', 'has no batches'],
]
for (const [type, before, then, why] of refusals)
  t.test(`${type}: ${then} after ${before.split(' ').at(-1) || 'nothing'} ${why}`, async t => {
    const shape = shapeOf(type === 'rolling_replace' ? rolling : recipes[type])
    const { journal, store } = await journalOf(shape, type, before)
    const entries = journal.entries.length
    await t.rejects(write(journal, then), { code: 'internal', details: { operation_id: 'o' } })
    t.equal(journal.entries.length, entries)
    t.equal((await store.journal('o')).length, entries, 'nothing is written')
  })

t.test('what may be said twice is', async t => {
  const shape = shapeOf(rolling)
  const before = 'collect_metrics:started collect_metrics:started collect_metrics:done plan:started plan:done'
  const { journal } = await journalOf(shape, 'rolling_replace', before)
  await write(journal, 'batch_1:started')
  await write(journal, 'batch_1:started')
  await write(journal, 'cancel:cancel_requested')
  await write(journal, 'cancel:cancel_requested')
  await write(journal, 'batch_1:failed')
  await write(journal, 'batch_1:reverting')
  await write(journal, 'batch_1:reverting')
  await write(journal, 'batch_1:reverted')
  t.equal(journal.record.outcome, null)
})

t.test('a phase that cannot follow: a journal of another order is refused by its phase', async t => {
  // Whoever would build a recipe that ends where it should not hears of it.
  const shape: RecipeShape = { steps: [{ name: 'warm_up', undoable: false }], pivot: 'warm_up' }
  const { journal, store } = await journalOf(shape, 'scale_out')
  await t.rejects(write(journal, 'warm_up:started'), {
    code: 'internal',
    message: 'operation o is requested and cannot be finalizing next',
  })
  t.strictSame(await store.journal('o'), [])
})

t.test('after its end nothing', async t => {
  const { journal } = await journalOf(
    shapeOf(recipes.scale_out),
    'scale_out',
    'cancel:cancel_requested restore:reverting restore:reverted',
  )
  t.equal(journal.record.outcome, 'cancelled')
  await t.rejects(write(journal, 'validate:started'), { code: 'internal' })
  await t.rejects(write(journal, 'cancel:cancel_requested'), { code: 'operation_not_cancellable' })
})

t.test('an operation is in the store with its first step begun, or it is not', async t => {
  const clock = new VirtualTime().connect(() => true)
  const store = createMemoryStore()
  const batches: number[] = []
  const counting = {
    ...store,
    write: async (batch: Parameters<typeof store.write>[0]) => {
      await store.write(batch)
      batches.push(batch.length)
    },
  }
  const events = new Events(clock.now, 100)
  const seen: string[] = []
  events.subscribe(({ event }) => seen.push(event.type))
  const world = createWorld(
    {
      ...{ nodes: [], store: counting, clock, log: silentLog, installation: 'ours' },
      ...{ clusters: null as unknown as Clusters, events },
    },
    null as unknown as Hands,
  )
  const record: OperationRecord = {
    ...{ id: 'o', cluster: 'web', type: 'scale_out', request: { target_count: 2 }, actor: 'test' },
    ...{ createdAtMs: clock.now(), endedAtMs: null, outcome: null },
  }
  const journal = new Journal(world, shapeOf(recipes.scale_out), record, [])
  await journal.begin('validate', {})
  t.strictSame(batches, [2], 'one transaction')
  t.strictSame(await store.operation('o'), record)
  t.match(await store.journal('o'), [{ seq: 1, step: 'validate', kind: 'started' }])
  t.strictSame(seen, ['operation_started', 'operation_step'])
  await journal.append('validate', 'done', told)
  t.match(await store.journal('o'), [{ seq: 1 }, { seq: 2, kind: 'done' }])
})
