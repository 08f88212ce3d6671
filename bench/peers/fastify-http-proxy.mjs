/** @fastify/http-proxy as its README shows it, on undici, without a log, with the client's address in `X-Forwarded-For`. */
import proxy from '@fastify/http-proxy'
import Fastify from 'fastify'
import { keepAliveTimeout, target } from './listen.mjs'

const app = Fastify({ logger: false, keepAliveTimeout })
app.register(proxy, {
  upstream: target,
  websocket: true,
  undici: { connections: 256, pipelining: 1, keepAliveTimeout: 60_000 },
  replyOptions: {
    rewriteRequestHeaders: (request, headers) => ({ ...headers, 'x-forwarded-for': request.ip }),
  },
})
await app.listen({ host: '127.0.0.1', port: 0, backlog: 4_096 })
process.stdout.write(`${app.server.address().port}\n`)
