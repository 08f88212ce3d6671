/**
 * http-proxy-3 as its README shows it, without any guard: what the regression tests compare with. As a script
 * (`node bare-http-proxy-3.ts TARGET_PORT`) it prints its port and runs until it is killed or dies.
 */
import { createServer, type Server } from 'node:http'
import { createProxyServer, type ServerOptions } from 'http-proxy-3'
import { closeServer, listenOn } from './traffic.ts'

export interface Bare {
  readonly port: number
  readonly server: Server
  readonly errors: string[]
  close(): Promise<void>
}

export interface BareHooks {
  readonly options?: ServerOptions
  /** A header that a `proxyReq` listener adds, the way its README says. */
  readonly addHeader?: readonly [string, string]
}

export async function openBare(targetPort: number, hooks: BareHooks = {}): Promise<Bare> {
  const errors: string[] = []
  const proxy = createProxyServer({ target: `http://127.0.0.1:${targetPort}`, ...hooks.options })
  proxy.on('error', error => errors.push(error.message))
  const { addHeader } = hooks
  if (addHeader) proxy.on('proxyReq', upstream => void upstream.setHeader(...addHeader))
  const server = createServer((request, response) => proxy.web(request, response))
  server.on('checkContinue', (request, response) => {
    response.writeContinue()
    proxy.web(request, response)
  })
  server.on('upgrade', (request, socket, head) => proxy.ws(request, socket, head))
  const port = await listenOn(server)
  return {
    port,
    server,
    errors,
    close: async () => {
      server.closeAllConnections()
      await closeServer(server)
    },
  }
}

if (import.meta.main) {
  const bare = await openBare(Number(process.argv[2]))
  process.stdout.write(`${bare.port}\n`)
}
