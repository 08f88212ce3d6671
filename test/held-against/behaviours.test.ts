/**
 * What the tests of http-proxy-3, httpxy and @fastify/reply-from ask of a proxy and no other test of ours does, in cases of our own. Which
 * of theirs is covered where is in `docs/held-against.md`.
 */
import { once } from 'node:events'
import { createServer, request as httpRequest } from 'node:http'
import t, { type Test } from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import {
  closeServer,
  type FrontDoor,
  type FrontDoorOptions,
  listenOn,
  openFrontDoor,
  openRawBackend,
  type RawBackend,
  rawClient,
  until,
} from '../support/traffic.ts'

const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'

/** A backend that answers every request and keeps what it got. */
async function lab(
  t: Test,
  options: Partial<FrontDoorOptions> = {},
  answer = ok,
): Promise<{ door: FrontDoor; backend: RawBackend }> {
  const backend = await openRawBackend((socket, text) => {
    if (text.endsWith('\r\n\r\n') || text.endsWith('END')) socket.write(answer)
  })
  const door = await openFrontDoor({ engine: 'relay', backends: [backend.port], ...options })
  t.teardown(async () => {
    await door.close()
    await backend.close()
  })
  return { door, backend }
}

t.test(
  'a chunked body of a method that has none as a rule is the last on its backend connection',
  async t => {
    const hidden = 'GET /secret HTTP/1.1\r\nHost: in\r\n\r\n'
    for (const method of ['DELETE', 'OPTIONS', 'GET', 'POST']) {
      for (const options of ['keep-alive', 'keep-alive, upgrade', 'Transfer-Encoding, upgrade']) {
        const { door, backend } = await lab(t)
        const body = `${hidden.length.toString(16)}\r\n${hidden}\r\n3\r\nEND\r\n0\r\n\r\n`
        const head = `${method} /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: ${options}\r\n\r\n`
        const client = await rawClient(door.port, head + body)
        await client.expect('ok')
        const next = await rawClient(door.port, 'GET /next HTTP/1.1\r\nHost: x\r\n\r\n')
        await next.expect('ok')
        const last = method !== 'POST'
        t.equal(/\r\nConnection: close\r\n/.test(backend.received()), last, `${method}, ${options}`)
        t.equal(backend.connections(), last ? 2 : 1, 'and the next request is on another')
        client.socket.destroy()
        next.socket.destroy()
      }
    }
  },
)

t.test('Connection takes away what the client sent, never what we add', async t => {
  const { door, backend } = await lab(t)
  const named = 'X-Forwarded-For, Forwarded, X-Forwarded-Host, x-forwarded-proto, Via, X-Own'
  const client = await rawClient(
    door.port,
    `GET / HTTP/1.1\r\nHost: x\r\nX-Own: 1\r\nX-Forwarded-For: 6.6.6.6\r\nConnection: ${named}\r\n\r\n`,
  )
  await client.expect('ok')
  const got = backend.received()
  for (const line of [
    'x-forwarded-for: 127.0.0.1',
    'x-forwarded-host: x',
    'x-forwarded-proto: http',
    'via: 1.1 tidegate',
  ])
    t.match(got, new RegExp(`\r\n${line}\r\n`), line)
  t.match(got, /\r\nforwarded: for=127\.0\.0\.1;/)
  t.notMatch(got, /6\.6\.6\.6|X-Own/i)
  client.socket.destroy()
})

