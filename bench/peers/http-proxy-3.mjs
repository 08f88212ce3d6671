/** http-proxy-3 with a keep-alive agent, `X-Forwarded-*`, and nothing around it. */
import { createServer } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { createProxyServer } from 'http-proxy-3'
import { agent, listen, target, tls } from './listen.mjs'

const proxy = createProxyServer({ target, agent: agent(), xfwd: true })
proxy.on('error', (_error, _request, response) => response?.end?.())
const serve = (request, response) => proxy.web(request, response)
const server = tls ? createTlsServer(tls, serve) : createServer(serve)
server.on('upgrade', (request, socket, head) => proxy.ws(request, socket, head))
listen(server)
