/** The store on disk without its thread, for virtual time, which cannot see that somebody waits for another thread. */
import { openSqliteFile } from '../../lib/store/sqlite-file.ts'
import type { Store } from '../../lib/store/store.ts'

export function atOnce(path: string): Store {
  const file = openSqliteFile(path)
  return {
    write: async batch => file.write(batch),
    operations: async filter => file.operations(filter),
    operation: async id => file.operation(id),
    journal: async operation => file.journal(operation),
    membership: async () => file.membership(),
    marks: async () => file.marks(),
    history: async (cluster, limit) => file.history(cluster, limit),
    value: async key => file.value(key),
    flaws: async () => file.flaws(),
    close: async () => file.close(),
  }
}