t.test('what is remembered of one request never decides for another', async t => {
  const [a, b] = await Promise.all([lab(t), lab(t)])
  const other = { backends: [b.backend.port] }
  const routes = [{ host: 'a', path: '/' }]
  const door = await openFrontDoor({
    engine: 'relay',
    backends: [a.backend.port],
    routes,
    others: { unused: other },
  })
  t.teardown(() => door.close())
  // Pairs of host and target that are the same when they are put together, and hosts that differ by case and port alone.
  const asked = [
    ['a', '/1/x', 200],
    ['a1', '/x', 404],
    ['a', '/1/x', 200],
    ['A', '/x', 200],
    ['a:80', '/x', 200],
    ['b', '/x', 404],
    ['a', '/x', 200],
  ] as const
  const client = await rawClient(door.port)
  let seen = 0
  for (const [host, target, status] of asked) {
    client.send(`GET ${target} HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
    seen++
    await until(() => client.text().split('HTTP/1.1 ').length > seen, `an answer for ${host}${target}`)
    t.match(client.text().split('HTTP/1.1 ').at(-1), new RegExp(`^${status} `), host + target)
  }
  const heads = a.backend
    .received()
    .split('\r\n\r\n')
    .filter(head => head !== '')
  const served = asked.filter(([, , status]) => status === 200)
  t.same(
    heads.map(head => [
      / (\S+) HTTP/.exec(head)![1],
      /\r\nHost: (\S+)/.exec(head)![1],
      /\r\nx-forwarded-host: (\S+)/.exec(head)![1],
      /;host="?([^";\s]+)/.exec(head)![1],
    ]),
    served.map(([host, target]) => [target, host, host, host]),
    'every head names its own host',
  )
  client.socket.destroy()
})

t.test('a body is bytes, whatever its type says', async t => {
  const { door, backend } = await lab(t)
  const body = '"{\\"method\\":\\"invalid\\"}" \xff\0 END'
  const client = await rawClient(
    door.port,
    `POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json ; charset=utf-8\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  )
  await client.expect('ok')
  t.ok(backend.received().endsWith(`\r\n\r\n${body}`))
  t.match(backend.received(), '\r\nContent-Type: application/json ; charset=utf-8\r\n')
  client.socket.destroy()
})

t.test(
  'an answer before the end of an upload closes the connection; behind a whole one it is kept',
  async t => {
    const eager = await openRawBackend(socket => socket.write(ok))
    const door = await openFrontDoor({ engine: 'relay', backends: [eager.port] })
    const early = await rawClient(door.port, 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\na')
    t.match(await early.waitClosed(), /^HTTP\/1\.1 200 OK\r\n[\s\S]*Connection: close\r\n\r\nok$/)
    const whole = await rawClient(door.port)
    for (let i = 1; i <= 3; i++) {
      whole.send('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na')
      await until(() => whole.text().split('\r\n\r\nok').length === i + 1, `answer ${i}`)
    }
    t.notMatch(whole.text(), /Connection: close/)
    whole.socket.destroy()
    await door.close()
    await eager.close()
  },
)

t.test('a Trailer field without trailers holds nothing up', async t => {
  const { door, backend } = await lab(t, {}, 'HTTP/1.1 200 OK\r\nTrailer: X\r\nContent-Length: 2\r\n\r\nok')
  const client = await rawClient(
    door.port,
    'GET / HTTP/1.1\r\nHost: x\r\nTrailer: X-Foo\r\nCookie: a=b\r\n\r\n',
  )
  await client.expect('ok')
  t.notMatch(backend.received(), /trailer/i)
  t.match(backend.received(), '\r\nCookie: a=b\r\n')
  t.notMatch(client.text(), /trailer/i)
  client.socket.destroy()
})

t.test('redirects, cookies and odd statuses pass as they are', async t => {
  const lines =
    'Location: http://127.0.0.1:1/elsewhere\r\nSet-Cookie: a=1; Domain=in; Path=/in\r\nSet-Cookie: b=2\r\nContent-Encoding: gzip\r\n'
  for (const status of [201, 301, 302, 307, 308, 418, 599, 888]) {
    const { door } = await lab(t, {}, `HTTP/1.1 ${status} Word\r\n${lines}Content-Length: 2\r\n\r\nzz`)
    const client = await rawClient(door.port, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    const got = await client.expect('zz')
    t.ok(got.startsWith(`HTTP/1.1 ${status} Word\r\n${lines}`), `${status}`)
    client.socket.destroy()
  }
})

t.test('answers without a body have no framing that promises one', async t => {
  for (const [status, fields] of [
    [204, 'Transfer-Encoding: chunked\r\n'],
    [204, 'Content-Length: 5\r\n'],
    [304, 'Transfer-Encoding: chunked\r\n'],
  ] as const) {
    const { door } = await lab(t, {}, `HTTP/1.1 ${status} None\r\n${fields}\r\n`)
    for (const version of ['1.1', '1.0']) {
      const client = await rawClient(
        door.port,
        `GET / HTTP/${version}\r\nHost: x\r\nConnection: close\r\n\r\n`,
      )
      const got = await client.waitClosed()
      t.match(got, new RegExp(`^HTTP/1\\.1 ${status} None\r\n[\\s\\S]*\r\n\r\n$`))
      t.notMatch(got, /transfer-encoding|content-length/i, `${status} ${fields.trim()}, HTTP/${version}`)
    }
  }
})

t.test('events pass as they come, and an end on either side is the end on the other', async t => {
  const server = createServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write('data: first\n\n')
  })
  const port = await listenOn(server)
  const door = await openFrontDoor({ engine: 'relay', backends: [port] })
  const open = async () => {
    const request = httpRequest({ port: door.port, host: '127.0.0.1' }).end()
    request.on('error', () => {})
    const [response] = await once(request, 'response')
    const [data] = await once(response, 'data')
    t.equal(String(data), 'data: first\n\n', 'the first event is there, with more to come')
    return { request, response }
  }
  const leaver = await open()
  const gone = new Promise(resolve => server.once('connection', () => resolve(null)))
  leaver.request.destroy()
  await until(() => door.context.exchanges.size === 0, 'the backend to be let go')
  const stays = await open()
  await gone
  const aborted = once(stays.response, 'error')
  server.closeAllConnections()
  await aborted
  t.equal(stays.response.complete, false, 'a stream that broke is not whole')
  await door.close()
  await closeServer(server)
})

t.test('messages of every size pass through a WebSocket, both ways, and its close code', async t => {
  const server = createServer()
  const sockets = new WebSocketServer({ server })
  sockets.on('connection', socket => {
    socket.on('message', (data, binary) => socket.send(data, { binary }))
    socket.on('close', () => {})
  })
  const port = await listenOn(server)
  const door = await openFrontDoor({ engine: 'relay', backends: [port] })
  const client = new WebSocket(`ws://127.0.0.1:${door.port}/`)
  await once(client, 'open')
  for (const size of [0, 1, 125, 126, 65_535, 65_536, 1_000_000]) {
    client.send(Buffer.alloc(size, 'z'))
    const [data] = await once(client, 'message')
    t.equal((data as Buffer).length, size)
  }
  const closed = once(client, 'close')
  for (const socket of sockets.clients) socket.close(4321, 'done')
  t.equal((await closed)[0], 4321)
  await door.close()
  server.closeAllConnections()
  await closeServer(server)
})

t.test(
  'a WebSocket client in front of a plain backend gets the refusal; one whose backend dies, a 502',
  async t => {
    const { door } = await lab(t, {}, 'HTTP/1.1 404 Not Here\r\nContent-Length: 4\r\n\r\nnope')
    const refused = new WebSocket(`ws://127.0.0.1:${door.port}/`)
    const [, response] = await once(refused, 'unexpected-response')
    t.equal(response.statusCode, 404)
    refused.on('error', () => {})
    refused.terminate()
    const dying = await openRawBackend(socket => socket.destroy())
    const behind = await openFrontDoor({ engine: 'relay', backends: [dying.port] })
    const cut = new WebSocket(`ws://127.0.0.1:${behind.port}/`)
    const [, answer] = await once(cut, 'unexpected-response')
    t.equal(answer.statusCode, 502)
    cut.on('error', () => {})
    cut.terminate()
    await behind.close()
    await dying.close()
  },
)
