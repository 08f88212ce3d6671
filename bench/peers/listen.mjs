/**
 * What the Node peers have in common: they get their order as JSON in the first argument, listen on a free port and print it.
 * Idle client connections are kept for 65 s, as Tidegate keeps them: Node's own 5 s would end them in the middle of a measurement.
 */
import { readFileSync } from 'node:fs'
import { Agent } from 'node:http'

/** `{ origin: number, cert?: string, key?: string }` */
export const order = JSON.parse(process.argv[2] ?? '{}')
export const target = `http://127.0.0.1:${order.origin}`
export const keepAliveTimeout = 65_000
export const tls = order.cert ? { cert: readFileSync(order.cert), key: readFileSync(order.key) } : null

/** As many connections to the origin as clients may need, kept: without it each request would pay for a new one. */
export const agent = () => new Agent({ keepAlive: true, maxSockets: 1_024, maxFreeSockets: 256 })

export function listen(server) {
  server.keepAliveTimeout = keepAliveTimeout
  server.listen({ host: '127.0.0.1', port: 0, backlog: 4_096 }, () => {
    process.stdout.write(`${server.address().port}\n`)
  })
}
