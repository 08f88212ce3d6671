/** Bodies stream both ways with back-pressure, and a side that leaves takes the other along. */
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

const mebibyte = 1024 * 1024

t.test('a slow reader holds the backend back', async t => {
  const total = 64 * mebibyte
  let written = 0
  const server = createServer((_request, response) => {
    response.writeHead(200, { 'content-length': total })
    const more = () => {
      while (written < total) {
        written += 65_536
        if (!response.write(Buffer.alloc(65_536))) return void response.once('drain', more)
      }
      response.end()
    }
    more()
  })
  const door = await openFrontDoor({ backends: [await listenOn(server)] })
  const client = await rawClient(door.port)
  client.socket.pause()
  client.send('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
  await until(
    standsStill(() => written),
    'the backend to stand still',
  )
  t.ok(written < total / 2, `${written} bytes of ${total} were taken before anybody read`)
  client.socket.removeAllListeners('data')
  let got = 0
  client.socket.on('data', chunk => {
    got += chunk.length
  })
  client.socket.resume()
  await client.waitClosed()
  t.ok(got >= total, 'all of it arrives')
  await door.close()
  await closeServer(server)
})

t.test('a slow backend holds the uploading client back', async t => {
  const total = 64 * mebibyte
  let resume = () => {}
  let received = 0
  const server = createServer((request, response) => {
    resume = () => {
      request.on('data', chunk => {
        received += chunk.length
      })
      request.on('end', () => response.end('thanks'))
    }
  })
  const door = await openFrontDoor({ backends: [await listenOn(server)] })
  const client = await rawClient(
    door.port,
    `POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: ${total}\r\n\r\n`,
  )
  let sent = 0
  const more = () => {
    while (sent < total) {
      sent += 65_536
      if (!client.socket.write(Buffer.alloc(65_536))) return void client.socket.once('drain', more)
    }
  }
  more()
  await until(
    standsStill(() => client.socket.bytesWritten),
    'the client to stand still',
  )
  t.ok(sent < total / 2, `${sent} bytes of ${total} were taken before anybody read`)
  resume()
  t.match(await client.expect('thanks'), /^HTTP\/1\.1 200 /)
  t.equal(received, total)
  await door.close()
  await closeServer(server)
})

t.test('the answer begins while the request is still being sent', async t => {
  const server = createServer((request, response) => request.pipe(response))
  const door = await openFrontDoor({ backends: [await listenOn(server)] })
  const client = await rawClient(
    door.port,
    'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nping\r\n',
  )
  await client.expect('ping')
  client.send('4\r\npong\r\n0\r\n\r\n')
  await client.expect('pong')
  t.match(client.text(), /\r\n0\r\n\r\n$|Connection: close/)
  client.socket.destroy()
  await door.close()
  server.closeAllConnections()
  await closeServer(server)
})

t.test('the head of an answer does not wait for the first byte of its body', async t => {
  const backend = await openRawBackend((socket, text) => {
    if (text.endsWith('\r\n\r\n'))
      socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n')
  })
  const door = await openFrontDoor({ backends: [backend.port] })
  const client = await rawClient(door.port, 'GET /events HTTP/1.1\r\nHost: x\r\n\r\n')
  t.match(await client.expect('\r\n\r\n'), /^HTTP\/1\.1 200 OK\r\n/)
  for (const socket of backend.sockets) socket.write('4\r\nnews\r\n')
  await client.expect('news')
  client.socket.destroy()
  await door.close()
  await backend.close()
})

for (const [name, request] of [
  ['while it waits for the answer', 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['in the middle of its upload', 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf'],
] as const) {
  t.test(`a client that leaves ${name} takes the backend connection along`, async t => {
    const silent = await openRawBackend(() => {})
    const door = await openFrontDoor({ backends: [silent.port] })
    const client = await rawClient(door.port, request)
    await until(
      () => silent.received().includes(request.startsWith('GET') ? '\r\n\r\n' : 'half'),
      'the request',
    )
    client.socket.destroy()
    await until(() => silent.sockets.size === 0, 'the backend connection to go')
    await until(() => inFlight(door) === 0, 'the member to be left')
    t.equal(door.board.total(0, 'failed'), 0)
    t.equal(door.context.exchanges.size, 0)
    await door.close()
    await silent.close()
  })
}

t.test('cut breaks what is under way on one member', async t => {
  const backend = await openRawBackend((socket, text) => {
    if (text.includes('/begun')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf')
  })
  const door = await openFrontDoor({ backends: [backend.port] })
  const waiting = await rawClient(door.port, 'GET /silent HTTP/1.1\r\nHost: x\r\n\r\n')
  const reading = await rawClient(door.port, 'GET /begun HTTP/1.1\r\nHost: x\r\n\r\n')
  await reading.expect('half')
  await until(() => inFlight(door) === 2, 'both exchanges')
  door.context.exchanges.cutMember(0, 2)
  t.equal(inFlight(door), 2, 'another tenancy of the slot is another member')
  door.context.exchanges.cutMember(0, 1)
  t.equal(inFlight(door), 0)
  await reading.waitClosed()
  t.match(await waiting.expect('502'), /upstream_reset/)
  waiting.socket.destroy()
  await until(() => backend.sockets.size === 0, 'the backend connections to go')
  await door.close()
  await backend.close()
})

t.test('an answer before the end of an upload ends the upload, and the connection with it', async t => {
  const server = createServer((_request, response) => {
    response.writeHead(413)
    response.end('too much')
  })
  const door = await openFrontDoor({ backends: [await listenOn(server)] })
  const client = await rawClient(
    door.port,
    'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nsome',
  )
  t.match(await client.waitClosed(), /^HTTP\/1\.1 413 [\s\S]*Connection: close[\s\S]*too much/i)
  t.equal(inFlight(door), 0)
  await door.close()
  server.closeAllConnections()
  await closeServer(server)
})

/** True once a value has not moved for twenty looks. */
function standsStill(value: () => number): () => boolean {
  let last = -1
  let looks = 0
  return () => {
    const now = value()
    looks = now === last && now > 0 ? looks + 1 : 0
    last = now
    return looks >= 20
  }
}
