import { join } from 'node:path'
import t from 'tap'
import { openSqliteStore } from '../../../lib/store/sqlite.ts'
import { storeContract } from './contract.ts'

let made = 0
const directory = t.testdir({})
await storeContract(t, async (t, retention) => {
  const path = join(directory, `${++made}`, 'tidegate.db')
  const store = await openSqliteStore(path, retention ? { retention } : {})
  t.teardown(() => store.close())
  return store
})
