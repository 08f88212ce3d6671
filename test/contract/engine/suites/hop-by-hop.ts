/** The library passes hop-by-hop and Connection-named fields on, believes the client's forwarding fields, and ends client connections. */
import t from 'tap'
import { openBare } from '../../../support/bare-http-proxy-3.ts'
import { openFrontDoor, openRawBackend, rawClient } from '../../../support/traffic.ts'

const request =
  'GET / HTTP/1.1\r\nHost: shop.example:8080\r\nConnection: keep-alive, X-Secret, content-length, HOST\r\nX-Secret: 1\r\n' +
  'Keep-Alive: timeout=5\r\nProxy-Authorization: Basic QQ==\r\nTE: gzip\r\nUpgrade: h2c\r\n' +
  'X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: evil\r\nForwarded: for=6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Keep: 1\r\n\r\n'
const answer =
  'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close, X-Inner\r\nX-Inner: 1\r\nKeep-Alive: timeout=1\r\n' +
  'Proxy-Authenticate: Basic\r\nX-Outer: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\nok'

const backend = () =>
  openRawBackend((socket, text) => {
    if (text.endsWith('\r\n\r\n')) socket.end(answer)
  })

t.test('both directions', async t => {
  const naiveBackend = await backend()
  const bare = await openBare(naiveBackend.port, { options: { xfwd: true } })
  const naive = await rawClient(bare.port, request)
  const naiveGot = await naive.waitClosed()
  t.match(naiveBackend.received(), /x-secret/i, 'bare: a Connection-named field passes')
  t.match(naiveBackend.received(), /proxy-authorization/i, 'bare: hop-by-hop fields pass')
  t.match(naiveBackend.received(), /x-forwarded-for: 6\.6\.6\.6/i, 'bare: anybody is believed')
  t.match(naiveGot, /x-inner/i, 'bare: the same towards the client')
  t.match(naiveGot, /connection: close/i, "bare: the backend's close ends the client's connection")
  await bare.close()
  await naiveBackend.close()

  const guarded = await backend()
  const door = await openFrontDoor({ backends: [guarded.port] })
  const client = await rawClient(door.port, request)
  await client.expect('ok')
  client.send(request.replace('keep-alive, X-Secret', 'close, x-secret'))
  const got = await client.waitClosed()
  const seen = guarded.received()
  t.notMatch(seen, /x-secret|proxy-authorization|^te:|keep-alive: |upgrade:|6\.6\.6\.6|evil|x_forwarded/im)
  t.match(seen, /^host: shop\.example:8080\r$/im, 'Connection cannot take Host away')
  t.match(seen, /^x-keep: 1\r$/im)
  t.match(seen, /^x-forwarded-for: 127\.0\.0\.1\r$/im)
  t.match(seen, /^x-forwarded-host: shop\.example:8080\r$/im)
  t.match(seen, /^forwarded: for=127\.0\.0\.1;proto=http;host="shop\.example:8080"\r$/im)
  t.match(seen, /^via: 1\.1 tidegate\r$/im)
  t.notMatch(got, /x-inner|proxy-authenticate|timeout=1\r/i)
  t.match(got, /^Set-Cookie: a=1\r\nSet-Cookie: b=2\r$/im)
  t.equal(
    got.match(/HTTP\/1\.1 200/g)?.length,
    2,
    'the client keeps its connection until it asks for the end',
  )
  await door.close()
  await guarded.close()
})

t.test('a trusted proxy is believed', async t => {
  const guarded = await backend()
  const door = await openFrontDoor({
    backends: [guarded.port],
    trustedProxies: ['127.0.0.0/8'],
    debugHeaders: true,
  })
  const client = await rawClient(door.port, request)
  t.match(await client.expect('ok'), /^X-Tidegate-Backend: b0\r$/m)
  const seen = guarded.received()
  t.match(seen, /^x-forwarded-for: 6\.6\.6\.6, 127\.0\.0\.1\r$/im)
  t.match(seen, /^x-forwarded-host: evil\r$/im)
  t.match(seen, /^forwarded: for=6\.6\.6\.6, for=127\.0\.0\.1;/im)
  client.socket.destroy()
  await door.close()
  await guarded.close()
})

t.test('pooled connections are used again', async t => {
  const kept = await openRawBackend((socket, text) => {
    if (text.endsWith('\r\n\r\n')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
  })
  const bare = await openBare(kept.port)
  for (let i = 0; i < 3; i++) await (await fetch(`http://127.0.0.1:${bare.port}`)).text()
  t.equal(kept.connections(), 3, 'bare http-proxy-3 connects for each request')
  await bare.close()
  const door = await openFrontDoor({ backends: [kept.port] })
  for (let i = 0; i < 3; i++) await (await fetch(door.url)).text()
  t.equal(kept.connections(), 4)
  await door.close()
  await kept.close()
})
