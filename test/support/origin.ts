/** A plain backend on a port of its own, for tests of the front door. */
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'
import { WebSocketServer } from 'ws'

export interface Origin {
  readonly port: number
  readonly server: Server
}

/** Answers with its name, unless a handler is given; echoes WebSocket messages. Ends with the test. */
export async function origin(t: Test, name: string, handler?: RequestListener): Promise<Origin> {
  const server = createServer(handler ?? ((_request, response) => response.end(name)))
  const sockets = new WebSocketServer({ server })
  sockets.on('connection', socket =>
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary })),
  )
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(async () => {
    for (const client of sockets.clients) client.terminate()
    server.closeAllConnections()
    await new Promise(resolve => server.close(resolve))
  })
  return { port: (server.address() as AddressInfo).port, server }
}
