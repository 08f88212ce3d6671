/** Defect F: on its fetch path the library loses cookies, follows redirects and mislabels bodies. It can never be switched on here. */
import { createServer } from 'node:http'
import { gunzipSync, gzipSync } from 'node:zlib'
import t from 'tap'
import { openBare } from '../../../support/bare-http-proxy-3.ts'
import { closeServer, listenOn, openFrontDoor, rawClient } from '../../../support/traffic.ts'

const origin = createServer((request, response) => {
  if (request.url === '/cookies') response.setHeader('Set-Cookie', ['a=1', 'b=2; Path=/'])
  if (request.url === '/moved') response.writeHead(302, { location: '/cookies' })
  if (request.url === '/zip') response.writeHead(200, { 'content-encoding': 'gzip' })
  response.end(request.url === '/zip' ? gzipSync('packed') : 'plain')
})
const originPort = await listenOn(origin)
const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`
const ask = async (port: number, path: string) => (await rawClient(port, get(path))).waitClosed()
const setCookies = (answer: string) => answer.match(/^set-cookie: .*$/gim)?.map(line => line.trim()) ?? []

t.teardown(() => closeServer(origin))

t.test('with FORCE_FETCH_PATH in the environment', async t => {
  process.env.FORCE_FETCH_PATH = 'true'
  const bare = await openBare(originPort)
  t.same(setCookies(await ask(bare.port, '/cookies')).length, 1, 'bare http-proxy-3 keeps one cookie of two')
  t.notMatch(
    await ask(bare.port, '/moved'),
    /^HTTP\/1\.1 302/,
    'bare http-proxy-3 follows the redirect itself',
  )
  t.match(
    await ask(bare.port, '/zip'),
    /content-encoding: gzip[\s\S]*plain|content-encoding: gzip[\s\S]*packed/i,
    'and unpacks a body that it still calls gzip',
  )
  await bare.close()

  process.env.FORCE_FETCH_PATH = 'true'
  const door = await openFrontDoor({ backends: [originPort] })
  t.same(setCookies(await ask(door.port, '/cookies')), ['Set-Cookie: a=1', 'Set-Cookie: b=2; Path=/'])
  t.match(await ask(door.port, '/moved'), /^HTTP\/1\.1 302 [\s\S]*location: \/cookies/)
  const zipped = await fetch(`${door.url}/zip`)
  t.equal(zipped.headers.get('content-encoding'), 'gzip')
  t.equal(await zipped.text(), gunzipSync(gzipSync('packed')).toString())
  await door.close()
})
