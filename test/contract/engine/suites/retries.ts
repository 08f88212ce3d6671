/** What may be tried again is, elsewhere or on a fresh connection; what may not is answered honestly. Refusals say when to come back. */
import { createServer } from 'node:http'
import t from 'tap'
import {
  closeServer,
  inFlight,
  listenOn,
  openFrontDoor,
  openRawBackend,
  rawClient,
  until,
} from '../../../support/traffic.ts'

async function closedPort(): Promise<number> {
  const server = createServer()
  const port = await listenOn(server)
  await closeServer(server)
  return port
}

t.test('a failed connect goes to the next member, whatever the method, with its whole body', async t => {
  const server = createServer((request, response) => request.pipe(response))
  const door = await openFrontDoor({
    backends: [await closedPort(), await closedPort(), await listenOn(server)],
  })
  const body = 'x'.repeat(300_000)
  for (let i = 0; i < 6; i++) {
    const response = await fetch(door.url, { method: 'POST', body })
    t.equal(response.status, 200)
    t.equal(await response.text(), body)
  }
  t.same([inFlight(door, 0), inFlight(door, 1), inFlight(door, 2)], [0, 0, 0])
  t.ok(door.board.total(0, 'failed') > 0)
  await door.close()
  await closeServer(server)
})

t.test('at most three members are asked', async t => {
  const ports = await Promise.all(Array.from({ length: 5 }, closedPort))
  const door = await openFrontDoor({ backends: ports })
  const response = await fetch(door.url)
  t.equal(response.status, 502)
  t.match(await response.text(), /upstream_connect_failed/)
  t.equal(
    ports.reduce((sum, _port, slot) => sum + door.board.total(slot, 'failed'), 0),
    3,
  )
  await door.close()
})

t.test('a pooled connection that was closed while idle costs nobody an error', async t => {
  const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
  // Each connection serves one request; the second on it finds the backend gone.
  const backend = await openRawBackend((socket, text) => {
    const requests = text.split('\r\n\r\n').length - 1
    if (requests === 1) socket.write(ok)
    else socket.destroy()
  })
  const door = await openFrontDoor({ backends: [backend.port] })
  for (let i = 0; i < 3; i++) {
    const response = await fetch(door.url)
    t.equal(response.status, 200, `request ${i}`)
    await response.text()
  }
  t.equal(door.board.total(0, 'failed'), 0, 'a stale connection is no failure of the member')
  const posted = await fetch(door.url, { method: 'POST', body: 'once only' })
  await posted.text()
  const bodies = backend.received().split('once only').length - 1
  t.equal(bodies, 1, 'a body is never sent twice')
  // On a connection that was kept the backend breaks off; an engine that makes one anew for it has its answer.
  t.ok([200, 502].includes(posted.status), `${posted.status}`)
  await door.close()
  await backend.close()
})

t.test('no member: 503 with Retry-After, JSON to who asks for it, no route: 404', async t => {
  const door = await openFrontDoor({
    backends: [await closedPort()],
    routes: [{ host: 'a.example', path: '/' }],
  })
  door.board.admit(0, 1, 'none')
  const client = await rawClient(
    door.port,
    'GET / HTTP/1.1\r\nHost: a.example\r\nAccept: application/json\r\n\r\n',
  )
  await client.expect('}}')
  t.match(client.text(), /^HTTP\/1\.1 503 [\s\S]*Retry-After: 1\r\n/)
  t.match(JSON.parse(client.text().split('\r\n\r\n')[1]!), { error: { code: 'no_backend', message: String } })
  client.send('GET / HTTP/1.1\r\nHost: b.example\r\n\r\n')
  await client.expect('404 no_route')
  t.notOk(client.closed, 'the connection lives on')
  client.send('POST / HTTP/1.1\r\nHost: b.example\r\nContent-Length: 10\r\n\r\nhalf')
  await until(() => client.text().split('no_route').length > 2, 'the second 404')
  client.send('-rest-')
  t.match(await client.waitClosed(), /Connection: close/, 'after an unread body it does not')
  await door.close()
})

t.test('a member that left keeps no idle connection', async t => {
  const backend = await openRawBackend(socket =>
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'),
  )
  const door = await openFrontDoor({ backends: [backend.port] })
  await (await fetch(door.url)).text()
  t.equal(backend.sockets.size, 1)
  for (const member of door.table.members()) door.context.forwards.forget(member)
  await until(() => backend.sockets.size === 0, 'the pooled connection to close')
  await door.close()
  await backend.close()
})
