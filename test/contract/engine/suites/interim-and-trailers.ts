/** Trailers and 103 Early Hints, which the library drops, are passed on. */

import { once } from 'node:events'
import { createServer, request as httpRequest } from 'node:http'
import t from 'tap'
import { openBare } from '../../../support/bare-http-proxy-3.ts'
import { closeServer, listenOn, openFrontDoor, rawClient } from '../../../support/traffic.ts'

t.test('103, answer trailers and request trailers', async t => {
  const trailersSeen: Record<string, unknown>[] = []
  const server = createServer((request, response) => {
    request.resume()
    request.on('end', () => {
      trailersSeen.push({ ...request.trailers })
      response.writeEarlyHints({ link: '</style.css>; rel=preload' })
      response.writeHead(200, { trailer: 'x-sum' })
      response.write('body')
      response.addTrailers({ 'x-sum': '42', 'set-cookie': 'a=1' })
      response.end()
    })
  })
  const port = await listenOn(server)
  const ask = async (to: number) => {
    const request = httpRequest({
      port: to,
      host: '127.0.0.1',
      method: 'POST',
      headers: { 'transfer-encoding': 'chunked', te: 'trailers' },
    })
    const hints: unknown[] = []
    request.on('information', info => hints.push(info.headers.link))
    request.write('hello')
    request.addTrailers({ 'x-client': 'yes', authorization: 'no' })
    request.end()
    const [response] = await once(request, 'response')
    response.resume()
    await once(response, 'end')
    return { hints, trailers: response.trailers }
  }
  const bare = await openBare(port)
  t.same(await ask(bare.port), { hints: [], trailers: {} }, 'bare http-proxy-3 drops all of them')
  await bare.close()
  const door = await openFrontDoor({ backends: [port] })
  t.same(await ask(door.port), { hints: ['</style.css>; rel=preload'], trailers: { 'x-sum': '42' } })
  t.same(trailersSeen, [{}, { 'x-client': 'yes' }], 'and no trailer that frames or authenticates')

  const old = await rawClient(door.port, 'GET / HTTP/1.0\r\nHost: x\r\n\r\n')
  const got = await old.waitClosed()
  t.match(
    got,
    /^HTTP\/1\.1 200 [\s\S]*\r\n\r\nbody$/,
    'an HTTP/1.0 client gets no chunks, no hints and no trailers',
  )
  await door.close()
  server.closeAllConnections()
  await closeServer(server)
})
