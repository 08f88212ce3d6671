/**
 * A whole Tidegate in a process of its own, so that its sockets and memory can be counted from outside. Argument: its configuration.
 * Tells its ports by a message; ends when its parent does, or at the message `stop`.
 */
import { tmpdir } from 'node:os'
import { parseConfig } from '../../../../lib/config/load.ts'
import { silentLog } from '../../../../lib/log.ts'
import { startServer } from '../../../../lib/server.ts'

export interface Ports {
  readonly traffic: number
  readonly admin: number
}

const parsed = parseConfig(process.argv[2]!, { file: 'soak.json', directory: tmpdir(), cpus: 2 })
if ('faults' in parsed) throw new Error(JSON.stringify(parsed.faults))
const server = await startServer(parsed.config, { log: silentLog })
process.send!({ traffic: server.listeners[0]!.port, admin: server.admin.port } satisfies Ports)
// A thread that ends is replaced, and nobody outside would see it.
server.control.subscribe(({ event }) => {
  if (event.type === 'thread' && event.status === 'crashed') process.exit(70)
})

const end = async () => {
  await server.close({ graceMs: 0 })
  process.disconnect?.()
}
process.once('message', end)
process.once('disconnect', () => process.exit(0))
