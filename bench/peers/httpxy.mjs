/** httpxy with a keep-alive agent, `X-Forwarded-*`, and nothing around it. */
import { createServer } from 'node:http'
import { createProxyServer } from 'httpxy'
import { agent, listen, target } from './listen.mjs'

const proxy = createProxyServer({ target, agent: agent(), xfwd: true })
proxy.on('error', (_error, _request, response) => response?.end?.())
const ended = socket => () => socket.destroy()
const server = createServer((request, response) => {
  proxy.web(request, response).catch(ended(response))
})
server.on('upgrade', (request, socket, head) => {
  proxy.ws(request, socket, {}, head).catch(ended(socket))
})
listen(server)
