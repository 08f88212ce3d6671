/** Where simulated instances answer: real ports, so that whoever asks for their health asks over sockets. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Doors {
  readonly ports: readonly number[]
  close(): void
}

export async function openDoors(count: number): Promise<Doors> {
  const servers = Array.from({ length: count }, () => createServer((_, response) => response.end('well')))
  await Promise.all(
    servers.map(server => new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))),
  )
  return {
    ports: servers.map(server => (server.address() as AddressInfo).port),
    close() {
      for (const server of servers) {
        server.close()
        server.closeAllConnections()
      }
    },
  }
}
