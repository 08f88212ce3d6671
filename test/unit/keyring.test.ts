import t from 'tap'
import { loadKeys, rotateKeys } from '../../lib/keyring.ts'
import { createMemoryStore } from '../../lib/store/memory.ts'

const hour = 3_600_000

t.test('the first key is made once and kept', async t => {
  const store = createMemoryStore()
  const first = await loadKeys(store, 0)
  t.equal(first.length, 1)
  t.equal(first[0]?.key.length, 32)
  t.strictSame(await loadKeys(store, 5), first)
})

t.test('a rotated key verifies for one cookie life after it stopped signing, then is dropped', async t => {
  const store = createMemoryStore()
  const [first] = await loadKeys(store, 0)
  const second = await rotateKeys(store, 10 * hour, hour)
  t.strictSame(
    second.map(key => key.id),
    [2, 1],
  )
  t.strictSame(second[1], first)
  const third = await rotateKeys(store, 10.5 * hour, hour)
  t.strictSame(
    third.map(key => key.id),
    [3, 2, 1],
    'key 1 signed until 10 h',
  )
  const fourth = await rotateKeys(store, 11.2 * hour, hour)
  t.strictSame(
    fourth.map(key => key.id),
    [4, 3, 2],
    'key 1 is no longer needed, key 2 signed until 10.5 h',
  )
})

t.test('ids go round and never clash', async t => {
  const store = createMemoryStore()
  let keys = await loadKeys(store, 0)
  for (let i = 0; i < 300; i++) keys = await rotateKeys(store, i, 1e9)
  const ids = keys.map(key => key.id)
  t.equal(new Set(ids).size, ids.length)
  t.ok(ids.every(id => id >= 1 && id <= 255))
})
