/** Defect G: with `Expect: 100-continue` the library skips its hook, and the header a hook adds is lost. */
import { createServer } from 'node:http'
import t from 'tap'
import { openBare } from '../../../support/bare-http-proxy-3.ts'
import { closeServer, listenOn, openFrontDoor, openRawBackend, rawClient } from '../../../support/traffic.ts'

const head =
  'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n'

t.test('Expect: 100-continue', async t => {
  const seen: Record<string, unknown>[] = []
  const origin = createServer((request, response) => {
    let body = ''
    request.on('data', chunk => {
      body += chunk
    })
    request.on('end', () => {
      seen.push({ ...request.headers, body })
      response.end('ok')
    })
  })
  const port = await listenOn(origin)
  const bare = await openBare(port, { addHeader: ['x-added', 'yes'] })
  const naive = await rawClient(bare.port, head)
  await naive.expect('100 Continue')
  naive.send('hello')
  await naive.waitClosed()
  t.equal(seen[0]!['x-added'], undefined, 'bare http-proxy-3 skips the hook')
  await bare.close()

  const door = await openFrontDoor({ backends: [port] })
  const client = await rawClient(door.port, head)
  await client.expect('100 Continue')
  client.send('hello')
  t.match(await client.waitClosed(), /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK/)
  t.match(seen[1], { 'x-forwarded-for': '127.0.0.1', body: 'hello' }, 'the head is complete')
  t.equal(seen[1]!.expect, undefined, 'Expect is answered here and goes no further')
  await door.close()
  await closeServer(origin)
})

t.test('no 100 before there is somebody to take the body', async t => {
  const gone = await openRawBackend(() => {})
  await gone.close()
  const door = await openFrontDoor({ backends: [gone.port] })
  const client = await rawClient(door.port, head)
  const answer = await client.waitClosed()
  t.match(answer, /^HTTP\/1\.1 502 /)
  t.notMatch(answer, /100 Continue/)
  const other = await rawClient(door.port, head.replace('100-continue', 'miracles'))
  t.match(await other.waitClosed(), /^HTTP\/1\.1 417 /, 'another expectation cannot be met')
  await door.close()
})
