/**
 * A Tidegate that can be told to kill itself with SIGKILL, as a power failure would: right after the n-th journal entry from now
 * is on disk, or right before it is written (then only the entries that tell an outcome count: the side effect is done, nothing says so). With a
 * step and a kind only such entries count. Argument: the folder with `tidegate.json`. Messages: an `Arm`, or a command to execute.
 * Prints one JSON line with its ports when it serves.
 */
import { readFileSync } from 'node:fs'
import { flushCompileCache } from 'node:module'
import { join } from 'node:path'
import type { Command } from '../../lib/command.ts'
import { silentLog } from '../../lib/log.ts'
import { startServer } from '../../lib/server.ts'
import { openStore } from '../../lib/store/open.ts'
import type { JournalEntry, Store, Write } from '../../lib/store/store.ts'
import { parseDemo } from './demo-cluster.ts'

export interface Arm {
  readonly entry: number
  readonly moment: 'after' | 'before'
  readonly step?: string
  readonly kind?: JournalEntry['kind']
}

const directory = process.argv[2]!
const config = parseDemo(readFileSync(join(directory, 'tidegate.json'), 'utf8'), directory)
const store = await openStore(config.store)
let armed: Omit<Arm, 'entry'> = { moment: 'after' }
let left = 0

/** Right before a `started` nothing has happened since the entry before it: dying there is dying right after that one. */
const telling = ({ step, kind }: JournalEntry) =>
  (armed.moment === 'after' || kind !== 'started') &&
  (armed.step ?? step) === step &&
  (armed.kind ?? kind) === kind

const write = async (batch: readonly Write[]) => {
  const counts =
    left > 0 && batch.some(write => 'put' in write && write.put === 'journal' && telling(write.record))
  const dies = counts && --left === 0
  if (dies && armed.moment === 'before') process.kill(process.pid, 'SIGKILL')
  await store.write(batch)
  if (dies) process.kill(process.pid, 'SIGKILL')
}
const mortal = new Proxy<Store>(store, {
  get(target, name) {
    if (name === 'write') return write
    const value: unknown = Reflect.get(target, name)
    return typeof value === 'function' ? value.bind(target) : value
  },
})

const server = await startServer(config, { store: mortal, log: silentLog })
// Written at a process's end otherwise, and this one has none: each of a hundred heirs would compile everything again.
flushCompileCache()
process.on('message', (message: Arm | { readonly execute: Command }) => {
  if ('execute' in message) {
    // Whether it came to anything is seen by its operations.
    void server.control.execute(message.execute, 'test').catch(() => {})
    return
  }
  left = message.entry
  armed = message
  process.send?.('armed')
})
console.log(JSON.stringify({ port: server.listeners[0]!.port, admin: server.admin.port, pid: process.pid }))
