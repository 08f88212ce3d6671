/**
 * Loaded into each thread of Tidegate before its own code (`--import`): writes down every connection that the thread accepts,
 * as a line with the port it came to, in a file of that thread below BENCH_COUNTS.
 */
import { appendFileSync } from 'node:fs'
import { type AddressInfo, Server } from 'node:net'
import { join } from 'node:path'
import { threadId } from 'node:worker_threads'

const file = join(process.env.BENCH_COUNTS ?? '.', `thread-${threadId}`)

// Not by `net.server.socket`: that comes when the relay has already taken the connection out of its socket.
const emit = Server.prototype.emit as (this: Server, event: string | symbol, ...args: unknown[]) => boolean
Server.prototype.emit = function (this: Server, event: string | symbol, ...args: unknown[]): boolean {
  if (event === 'connection') appendFileSync(file, `${(this.address() as AddressInfo).port}\n`)
  return emit.call(this, event, ...args)
}
