/** Ports of this machine. */
import { once } from 'node:events'
import { createServer } from 'node:net'

/** One that nobody had a moment ago, for whoever has to name it before it is opened. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}
