/** What every store keeps, said once. An implementation's own test calls this with a way to make an empty one. */
import type { Test } from 'tap'
import type { Retention } from '../../../lib/store/retention.ts'
import type {
  HistoryRecord,
  InstanceRecord,
  JournalEntry,
  OperationRecord,
  Store,
  Write,
} from '../../../lib/store/store.ts'
import { drainPolicy } from '../../support/drain-policy.ts'

export const operation = (over: Partial<OperationRecord> = {}): OperationRecord => ({
  id: 'op1',
  cluster: 'web',
  type: 'scale_out',
  request: { target_count: 3, immediate: false },
  actor: 'test',
  createdAtMs: 1_000,
  endedAtMs: null,
  outcome: null,
  ...over,
})

export const entry = (seq: number, over: Partial<JournalEntry> = {}): JournalEntry => ({
  operation: 'op1',
  seq,
  step: 'clone',
  kind: 'started',
  data: { names: ['a', 'b'], nothing: null, deep: [{ x: 1.5 }] },
  atMs: 1_000 + seq,
  ...over,
})

const instance = (id: string, over: Partial<InstanceRecord> = {}): InstanceRecord => ({
  id,
  cluster: 'web',
  node: 'n1',
  incarnation: 'i1',
  address: { host: '127.0.0.1', port: 20_000 },
  operation: 'op1',
  origin: 'cloned',
  createdAtMs: 5,
  ...over,
})

const line = (reason: string, over: Partial<HistoryRecord> = {}): HistoryRecord => ({
  cluster: 'web',
  atMs: 1,
  actor: 'test',
  from: 1,
  to: 2,
  reason,
  ...over,
})

export type MakeStore = (t: Test, retention?: Retention) => Promise<Store>

