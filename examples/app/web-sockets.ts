/** `/ws`: greets with who it is, then echoes whatever comes. */
import type { Server } from 'node:http'
import { WebSocketServer } from 'ws'

const connectionsMax = 10_000
const messageBytesMax = 1024 * 1024

export interface WebSockets {
  /** Closes them all with 1001: the endpoint is going away (RFC 6455 §7.4.1). */
  close(): void
  /** Drops them without a word, and says how many there were: the other ends are somebody else's. */
  drop(): number
}

export function serveWebSockets(server: Server, whoami: () => Record<string, string>): WebSockets {
  const sockets = new WebSocketServer({ noServer: true, maxPayload: messageBytesMax })
  server.on('upgrade', (request, socket, head) => {
    const path = request.url?.split('?', 1)[0]
    if (path !== '/ws' || sockets.clients.size >= connectionsMax) {
      socket.end(
        `HTTP/1.1 ${path === '/ws' ? '503 Service Unavailable' : '404 Not Found'}\r\nconnection: close\r\n\r\n`,
      )
      return
    }
    sockets.handleUpgrade(request, socket, head, client => {
      client.on('error', () => client.terminate())
      client.on('message', (data, isBinary) => client.send(data, { binary: isBinary }))
      client.send(JSON.stringify(whoami()))
    })
  })
  return {
    close: () => {
      for (const client of sockets.clients) client.close(1001, 'going away')
    },
    drop: () => {
      const { size } = sockets.clients
      for (const client of sockets.clients) client.terminate()
      return size
    },
  }
}
