/**
 * Loaded into each thread of Tidegate before its own code (`--import`): writes down every connection that the thread accepts,
 * as a line with the port it came to, in a file of that thread below BENCH_COUNTS.
 */
import { subscribe } from 'node:diagnostics_channel'
import { appendFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { threadId } from 'node:worker_threads'

const file = join(process.env.BENCH_COUNTS ?? '.', `thread-${threadId}`)

subscribe('net.server.socket', message => {
  const { socket } = message as { socket: Socket }
  appendFileSync(file, `${socket.localPort}\n`)
})
