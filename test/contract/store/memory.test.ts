import t from 'tap'
import { createMemoryStore } from '../../../lib/store/memory.ts'
import { storeContract } from './contract.ts'

await storeContract(t, async (_, retention) => createMemoryStore(retention))
