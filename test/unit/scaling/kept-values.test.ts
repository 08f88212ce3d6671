/** One value a cluster: known once the store has it, after a restart too, and only under its own keys. */
import t from 'tap'
import { KeptValues } from '../../../lib/scaling/kept-values.ts'
import { createMemoryStore } from '../../../lib/store/memory.ts'

t.test('written, committed, loaded', async t => {
  const store = createMemoryStore()
  const kept = new KeptValues<readonly number[]>('counts:')
  const write = kept.write('web', [1, 2])
  t.strictSame(write, { put: 'value', key: 'counts:web', value: [1, 2] })
  t.equal(kept.get('web'), undefined, 'not before the store has it')
  await store.write([write])
  kept.committed([write, { put: 'value', key: 'other:web', value: [9] }])
  t.strictSame([...kept.all()], [['web', [1, 2]]])
  const again = new KeptValues<readonly number[]>('counts:')
  await again.load(store, ['web', 'api'])
  t.strictSame([...again.all()], [['web', [1, 2]]])
  await store.close()
})
