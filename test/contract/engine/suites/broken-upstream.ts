/** Defect D: a backend that dies in the middle of a body leaves the client waiting for ever; here it sees the break at once. */
import { createServer } from 'node:http'
import t from 'tap'
import { openBare } from '../../../support/bare-http-proxy-3.ts'
import {
  closeServer,
  inFlight,
  listenOn,
  openFrontDoor,
  openRawBackend,
  rawClient,
  until,
} from '../../../support/traffic.ts'

const get = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'

for (const [name, head] of [
  ['with a length', 'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf'],
  ['chunked', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n'],
] as const) {
  t.test(`the backend dies in mid-body, ${name}`, async t => {
    const dying = await openRawBackend(socket =>
      socket.write(head, () => setImmediate(() => socket.destroy())),
    )

    const bare = await openBare(dying.port)
    const naive = await rawClient(bare.port, get)
    await naive.expect('half')
    await until(() => dying.sockets.size === 0, 'the backend to be gone')
    // What would end it comes, if at all, within the next turns of the loop: a whole exchange through the same proxy fits in.
    for (let i = 0; i < 3; i++) {
      const probe = await rawClient(bare.port, get)
      await probe.expect('half')
      probe.socket.destroy()
    }
    t.notOk(naive.closed, 'bare http-proxy-3 leaves the client hanging')
    naive.socket.destroy()
    await bare.close()

    const door = await openFrontDoor({ backends: [dying.port] })
    const client = await rawClient(door.port, get)
    const got = await client.waitClosed()
    t.match(got, /half/, 'what came is passed on')
    t.notMatch(got, /\r\n0\r\n/, 'it does not look complete')
    await until(() => inFlight(door) === 0, 'the member to be left')
    t.equal(door.board.total(0, 'failed'), 1, 'it counts as a failure of the member')
    await door.close()
    await dying.close()
  })
}

t.test(
  'an HTTP/1.0 client, for whom the end of the connection is the end of the body, sees a reset',
  async t => {
    const dying = await openRawBackend(socket =>
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n', () =>
        setImmediate(() => socket.destroy()),
      ),
    )
    const door = await openFrontDoor({ backends: [dying.port] })
    const client = await rawClient(door.port)
    let error = ''
    client.socket.on('error', (e: NodeJS.ErrnoException) => {
      error = e.code ?? ''
    })
    client.send('GET / HTTP/1.0\r\nHost: x\r\n\r\n')
    await client.waitClosed()
    t.equal(error, 'ECONNRESET')
    await door.close()
    await dying.close()
  },
)

t.test(
  'a backend that closes, talks nonsense, or cannot be reached becomes a 502 that names no address',
  async t => {
    const answers = {
      upstream_reset: '',
      upstream_bad_response: 'BLAH BLAH\r\n\r\n',
    }
    for (const [code, bytes] of Object.entries(answers)) {
      const backend = await openRawBackend(socket => socket.end(bytes))
      const door = await openFrontDoor({ backends: [backend.port] })
      const response = await fetch(door.url, { headers: { accept: 'application/json' } })
      t.equal(response.status, 502, code)
      const body = await response.text()
      t.equal(JSON.parse(body).error.code, code)
      t.notMatch(body, /127\.0\.0\.1|\d{4,5}/)
      await door.close()
      await backend.close()
    }
    const gone = createServer()
    const port = await listenOn(gone)
    await closeServer(gone)
    const door = await openFrontDoor({ backends: [port] })
    const response = await fetch(door.url)
    t.equal(response.status, 502)
    t.match(await response.text(), /^502 upstream_connect_failed: /)
    t.equal(inFlight(door), 0)
    await door.close()
  },
)

t.test('an answer that nobody could be given becomes a 502, and the process stays', async t => {
  const answers = [
    'HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n',
    'HTTP/1.1 101 Switching Protocols\r\nContent-Length: 0\r\n\r\n',
    'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n',
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello',
    'HTTP/1.1 200 OK\r\nBad Name: 1\r\n\r\n',
  ]
  for (const bytes of answers) {
    const backend = await openRawBackend(socket => socket.write(bytes))
    const door = await openFrontDoor({ backends: [backend.port] })
    const client = await rawClient(door.port, get)
    await client.expect('502')
    t.match(client.text(), /^HTTP\/1\.1 502 /, JSON.stringify(bytes))
    t.equal(inFlight(door), 0)
    client.socket.destroy()
    await door.close()
    await backend.close()
  }
})

t.test('what a backend sends after its answer never becomes the answer to somebody else', async t => {
  const backend = await openRawBackend(socket =>
    socket.write(
      'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirstHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned',
    ),
  )
  const door = await openFrontDoor({ backends: [backend.port] })
  for (let i = 0; i < 3; i++) {
    const response = await fetch(door.url)
    t.equal(response.status === 200 ? await response.text() : 'first', 'first')
  }
  await door.close()
  await backend.close()
})