export async function storeContract(t: Test, make: MakeStore): Promise<void> {
  await t.test('an empty store has nothing', async t => {
    const store = await make(t)
    t.strictSame(await store.operations({}), [])
    t.equal(await store.operation('op1'), null)
    t.strictSame(await store.journal('op1'), [])
    t.strictSame(await store.membership(), { instances: [], backends: [], marks: [] })
    t.strictSame(await store.history('web', 10), [])
    t.equal(await store.value('installation'), null)
  })

  await t.test('an operation and its journal come back as they went in', async t => {
    const store = await make(t)
    await store.write([
      { put: 'operation', record: operation() },
      { put: 'journal', record: entry(1) },
    ])
    await store.write([{ put: 'journal', record: entry(2, { kind: 'done', data: null }) }])
    const ended = operation({ endedAtMs: 2_000, outcome: 'completed' })
    await store.write([
      { put: 'journal', record: entry(3, { kind: 'cancel_requested', data: 'é ☃' }) },
      { put: 'operation', record: ended },
    ])
    t.strictSame(await store.operation('op1'), ended)
    t.strictSame(await store.journal('op1'), [
      entry(1),
      entry(2, { kind: 'done', data: null }),
      entry(3, { kind: 'cancel_requested', data: 'é ☃' }),
    ])
  })

  await t.test('operations: newest first, filtered, bounded', async t => {
    const store = await make(t)
    const write = (id: string, over: Partial<OperationRecord>): Write => ({
      put: 'operation',
      record: operation({ id, ...over }),
    })
    await store.write([
      write('a', { createdAtMs: 1 }),
      write('b', { createdAtMs: 3, cluster: 'api', endedAtMs: 4, outcome: 'failed' }),
      write('c', { createdAtMs: 2 }),
      write('d', { createdAtMs: 2 }),
    ])
    const ids = async (filter: Parameters<Store['operations']>[0]) =>
      (await store.operations(filter)).map(record => record.id)
    t.strictSame(await ids({}), ['b', 'd', 'c', 'a'])
    t.strictSame(await ids({ cluster: 'web' }), ['d', 'c', 'a'])
    t.strictSame(await ids({ unfinished: true, limit: 2 }), ['d', 'c'])
    t.strictSame(await ids({ cluster: 'api', unfinished: true }), [])
  })

  await t.test('a batch is there wholly or not at all', async t => {
    const store = await make(t)
    await store.write([
      { put: 'operation', record: operation() },
      { put: 'journal', record: entry(1) },
      { put: 'instance', record: instance('kept') },
    ])
    await t.rejects(
      store.write([
        { put: 'instance', record: instance('new') },
        { delete: 'instance', id: 'kept' },
        { put: 'value', key: 'k', value: 1 },
        { put: 'history', record: line('never happened') },
        { put: 'operation', record: operation({ endedAtMs: 9, outcome: 'failed' }) },
        { put: 'journal', record: entry(1, { kind: 'done' }) },
      ]),
      { code: 'internal' },
      'a second entry with the same number is refused',
    )
    t.strictSame((await store.membership()).instances, [instance('kept')])
    t.equal(await store.value('k'), null)
    t.strictSame(await store.history('web', 10), [])
    t.strictSame(await store.operation('op1'), operation())
    t.strictSame(await store.journal('op1'), [entry(1)])
  })

  await t.test('a journal entry without its operation is refused', async t => {
    const store = await make(t)
    await t.rejects(store.write([{ put: 'journal', record: entry(1) }]), { code: 'internal' })
    t.strictSame(await store.journal('op1'), [])
  })

  await t.test('membership: put replaces, delete removes, deleting nothing is fine', async t => {
    const store = await make(t)
    const backend = {
      cluster: 'web',
      id: 's',
      address: { host: '::1', port: 80 },
      weight: 3,
      incarnation: 'x',
    }
    const lineage = [
      { instance: 'z', incarnation: 'life', asOfMs: 4 },
      { instance: 'g', incarnation: null, asOfMs: 2 },
    ]
    const own = { resources: { cpus: 2, memoryBytes: 5, diskBytes: 6 }, protected: true, lineage } as const
    const drain = { deadlineAtMs: 1_700_000_030_000, policy: drainPolicy({ sessions: 'keep' }) }
    await store.write([
      { put: 'instance', record: instance('a') },
      { put: 'instance', record: instance('b', { createdAtMs: 6 }) },
      { put: 'backend', record: backend },
      { put: 'backend', record: { ...backend, cluster: 'api', zone: 'fra-1' } },
      { put: 'mark', record: { cluster: 'web', backend: 'a', mark: 'drain' } },
      { put: 'mark', record: { cluster: 'web', backend: 's', mark: 'maint' } },
      { put: 'mark', record: { cluster: 'web', backend: 'd', mark: 'drain', drain } },
    ])
    await store.write([
      { put: 'instance', record: instance('a', { node: 'n2', ...own }) },
      { delete: 'instance', id: 'b' },
      { delete: 'instance', id: 'nobody' },
      { delete: 'backend', cluster: 'web', id: 's' },
      { delete: 'mark', cluster: 'web', backend: 's' },
      { put: 'mark', record: { cluster: 'web', backend: 'a', mark: 'maint' } },
    ])
    t.strictSame(await store.membership(), {
      instances: [instance('a', { node: 'n2', ...own })],
      backends: [{ ...backend, cluster: 'api', zone: 'fra-1' }],
      marks: [
        { cluster: 'web', backend: 'a', mark: 'maint' },
        { cluster: 'web', backend: 'd', mark: 'drain', drain },
      ],
    })
    t.strictSame(await store.marks(), (await store.membership()).marks, 'the marks alone are the same')
  })

  await t.test('history: a cluster its own, newest first, bounded', async t => {
    const store = await make(t)
    await store.write([
      { put: 'history', record: line('one') },
      { put: 'history', record: line('elsewhere', { cluster: 'api' }) },
      { put: 'history', record: line('two', { from: { a: null }, to: null }) },
    ])
    t.strictSame(await store.history('web', 10), [line('two', { from: { a: null }, to: null }), line('one')])
    t.strictSame(await store.history('web', 1), [line('two', { from: { a: null }, to: null })])
    t.strictSame(
      (await store.history(null, 2)).map(record => record.reason),
      ['two', 'elsewhere'],
    )
    const whole = line('of a node', {
      ...{
        cluster: null,
        node: 'n1',
        action: 'drain_node',
        outcome: 'refused',
        operation: 'op1',
        backend: 'b1',
      },
    })
    await store.write([{ put: 'history', record: whole }])
    t.strictSame(await store.history(null, 1), [whole])
    t.equal((await store.history('web', 10)).length, 2)
  })

  await t.test('values: put replaces; null and nothing are the same', async t => {
    const store = await make(t)
    await store.write([{ put: 'value', key: 'k', value: { keys: [1, 'two', false] } }])
    t.strictSame(await store.value('k'), { keys: [1, 'two', false] })
    await store.write([{ put: 'value', key: 'k', value: null }])
    t.equal(await store.value('k'), null)
  })

  await t.test('the past is bounded, the unfinished is not', async t => {
    const store = await make(t, { operationsMax: 3, historyMax: 4 })
    for (let n = 1; n <= 6; n++) {
      const id = `op${n}`
      const record = operation({ id, createdAtMs: n })
      await store.write([
        { put: 'operation', record },
        { put: 'journal', record: entry(1, { operation: id }) },
      ])
      if (n > 1)
        await store.write([{ put: 'operation', record: { ...record, endedAtMs: n, outcome: 'completed' } }])
      await store.write([{ put: 'history', record: line(String(n)) }])
    }
    t.strictSame(
      (await store.operations({})).map(record => record.id),
      ['op6', 'op5', 'op4', 'op1'],
    )
    t.strictSame(await store.journal('op2'), [], 'its journal went with it')
    t.equal((await store.journal('op1')).length, 1)
    t.strictSame(
      (await store.history('web', 10)).map(record => record.reason),
      ['6', '5', '4', '3'],
    )
  })

  await t.test('what was read does not change with what is written later', async t => {
    const store = await make(t)
    const data = { names: ['a'] }
    await store.write([
      { put: 'operation', record: operation() },
      { put: 'journal', record: entry(1, { data }) },
    ])
    data.names.push('b')
    t.strictSame((await store.journal('op1'))[0]!.data, { names: ['a'] })
  })

  await t.test(
    'of many written at once each is there wholly, and one that is refused takes nothing with it',
    async t => {
      const store = await make(t)
      await store.write([{ put: 'operation', record: operation() }])
      const writes = [1, 2, 2, 3, 1, 4].map(seq =>
        store.write([
          { put: 'value', key: `before-${seq}`, value: seq },
          { put: 'journal', record: entry(seq) },
        ]),
      )
      const settled = Promise.allSettled(writes)
      t.equal((await store.journal('op1')).length, 4, 'who reads sees what was written before')
      const ended = await settled
      t.strictSame(
        ended.map(({ status }) => status),
        ['fulfilled', 'fulfilled', 'rejected', 'fulfilled', 'rejected', 'fulfilled'],
      )
      t.match(ended[2], { reason: { code: 'internal' } })
      t.strictSame(
        (await store.journal('op1')).map(({ seq }) => seq),
        [1, 2, 3, 4],
      )
      t.equal((await store.operation('op1'))!.flaw, undefined)
    },
  )

  await t.test('what was written right before the end is there, or was refused', async t => {
    const store = await make(t)
    const writes = [1, 2, 3].map(value => store.write([{ put: 'value', key: 'last', value }]))
    await store.close()
    t.strictSame(
      (await Promise.allSettled(writes)).map(({ status }) => status),
      ['fulfilled', 'fulfilled', 'fulfilled'],
    )
  })

  await t.test('a closed store says so; closing twice is harmless', async t => {
    const store = await make(t)
    await store.close()
    await store.close()
    await t.rejects(store.write([]), { code: 'store_unavailable' })
    await t.rejects(store.operations({}), { code: 'store_unavailable' })
  })
}
