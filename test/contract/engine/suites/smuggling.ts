/** Defects B and B2: a chunked body of DELETE or OPTIONS is re-framed as no body, and its bytes become a request of their own. */
import { Agent, createServer } from 'node:http'
import t from 'tap'
import { openBare } from '../../../support/bare-http-proxy-3.ts'
import { closeServer, listenOn, openFrontDoor, rawClient } from '../../../support/traffic.ts'

const hidden = 'GET /secret HTTP/1.1\r\nHost: inside\r\n\r\n'

const attack = (method: string, connection: string) =>
  `${method} /public HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: ${connection}\r\n\r\n` +
  `${hidden.length.toString(16)}\r\n${hidden}\r\n0\r\n\r\n`

async function origin() {
  const seen: string[] = []
  const bodies: string[] = []
  const server = createServer((request, response) => {
    seen.push(`${request.method} ${request.url}`)
    let body = ''
    request.on('data', chunk => {
      body += chunk
    })
    request.on('end', () => {
      bodies.push(body)
      response.end('answered')
    })
  })
  server.on('upgrade', (request, socket) => {
    seen.push(`${request.method} ${request.url}`)
    socket.destroy()
  })
  return { port: await listenOn(server), seen, bodies, server }
}

for (const [name, connection, keepAlive] of [
  ['B: naive options, Connection names upgrade', 'keep-alive, upgrade', false],
  ['B2: a keep-alive agent, plain keep-alive', 'keep-alive', true],
] as const) {
  for (const method of ['DELETE', 'OPTIONS']) {
    t.test(`${name}: ${method}`, async t => {
      const naive = await origin()
      const agent = keepAlive ? new Agent({ keepAlive: true, maxSockets: 1 }) : undefined
      const bare = await openBare(naive.port, agent ? { options: { agent } } : {})
      const first = await rawClient(bare.port, attack(method, connection))
      await first.expect('answered')
      first.socket.destroy()
      const second = await rawClient(bare.port, 'GET /after HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
      await second.waitClosed()
      t.ok(naive.seen.includes('GET /secret'), 'bare http-proxy-3 lets the hidden request through')

      const guarded = await origin()
      const door = await openFrontDoor({ backends: [guarded.port] })
      const client = await rawClient(door.port, attack(method, connection))
      await client.expect('answered')
      client.send('GET /after HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
      await client.waitClosed()
      t.same(guarded.seen, [`${method} /public`, 'GET /after'], 'Tidegate does not')
      t.equal(guarded.bodies[0], hidden, 'the body arrives as a body')

      agent?.destroy()
      await Promise.all([bare.close(), door.close()])
      for (const { server } of [naive, guarded]) {
        server.closeAllConnections()
        await closeServer(server)
      }
    })
  }
}

t.test('requests that two parsers may frame differently are refused, and the connection closes', async t => {
  const backend = await origin()
  const door = await openFrontDoor({ backends: [backend.port] })
  const cases = {
    'length and chunked':
      'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'two lengths': 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!',
    'an unknown coding': 'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
    'a coding twice':
      'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'chunked in HTTP/1.0': 'POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'two hosts': 'GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n',
    'no host': 'GET / HTTP/1.1\r\n\r\n',
    'a bad host': 'GET / HTTP/1.1\r\nHost: a b\r\n\r\n',
    'a space before the colon': 'GET / HTTP/1.1\r\nHost : x\r\n\r\n',
    'a folded line': 'GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n',
    'a bare LF': 'GET / HTTP/1.1\nHost: x\n\n',
  }
  for (const [name, bytes] of Object.entries(cases)) {
    const client = await rawClient(door.port, bytes)
    const answer = await client.waitClosed()
    t.match(answer, /^HTTP\/1\.1 400 /, name)
    t.match(answer, /Connection: close/i, name)
  }
  t.same(backend.seen, [], 'none of them reached the backend')
  await door.close()
  await closeServer(backend.server)
})
