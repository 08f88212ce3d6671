/**
 * Writes batch after batch to the store at the path given, each with the number n in four places, and prints n when the store
 * has taken it. Somebody kills it.
 */
import { writeSync } from 'node:fs'
import { openSqliteStore } from '../../lib/store/sqlite.ts'

const store = await openSqliteStore(process.argv[2]!)
const record = {
  id: 'op1',
  cluster: 'web',
  type: 'scale_out',
  request: {},
  actor: 'test',
  createdAtMs: 1,
  endedAtMs: null,
  outcome: null,
} as const
if (!(await store.operation('op1'))) await store.write([{ put: 'operation', record }])
for (let n = (await store.journal('op1')).length + 1; ; n++) {
  await store.write([
    { put: 'value', key: 'first', value: n },
    { put: 'journal', record: { operation: 'op1', seq: n, step: 'x', kind: 'done', data: n, atMs: n } },
    { put: 'history', record: { cluster: 'web', atMs: n, actor: 'test', from: n, to: n, reason: `${n}` } },
    { put: 'value', key: 'last', value: n },
  ])
  writeSync(1, `${n}\n`)
}
