/** http-proxy-3 with a keep-alive agent and nothing around it: `node bare.ts ORIGIN_PORT` prints its port. */
import { Agent, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createProxyServer } from 'http-proxy-3'

const proxy = createProxyServer({
  target: `http://127.0.0.1:${process.argv[2]}`,
  agent: new Agent({ keepAlive: true, maxSockets: 1_024, maxFreeSockets: 256 }),
})
proxy.on('error', (_error, _request, response) => response.end())
const server = createServer((request, response) => proxy.web(request, response))
server.listen(0, '127.0.0.1', () => process.stdout.write(`${(server.address() as AddressInfo).port}\n`))
