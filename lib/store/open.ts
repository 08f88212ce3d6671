/** The store that the configuration asks for. */
import type { StoreConfig } from '../config/config.ts'
import { createMemoryStore } from './memory.ts'
import { openSqliteStore } from './sqlite.ts'
import type { Store } from './store.ts'

/** Throws `already_running` or `store_unavailable`. */
export async function openStore(config: StoreConfig): Promise<Store> {
  switch (config.kind) {
    case 'memory':
      return createMemoryStore()
    case 'sqlite':
      return openSqliteStore(config.path)
  }
}
